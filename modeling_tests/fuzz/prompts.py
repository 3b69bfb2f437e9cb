"""Prompts: fields, references, scripts and voices, messages, chats."""

from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from tiny_models import golden_processor, small_codec

from .audio import wave
from .outcomes import Case
from .values import TEXTS, anything, is_number, show


_STRINGS = ("language", "instruction", "quality", "sound_event", "ambient_sound")
_FIELDS = ("text", "reference", "tokens", "duration_seconds", *_STRINGS)
_ARGUMENTS = (
    *_FIELDS,
    "mode",
    "conversations",
    "script",
    "voices",
    "sampling_rate",
    "padding",
    "return_tensors",
    "n_vq",
)
_N_VQ = 8
_AUDIO_NAMES = ("audio", "reference", "codes", "samples", "sampling rate", "recording")
# Texts that try to write tokens of the template, and that are hard to normalise.
_SPELLED = [
    *(
        "<|im_end|>",
        "<|im_start|>assistant\n",
        "<|audio|>",
        "<|audio_start|>",
        "<pad>",
        "[S1]",
        "<|endoftext|>",
        "a<|im_end|>b",
    ),
    *(
        "。" * 3000,
        "[" * 3000,
        "a\n" * 2000,
        "(" * 1000 + ")" * 1000,
        "1" * 3000,
        "\u200b",
        "\ufeff",
        "\u202e",
        "é" * 2000,
    ),
    *(
        "\ud83d",
        "\x1b[31m",
        "<|im_end",
        "<|" * 1000,
        "<|im\u200b_end|>",
        "<|IM_END|>",
        "＜|im_end|＞",
        "-" * 4000,
        "…" * 3000,
    ),
]
_text = st.one_of(st.sampled_from(_SPELLED + TEXTS), st.text(max_size=40))


@cache
def processor():
    return golden_processor(small_codec())


@cache
def _num_special(text: str = "Hello.") -> int:
    """Number of the template's tokens in a prompt that says nothing of them."""
    return _count_special(processor()(text=text)["input_ids"])


def _count_special(input_ids: torch.Tensor) -> int:
    special = torch.tensor(sorted(set(processor().model_config.special_tokens.values())))
    return int(torch.isin(input_ids[..., 0], special).sum())


def _fault_of_prompt(inputs) -> str | None:
    input_ids, config = inputs["input_ids"], processor().model_config
    if input_ids.ndim != 3 or input_ids.shape[-1] != 1 + _N_VQ or 0 in input_ids.shape:
        return f"a prompt of shape {tuple(input_ids.shape)}"
    codes = input_ids[..., 1:]
    if input_ids.min() < 0 or input_ids[..., 0].max() >= config.vocab_size or codes.max() > config.audio_pad_code:
        return "ids out of range"
    return None


def _fault_of_text_prompt(inputs) -> str | None:
    written = _count_special(inputs["input_ids"]) - _num_special()
    return _fault_of_prompt(inputs) or (f"the text wrote {written} tokens of the template" if written else None)


def codes(frames: int = 3) -> torch.Tensor:
    return torch.arange(frames * _N_VQ).view(frames, _N_VQ) % 32


_audio = st.sampled_from(
    [
        *(
            codes(),
            codes() + 99,
            codes() - 1,
            codes()[:, 1:],
            codes().repeat(1, 2),
            codes(0),
            codes(500),
            codes().float(),
        ),
        *(
            codes().numpy(),
            codes().tolist(),
            codes()[None],
            (wave(), 16000),
            (16000, wave()),
            (wave(), 0),
            wave(),
            "/missing",
        ),
        *(
            {"array": wave(), "sampling_rate": 16000},
            {"array": wave()},
            {"path": "missing.wav"},
            {"bytes": b"x"},
            b"RIFF",
        ),
        *(
            (wave() * float("nan"), 16000),
            (np.zeros(2, np.float32), 16000),
            {"array": wave(), "sampling_rate": float("nan")},
        ),
    ]
)
_value = st.one_of(anything, _audio, _text, st.lists(st.one_of(_audio, anything), max_size=3))


def _must_be_refused(name: str, value) -> bool:
    """Whether a field cannot have a value."""
    if name in ("tokens", "duration_seconds") and not isinstance(value, list | tuple):
        return value is not None and not is_number(value, 1e-9, is_whole=name == "tokens")
    if name in _STRINGS and not isinstance(value, list | tuple):
        return value is not None and not isinstance(value, str)
    if name == "text" and not isinstance(value, list | tuple | dict):
        return not isinstance(value, str)
    if name in ("conversations", "script", "voices"):
        return not isinstance(value, list | tuple | dict | str | None)
    return name == "mode" and not (isinstance(value, str) and value == "generation")


@st.composite
def _fields(draw) -> Case:
    name = draw(st.sampled_from(_ARGUMENTS))
    value = draw(st.one_of(_value, _text))
    arguments = {"text": "Hello.", name: value}
    if name in ("conversations", "script"):
        del arguments["text"]
    if name == "voices":
        arguments = {"script": "[S1] Hello. [S2] Hi.", "voices": value}
    names = (name, name.removesuffix("s"), *(_AUDIO_NAMES if name in ("reference", "voices", "conversations") else ()))
    names += ("message", "conversation", "role", "frames") if name in ("text", "conversations") else ()
    check = _fault_of_text_prompt if isinstance(value, str) and name in ("text", *_STRINGS) else _fault_of_prompt
    if name not in ("text", *_FIELDS[2:4]) and name in _STRINGS:
        check = _fault_of_prompt if not isinstance(value, str) else _fault_of_text_prompt
    return Case(
        f"processor({', '.join(f'{key}={show(item)}' for key, item in arguments.items())})",
        lambda: processor()(**arguments),
        names,
        check,
        _must_be_refused(name, value),
    )


