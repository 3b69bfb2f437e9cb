"""What `generate` takes: each parameter has its effect, wherever it is said, or is refused by name."""

import json
import threading

import numpy as np
import pytest
import torch
from tiny_models import tiny_local, tiny_local_v1, tiny_prompts, tiny_tts
from transformers import AutoModel, GenerationConfig, StoppingCriteria

from transformers_moss_tts import MossTTSFrameStreamer


BUILDERS = {"delay": tiny_tts, "local v1.0": tiny_local_v1, "local v1.5": tiny_local}
AUDIO = {"temperature": 0.4, "top_p": 0.6, "top_k": 3, "repetition_penalty": 1.4}


@pytest.fixture(scope="module")
def models():
    return {name: build() for name, build in BUILDERS.items()}


@pytest.fixture(params=list(BUILDERS))
def model(models, request):
    return models[request.param]


def prompts(config, *lengths):
    """Prompts that end where audio begins."""
    inputs = tiny_prompts(config, *lengths)
    inputs["input_ids"][:, -1, 0] = config.audio_start_token_id
    return inputs


def generate(model, **options):
    defaults = {"seed": 0, "max_new_tokens": 8, "min_new_tokens": 8}
    return model.generate(**prompts(model.config, 9), **(defaults | options))


def names_of_the_codebooks(parameters):
    return {f"audio_{name}": value for name, value in parameters.items()}


# transformers' names.


@pytest.mark.parametrize("name", AUDIO)
def test_transformers_names_are_the_codebooks(model, name):
    renamed = names_of_the_codebooks({name: AUDIO[name]})
    assert torch.equal(generate(model, **{name: AUDIO[name]}), generate(model, **renamed))
    with pytest.raises(ValueError, match=f"`{name}` .* and `audio_{name}`"):
        generate(model, **{name: AUDIO[name], f"audio_{name}": 1})


def test_transformers_names_in_a_generation_config(model):
    expected = generate(model, **names_of_the_codebooks(AUDIO))
    assert not torch.equal(expected, generate(model))
    given = GenerationConfig(**AUDIO, do_sample=True)
    assert torch.equal(generate(model, generation_config=given), expected)
    assert given.temperature == 0.4


def test_transformers_names_on_the_model_and_in_its_file(tmp_path, model):
    expected = generate(model, **names_of_the_codebooks(AUDIO))
    model.save_pretrained(tmp_path)
    GenerationConfig(**AUDIO, do_sample=True).save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(generate(loaded), expected)
    assert loaded.generation_config.audio_top_k == 3
    GenerationConfig(do_sample=True).save_pretrained(tmp_path)
    changed = AutoModel.from_pretrained(tmp_path)
    for name, value in AUDIO.items():
        setattr(changed.generation_config, name, value)
    assert torch.equal(generate(changed), expected)


def test_the_call_comes_before_the_config_before_the_model(models):
    model = tiny_tts()
    model.generation_config.audio_top_k = 1
    model.generation_config.text_top_k = 1
    greedy = generate(models["delay"], audio_top_k=1, text_top_k=1)
    assert torch.equal(generate(model), greedy)
    config = GenerationConfig(top_k=0, text_top_k=50, max_new_tokens=8)
    expected = generate(models["delay"], audio_top_k=0, text_top_k=50)
    assert torch.equal(generate(model, generation_config=config, max_new_tokens=8), expected)
    assert torch.equal(generate(model, generation_config=config, top_k=1, text_top_k=1), greedy)


TTSD = {"temperature": 1.1, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1}


