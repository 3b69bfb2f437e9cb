"""Options of `generate`, prompts, arguments of `forward`, streamers, for every generator."""

from functools import cache

import torch
from hypothesis import strategies as st
from tiny_models import tiny_local, tiny_local_v1, tiny_nano, tiny_prompts, tiny_tts
from transformers import GenerationConfig
from transformers.cache_utils import DynamicCache

from transformers_moss_tts import MossTTSFrameStreamer

from .outcomes import Case
from .values import INF, anything, is_number, numbers, show


# Bounds of the numbers of a generation, and whether they are whole.
_NUMBERS = {
    **dict.fromkeys(("text_temperature", "audio_temperature", "temperature"), (0, INF, False)),
    **dict.fromkeys(("text_top_p", "audio_top_p", "top_p"), (0, 1, False)),
    **dict.fromkeys(("text_top_k", "audio_top_k", "top_k"), (0, INF, True)),
    **dict.fromkeys(("audio_repetition_penalty", "repetition_penalty"), (1e-300, INF, False)),
    **dict.fromkeys(("max_new_tokens", "max_length", "num_return_sequences"), (1, INF, True)),
    **dict.fromkeys(("min_new_tokens", "min_length"), (0, INF, True)),
    "max_time": (0, INF, False),
    "seed": (-INF, INF, True),
    "num_beams": (1, 1, True),
}
_OTHERS = (
    *(
        "attention_mask",
        "position_ids",
        "streamer",
        "stopping_criteria",
        "generation_config",
        "eos_token_id",
        "pad_token_id",
    ),
    *("past_key_values", "use_cache", "do_sample", "cache_implementation", "stop_strings", "forced_eos_token_id"),
    *(
        "output_logits",
        "output_attentions",
        "output_hidden_states",
        "return_dict_in_generate",
        "output_scores",
        "num_beams",
    ),
    *(
        "penalty_alpha",
        "min_p",
        "typical_p",
        "bad_words_ids",
        "suppress_tokens",
        "logits_processor",
        "assistant_model",
    ),
    *("synced_gpus", "prompt_lookup_num_tokens", "guidance_scale", "watermarking_config", "token_healing", "labels"),
    *(
        "input_ids",
        "inputs",
        "inputs_embeds",
        "tokenizer",
        "custom_generate",
        "max_cache_len",
        "cache_config",
        "cache",
    ),
    *(
        "logits_to_keep",
        "channelwise_loss_weight",
        "unknown_option",
        "text_candidates",
        "num_logits_to_keep",
        "dola_layers",
    ),
    *("compile_config", "disable_compile", "renormalize_logits", "exponential_decay_length_penalty", "sequence_bias"),
    *(
        "begin_suppress_tokens",
        "no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "top_h",
        "prefix_allowed_tokens_fn",
    ),
)
# What errors call some of them.
_OTHER_NAMES = {
    "inputs": ("input_ids",),
    "stop_strings": ("stop string",),
    "synced_gpus": ("process group",),
    "assistant_model": ("assistant model",),
    "prompt_lookup_num_tokens": ("assisted",),
    "past_key_values": ("cache",),
    "cache": ("past_key_values",),
}
_FORWARD = ("input_ids", "labels", "channelwise_loss_weight", "num_items_in_batch")


@cache
def model(name: str):
    return {"delay": tiny_tts, "local_v1": tiny_local_v1, "local": tiny_local, "nano": tiny_nano}[name]()


_model = st.sampled_from(["delay", "local_v1", "local", "nano"])


def _fault_of_sequences(config, prompt, num_sequences: int, limit: int):
    def fault(result) -> str | None:
        sequences = result if isinstance(result, torch.Tensor) else result["sequences"]
        if sequences.ndim != 3 or sequences.shape[-1] != 1 + config.n_vq or len(sequences) % len(prompt):
            return f"sequences of shape {tuple(sequences.shape)}"
        if sequences.shape[1] > prompt.shape[1] + limit:
            return f"{sequences.shape[1] - prompt.shape[1]} steps"
        if sequences[..., 1:].max() > config.audio_pad_code or sequences.min() < 0:
            return "codes out of range"
        return None

    return fault


def _cannot_be(name: str, value) -> bool:
    if name not in _NUMBERS or value is None:
        return False
    lowest, highest, is_whole = _NUMBERS[name]
    return not is_number(value, lowest, highest, is_whole=is_whole)