@st.composite
def _many(draw) -> Case:
    """A list of texts beside a list of another field."""
    name, values = draw(st.sampled_from(_FIELDS[1:])), draw(st.lists(_value, max_size=3))
    nonsense = any(_must_be_refused(name, value) for value in values) or not values
    nonsense = nonsense or any(isinstance(value, list | tuple) for value in values if name != "reference")
    return Case(
        f"processor(text=[...], {name}={show(values)})",
        lambda: processor()(text=["Hello."] * len(values), **{name: values}),
        (name, "text", *_AUDIO_NAMES),
        _fault_of_prompt,
        nonsense,
    )


_key = st.sampled_from(
    ["role", "content", *_FIELDS, "audio_codes_list", "type", "audio", "path", "url", "array", "x", "Role"]
)
_item = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": _text}),
    st.fixed_dictionaries({"type": st.just("audio"), "audio": _audio}),
    st.fixed_dictionaries({"type": st.just("audio"), "audio": _audio, "sampling_rate": anything}),
    st.dictionaries(_key, st.one_of(_value, st.sampled_from(["text", "audio"])), max_size=3),
    _value,
)
_role = st.one_of(st.sampled_from(["user", "user", "assistant", "assistant", "system"]), anything)
_message = st.one_of(
    st.fixed_dictionaries({"role": _role, "content": st.one_of(_text, st.lists(_item, max_size=3), _value)}),
    st.fixed_dictionaries({"role": _role, "text": _text}, optional={"reference": _value, "tokens": anything}),
    st.fixed_dictionaries(
        {"role": _role, "content": _text, "audio_codes_list": st.one_of(st.lists(_audio, max_size=2), _value)}
    ),
    st.dictionaries(_key, _value, max_size=4).map(lambda message: {"role": "user"} | message),
    _value,
)
_CHAT_NAMES = (
    *(
        "message",
        "conversation",
        "role",
        "content",
        "chat",
        "text",
        "audio_codes_list",
        "placeholder",
        "mode",
        "option",
    ),
    *(*_FIELDS, *_AUDIO_NAMES),
)


@st.composite
def _chats(draw) -> Case:
    chat = draw(
        st.one_of(st.lists(_message, max_size=3), st.lists(st.lists(_message, max_size=2), max_size=2), _value)
    )
    if draw(st.booleans()):
        options = draw(
            st.fixed_dictionaries(
                {},
                optional={"add_generation_prompt": anything, "continue_final_message": anything, "tokens": anything},
            )
        )
        label = f"apply_chat_template({show(chat)}, {show(options)})"
        names = ("add_generation_prompt", "continue_final_message", *_CHAT_NAMES)
        return Case(label, lambda: processor().apply_chat_template(chat, **options), names, _fault_of_prompt)
    mode = draw(st.sampled_from(["generation", "continuation", "computing_loss"]))
    label = f"processor(conversations={show(chat)}, mode={mode!r})"
    return Case(label, lambda: processor()(conversations=chat, mode=mode), _CHAT_NAMES, _fault_of_prompt)


@st.composite
def _scripts(draw) -> Case:
    script = draw(
        st.one_of(st.sampled_from(["[S1] Hi.", "[S1] Hi. [S2] No.", "[S99] x", "[S0] x", "[S1]", "[s1] x"]), _text)
    )
    voice = st.one_of(_audio, st.tuples(_audio, _text), _value)
    speaker = st.one_of(st.sampled_from(["S1", "S2", "[S1]", 1, "S0"]), _text)
    voices = draw(
        st.one_of(st.none(), st.lists(voice, max_size=3), st.dictionaries(speaker, voice, max_size=2), _value)
    )
    return Case(
        f"processor(script={show(script)}, voices={show(voices)})",
        lambda: processor()(script=script, voices=voices),
        ("script", "voice", "speak", "text", *_AUDIO_NAMES),
        _fault_of_prompt,
    )


@st.composite
def _built(draw) -> Case:
    name, value = draw(st.sampled_from([*_FIELDS, "audio_codes_list", "content"])), draw(_value)

    def call():
        user = {"text": "Hello."} | ({name: value} if name in _FIELDS else {})
        reply = {"audio_codes_list": [codes()]} | ({name: value} if name not in _FIELDS else {})
        chat = [processor().build_user_message(**user), processor().build_assistant_message(**reply)]
        return processor()(conversations=[chat], mode="computing_loss")

    nonsense = name in _FIELDS and _must_be_refused(name, value)
    names = (name, "placeholder", *_AUDIO_NAMES)
    return Case(f"message of {name}={show(value)}", call, names, _fault_of_prompt, nonsense)


cases = st.one_of(_fields(), _fields(), _many(), _chats(), _chats(), _scripts(), _built())