@pytest.mark.parametrize("how", ["its file", "its folder's name", "an argument", "its saved config"])
def test_a_release_is_sampled_as_it_was_released(tmp_path, models, how):
    folder = tmp_path / ("MOSS-TTSD-v1.0" if how == "its folder's name" else "model")
    models["delay"].save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    options = {"moss_tts_variant": "MOSS-TTSD-v1.0"} if how in ("an argument", "its saved config") else {}
    if how == "its file":
        (folder / "generation_config.json").write_text(json.dumps(TTSD | {"max_new_tokens": 2000}))
    model = AutoModel.from_pretrained(folder, **options)
    if how == "its saved config":
        model.save_pretrained(tmp_path / "again")
        (tmp_path / "again" / "generation_config.json").unlink()
        model = AutoModel.from_pretrained(tmp_path / "again")
    assert model.config.moss_tts_variant == "MOSS-TTSD-v1.0"
    assert model.generation_config.max_new_tokens == 2000
    sampling = names_of_the_codebooks(TTSD) | {"text_temperature": 1.1, "text_top_p": 0.9, "text_top_k": 50}
    assert torch.equal(generate(model), generate(models["delay"], **sampling))


# Lengths and ends.


@pytest.mark.parametrize("option", [{"min_new_tokens": 12}, {"min_length": 21}])
def test_no_sequence_ends_before_its_least_length(model, option):
    # Whatever is likely: the end.
    ending = BUILDERS[next(name for name, build in BUILDERS.items() if isinstance(model, type(build())))]()
    lean_to_the_end(ending)
    without = generate(ending, max_new_tokens=30, min_new_tokens=None)
    assert without.shape[1] - 9 < 12
    options = {"max_new_tokens": 30, "min_new_tokens": None, "return_dict_in_generate": True} | option
    outputs = generate(ending, **options)
    assert outputs.sequences.shape[1] - 9 == 13
    assert outputs.sequences[0, -1, 0] == ending.end_token_id(ending.config) and not outputs.reached_limit.any()


def lean_to_the_end(model):
    """Makes the text stream end, and audio too, as soon as it may."""
    if hasattr(model, "text_head"):
        head, tokens = model.text_head, {"im_end": 50.0, "audio_assistant_delay_slot": 50.0}
    elif hasattr(model, "local_text_lm_head"):
        head, tokens = model.local_text_lm_head, {1: 50.0}
    else:
        head, tokens = model.lm_heads[0], {"audio_end": 50.0}
    bias = torch.zeros(head.out_features)
    for token, value in tokens.items():
        bias[token if isinstance(token, int) else getattr(model.config, f"{token}_token_id")] = value
    head.register_forward_hook(lambda module, inputs, output: output + bias)


def test_what_reaches_the_limit_can_end_with_the_forced_token(models):
    for model in models.values():
        end = model.end_token_id(model.config)
        outputs = generate(
            model, max_new_tokens=5, min_new_tokens=0, forced_eos_token_id=end, return_dict_in_generate=True, seed=3
        )
        assert outputs.sequences[0, -1, 0] == end and not outputs.reached_limit.any()
        with pytest.raises(ValueError, match=f"`forced_eos_token_id` must be .* \\({end}\\)"):
            generate(model, forced_eos_token_id=5)


def test_more_tokens_can_end_a_sequence(models):
    model = models["delay"]
    inputs = tiny_prompts(model.config, 9)
    plain = model.generate(**inputs, seed=0, max_new_tokens=12)
    token = int(plain[0, 12, 0])
    outputs = model.generate(**inputs, seed=0, max_new_tokens=12, eos_token_id=token, return_dict_in_generate=True)
    length = 10 + plain[0, 9:, 0].tolist().index(token)
    assert torch.equal(outputs.sequences, plain[:, :length]) and outputs.reached_limit.tolist() == [False]


@pytest.mark.parametrize("name", BUILDERS)
def test_ends_of_the_backbone_in_the_file_are_not_the_models(tmp_path, models, name):
    model = models[name]
    model.save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[1, 2], pad_token_id=0, bos_token_id=3).save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    options = {"max_new_tokens": 20, "min_new_tokens": 0, "return_dict_in_generate": True}
    expected, outputs = (generate(each, **options) for each in (model, loaded))
    assert torch.equal(outputs.sequences, expected.sequences)
    assert torch.equal(outputs.reached_limit, expected.reached_limit)


@pytest.mark.parametrize("options", [{"max_length": 13}, {"generation_config": GenerationConfig(max_length=13)}])
def test_the_length_of_prompt_and_generation_together(models, options):
    inputs = tiny_prompts(models["delay"].config, 9)
    assert models["delay"].generate(**inputs, **options).shape[1] == 13