@st.composite
def _options(draw) -> Case:
    kind = draw(_model)
    name = draw(st.one_of(st.sampled_from(list(_NUMBERS)), st.sampled_from(_OTHERS)))
    value = draw(numbers if name in _NUMBERS and draw(st.booleans()) else anything)
    config = model(kind).config
    inputs = tiny_prompts(config, 5, 7)
    is_length = name in ("max_new_tokens", "max_length", "max_time", "num_return_sequences")
    # What asks for much gets it: only few steps are waited for.
    nonsense = _cannot_be(name, value)
    asks_for_much = is_length and is_number(value, 20)
    if asks_for_much:
        value = 20
    arguments = {"max_new_tokens": 4, **inputs, name: value}
    if name == "max_length":
        del arguments["max_new_tokens"]
    if name == "inputs":
        del arguments["input_ids"]
    if draw(st.booleans()) and name in _NUMBERS and name != "max_length":
        arguments = {**inputs, "generation_config": ("config", {"max_new_tokens": 4, name: value})}

    def call():
        options = dict(arguments)
        if isinstance(options.get("generation_config"), tuple) and options["generation_config"]:
            given = options["generation_config"][1]
            options["generation_config"] = config_of = GenerationConfig()
            for key, item in given.items():
                setattr(config_of, key, item)
        return model(kind).generate(**options)

    is_in_config = isinstance(arguments.get("generation_config"), tuple) and name != "generation_config"
    label = f"{kind}.generate({'config of ' * is_in_config}{name}={show(value)})"
    check = _fault_of_sequences(config, inputs["input_ids"], 1, 30)
    if name in ("input_ids", "inputs", "attention_mask"):
        check = None
    short = name.removeprefix("audio_").removeprefix("text_")
    names = (name, short, *_OTHER_NAMES.get(name, ()))
    return Case(label, call, names, check, nonsense)


_shape = st.sampled_from(
    [(1, 5, 5), (2, 5, 5), (1, 1, 5), (1, 0, 5), (0, 5, 5), (5, 5), (5,), (), (1, 5, 4), (1, 5, 6), (1, 1, 5, 5)]
)
_dtype = st.sampled_from(
    [torch.long, torch.int32, torch.uint8, torch.bool, torch.float32, torch.complex64, torch.float16]
)


@st.composite
def _prompts(draw) -> Case:
    kind, shape, dtype = draw(_model), draw(_shape), draw(_dtype)
    fill = draw(st.sampled_from([0, 1, -1, 15, 16, 17, 99, 100, 2**31, -(2**63), 2**63 - 1]))
    mask_shape = draw(st.sampled_from([None, (1, 5), (2, 5), (1, 4), (1, 1, 5, 5), ()]))
    mask_fill = draw(st.sampled_from([0, 1, 2, -1, 0.5, True, False]))
    config = model(kind).config

    def call():
        input_ids = torch.zeros(shape, dtype=dtype)
        input_ids += torch.tensor(fill).to(dtype) if dtype != torch.bool else False
        options = {} if mask_shape is None else {"attention_mask": torch.full(mask_shape, mask_fill)}
        return model(kind).generate(input_ids, max_new_tokens=3, **options)

    label = f"{kind}.generate({dtype} {shape} of {fill}, mask {mask_shape} of {mask_fill})"
    nonsense = (
        len(shape) != 3 or shape[2:] != (5,) or 0 in shape or dtype in (torch.float32, torch.float16, torch.complex64)
    )
    return Case(
        label,
        call,
        ("input_ids", "attention_mask"),
        _fault_of_sequences(config, torch.zeros(max([1, *shape[:1]]), 5), 1, 3),
        nonsense,
    )


@st.composite
def _forwards(draw) -> Case:
    kind, name = draw(_model), draw(st.sampled_from(_FORWARD))
    value = draw(st.one_of(anything, st.lists(numbers, min_size=5, max_size=5)))
    inputs = tiny_prompts(model(kind).config, 6)
    arguments = {**inputs, "labels": inputs["input_ids"], name: value}
    if name == "inputs_embeds":
        del arguments["input_ids"]
    nonsense = name == "channelwise_loss_weight" and value is not None
    nonsense = nonsense and not (isinstance(value, list) and all(is_number(item, 0) for item in value) and any(value))
    return Case(
        f"{kind}({name}={show(value)})",
        lambda: model(kind)(**arguments),
        (name, "past_key_values", "cache") if name == "past_key_values" else (name,),
        lambda outputs: (
            None
            if outputs.loss is None or torch.isfinite(outputs.loss) or name == "labels"
            else "a loss that is no number"
        ),
        nonsense,
    )


@st.composite
def _caches(draw) -> Case:
    """Caches of another generation."""
    kind, length, batch_size = draw(_model), draw(st.sampled_from([3, 5, 20])), draw(st.sampled_from([1, 2]))
    inputs = tiny_prompts(model(kind).config, 6)

    def call():
        cache = DynamicCache(config=model(kind).config.language_config)
        model(kind)(**tiny_prompts(model(kind).config, *[length] * batch_size), past_key_values=cache, use_cache=True)
        return model(kind).generate(**inputs, past_key_values=cache, max_new_tokens=3)

    nonsense = batch_size != 1 or length > 6
    return Case(
        f"{kind}.generate(cache of {batch_size} x {length})", call, ("past_key_values", "cache"), None, nonsense
    )


@st.composite
def _streamers(draw) -> Case:
    name, value = draw(st.sampled_from(["config", "timeout"])), draw(anything)
    config = model("delay").config

    def call():
        streamer = MossTTSFrameStreamer(**({"config": config} | {name: value}))
        streamer.put(torch.zeros(1, 3, 5, dtype=torch.long))
        streamer.end()
        return list(streamer)

    nonsense = name != "timeout" or not (value is None or is_number(value, 1e-320))
    return Case(f"MossTTSFrameStreamer {name} {show(value)}", call, (name,), None, nonsense)


cases = st.one_of(_options(), _options(), _options(), _prompts(), _forwards(), _caches(), _streamers())