def test_a_million_steps_reserve_no_memory(model):
    class StopAt(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.full(input_ids.shape[:1], input_ids.shape[1] >= 12)

    options = {"min_new_tokens": None, "seed": 1}
    outputs = generate(model, max_new_tokens=10**12, stopping_criteria=[StopAt()], **options)
    assert torch.equal(outputs, generate(model, max_new_tokens=3, **options))


def test_steps_after_the_buffers_grew_have_the_scores_of_one_pass(models):
    model = models["delay"]
    inputs = tiny_prompts(model.config, 9, 5)
    options = {"seed": 0, "min_new_tokens": 270, "max_new_tokens": 270, "return_dict_in_generate": True}
    outputs = model.generate(**inputs, **options, output_logits=True)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 270), value=True)
    with torch.no_grad():
        logits = model(input_ids=outputs.sequences, attention_mask=mask).logits[:, 8:-1]
    torch.testing.assert_close(torch.stack(outputs.logits, dim=1), logits, atol=1e-4, rtol=1e-4)


def test_the_text_penalty_of_v1(models):
    model = models["local v1.0"]
    config = model.config
    options = {"max_new_tokens": 12, "min_new_tokens": 0, "text_temperature": 1e-4, "text_top_k": 0}
    plain, penalized = (generate(model, **options, text_repetition_penalty=p)[0, 9:, 0] for p in (1.0, 1000.0))
    seen = tiny_prompts(config, 9)["input_ids"][0, :, 0].tolist()
    assert len(set(plain.tolist())) < len(plain)
    # Positive scores of seen tokens become nearly 0, so an unseen one is always better.
    for token in penalized.tolist():
        assert token not in seen
        seen.append(token)
    for name in ("delay", "local v1.5"):
        with pytest.raises(ValueError, match="text_repetition_penalty"):
            generate(models[name], text_repetition_penalty=1.2)


# What is refused.

WITHOUT_EFFECT = {
    "min_p": 0.5,
    "top_h": 0.4,
    "typical_p": 0.2,
    "epsilon_cutoff": 0.2,
    "eta_cutoff": 0.2,
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.3,
    "guidance_scale": 3.0,
    "suppress_tokens": [5],
    "begin_suppress_tokens": [5],
    "bad_words_ids": [[5]],
    "sequence_bias": {(5,): -10.0},
    "forced_bos_token_id": 5,
    "exponential_decay_length_penalty": (3, 1.5),
    "length_penalty": 2.0,
    "renormalize_logits": True,
    "remove_invalid_values": True,
    "token_healing": True,
    "prefill_chunk_size": 4,
    "decoder_start_token_id": 5,
    "early_stopping": True,
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
@pytest.mark.parametrize("where", ["the call", "a config", "the model"])
def test_options_without_effect_are_refused_by_name(models, name, where):
    model, options = models["local v1.5"], {name: WITHOUT_EFFECT[name]}
    if where == "the model":
        model = tiny_local()
        setattr(model.generation_config, name, WITHOUT_EFFECT[name])
        options = {}
    if where == "a config":
        options = {"generation_config": GenerationConfig(**options)}
    with pytest.raises(ValueError, match=f"`{name}`"):
        generate(model, **options)


@pytest.mark.parametrize("name,value", [("guidance_scale", 1.0), ("typical_p", 1.0), ("no_repeat_ngram_size", 0)])
def test_values_that_mean_nothing_are_no_error(models, name, value):
    assert torch.equal(generate(models["delay"], **{name: value}), generate(models["delay"]))


NANS = [float("nan"), float("inf"), -float("inf")]
BAD_NUMBERS = {
    "text_temperature": [*NANS, -1.0, 1e-30, "hot"],
    "audio_temperature": [*NANS, -0.1, 1e-30],
    "temperature": [*NANS, -0.1],
    "text_top_p": [*NANS, 0.0, 1.1],
    "audio_top_p": [*NANS, -0.5, 2.0],
    "text_top_k": [*NANS, -1, 2.5],
    "audio_top_k": [*NANS, -1, 2.5],
    "audio_repetition_penalty": [*NANS, 0.0, -1.0, 1e30],
    "repetition_penalty": [*NANS, 0.0],
    "max_new_tokens": [*NANS, 0, -3, 2.5],
    "max_length": [*NANS, 0, -3, 2.5],
    "min_new_tokens": [*NANS, -1, 2.5],
    "min_length": [*NANS, -1],
    "num_return_sequences": [0, -1, 1.5, 10**9],
    "eos_token_id": [*NANS, -1, 100, 2**63, "x", [5, None]],
    "forced_eos_token_id": [*NANS, "x", {}],
    "max_time": [*NANS, 0, -1],
    "seed": [*NANS, 0.5, 2**70],
}


@pytest.mark.parametrize("name,value", [(name, value) for name, values in BAD_NUMBERS.items() for value in values])
def test_numbers_that_no_generation_can_have_are_refused_by_name(models, name, value):
    with pytest.raises(ValueError, match=f"`?(audio_)?{name}`?"):
        generate(models["delay"], **{name: value})


@pytest.mark.parametrize(
    "name", ["attention_mask", "position_ids", "streamer", "stopping_criteria", "generation_config"]
)
def test_other_types_are_refused_by_name(models, name):
    for value in (3, "x", {"a": 1}):
        with pytest.raises(TypeError, match=f"`{name}` must be a"):
            models["delay"].generate(**(prompts(models["delay"].config, 9) | {name: value}))


@pytest.mark.parametrize(
    "name",
    ["num_beams", "num_return_sequences", "do_sample", "use_cache", "min_new_tokens", "eos_token_id", "max_time"],
)
def test_none_leaves_an_option_to_the_model(models, name):
    expected = generate(models["delay"], seed=3)
    assert torch.equal(generate(models["delay"], seed=3, **{name: None}), expected)


def test_criteria_that_cannot_be_called_are_refused(models):
    with pytest.raises(TypeError, match="`stopping_criteria` must be functions"):
        generate(models["delay"], stopping_criteria=[[]])


@pytest.mark.parametrize("name", ["do_sample", "use_cache", "output_logits", "return_dict_in_generate"])
def test_flags_are_true_or_false(models, name):
    with pytest.raises(TypeError, match=f"`{name}` must be a bool"):
        generate(models["delay"], **{name: "no"})


def test_positions_follow_the_padding(models):
    inputs = prompts(models["delay"].config, 9, 6)
    positions = (inputs["attention_mask"].long().cumsum(1) - 1).clamp(min=0)
    expected = models["delay"].generate(**inputs, seed=0, max_new_tokens=6)
    right = {name: torch.stack([value[0], value[1].roll(-3, 0)]) for name, value in inputs.items()}
    right["position_ids"] = torch.stack([positions[0], positions[1].roll(-3, 0)])
    assert torch.equal(models["delay"].generate(**right, seed=0, max_new_tokens=6), expected)
    with pytest.raises(ValueError, match=r"`position_ids` must have shape \(2, 9\)"):
        models["delay"].generate(**inputs, position_ids=positions[:, :4])


def test_numbers_of_numpy_are_taken(models):
    expected = generate(models["delay"], audio_top_k=3, audio_temperature=0.5)
    options = {"audio_top_k": np.int64(3), "audio_temperature": np.float64(0.5)}
    options |= {"seed": np.int64(0), "max_new_tokens": np.int64(8)}
    assert torch.equal(generate(models["delay"], **options), expected)


@pytest.mark.parametrize(
    "name,value",
    [
        ("pad_token_id", 3),
        ("labels", torch.zeros(1, 9, 5, dtype=torch.long)),
        ("channelwise_loss_weight", [1.0] * 5),
        ("logits_to_keep", 2),
        ("negative_prompt_ids", torch.zeros(1, 9, dtype=torch.long)),
        ("cache_implementation", "paged"),
        ("cache_implementation", "offloaded"),
        ("cache_implementation", "offloaded_static"),
        ("text_temprature", 1.0),
    ],
)
def test_arguments_that_are_not_of_generation_are_refused_by_name(models, name, value):
    with pytest.raises(ValueError, match=name):
        generate(models["delay"], **{name: value})


def test_prompts_that_are_no_whole_numbers_or_wholly_padding_are_refused(model):
    inputs = prompts(model.config, 9, 5)
    with pytest.raises(ValueError, match="whole numbers"):
        model.generate(inputs["input_ids"].float())
    inputs["attention_mask"][1] = False
    with pytest.raises(ValueError, match="`attention_mask` leaves nothing"):
        model.generate(**inputs)


# Streamers.


def test_the_streamer_has_the_frames_of_the_output(model):
    """MossTTSLocal v1.0 may choose any text token over a frame."""
    total = 0
    for seed in range(4):
        streamer = MossTTSFrameStreamer(model.config, timeout=60)
        options = {"seed": seed, "max_new_tokens": 16, "min_new_tokens": 9, "return_dict_in_generate": True}
        codes = generate(model, streamer=streamer, **options).audio_codes[0]
        frames = list(streamer)
        assert torch.equal(torch.cat([codes[:0], *frames]), codes)
        total += len(codes)
    assert total > 1


def test_the_streamer_has_the_codebooks_that_are_spoken(models):
    streamer = MossTTSFrameStreamer(models["local v1.0"].config, timeout=60)
    options = {"n_vq_for_inference": 2, "return_dict_in_generate": True}
    codes = generate(models["local v1.0"], streamer=streamer, **options).audio_codes[0]
    assert codes.shape[1] == 2 and torch.equal(torch.cat(list(streamer)), codes)


class FailsInTheMiddle(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        raise MemoryError("a failure in the middle")


@pytest.mark.parametrize(
    "options",
    [{"min_p": 0.3}, {"input_ids": None}, {"stopping_criteria": [FailsInTheMiddle()]}],
    ids=["refused", "without a prompt", "in the middle"],
)
def test_a_generation_that_fails_ends_its_stream(models, options):
    model = models["delay"]
    streamer = MossTTSFrameStreamer(model.config, timeout=60)
    errors = []

    def run():
        try:
            model.generate(**(prompts(model.config, 9) | {"streamer": streamer} | options))
        except (ValueError, MemoryError) as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with pytest.raises(RuntimeError, match="The generation failed") as caught:
        list(streamer)
    thread.join()
    assert caught.value.__cause__ is errors[0]


def test_only_the_longest_generations_are_warned_about(models, caplog):
    """What a criterion stops is cut too, but not for lack of steps."""

    class StopFirst(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.tensor([True] + [False] * (len(input_ids) - 1))

    model, options = models["delay"], {"seed": 0, "max_new_tokens": 10, "return_dict_in_generate": True}
    with caplog.at_level("WARNING"):
        alone = model.generate(**prompts(model.config, 9), **options, stopping_criteria=[StopFirst()])
    assert alone.reached_limit.tolist() == [True] and not caplog.text
    with caplog.at_level("WARNING"):
        model.generate(**prompts(model.config, 9, 9), **options, min_new_tokens=10, stopping_criteria=[StopFirst()])
    assert "1 of 2 generations" in caplog.text


def test_sequences_that_are_stopped_have_no_padding_in_their_codes(model):
    """A sequence that a criterion ends is padded while the others go on."""

    class StopFirst(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.tensor([input_ids.shape[1] >= 16, False])

    inputs = prompts(model.config, 9, 9)
    options = {"seed": 0, "max_new_tokens": 20, "return_dict_in_generate": True, "min_new_tokens": 20}
    outputs = model.generate(**inputs, **options, stopping_criteria=[StopFirst()])
    assert len(outputs.audio_codes[0]) <= 7
    assert all((codes < model.config.audio_vocab_size).all() for codes in outputs.audio_codes)
    assert (outputs.sequences[0, 16:, 0] == model.config.pad_token_id).all() and outputs.sequences.shape[1] == 29
