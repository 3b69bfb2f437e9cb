"""What training takes: arguments, samples, weights, crops, presets."""

import dataclasses
from functools import cache

import datasets
import numpy as np
from hypothesis import strategies as st
from tiny_models import golden_processor, tiny_tts

from transformers_moss_tts.training import (
    CodecTrainingArguments,
    MossTTSDataCollator,
    RandomCrops,
    TrainingSamples,
    load_recordings,
    lora_target_modules,
    paper_stream_weights,
)

from .outcomes import Case
from .values import INF, anything, is_number, numbers, show


_FIELDS = [field.name for field in dataclasses.fields(CodecTrainingArguments) if field.name != "output_dir"]
# Lowest values of the fields that are numbers, and whether they are whole.
_NUMBERS = {
    **dict.fromkeys(
        ("max_steps", "batch_size", "logging_steps", "eval_steps", "save_steps", "save_total_limit"), (1, True)
    ),
    **dict.fromkeys(("warmup_steps", "decay_steps"), (0, True)),
    **dict.fromkeys(("crop_seconds", "learning_rate", "discriminator_width", "max_grad_norm"), (1e-320, False)),
    "codebook_patience": (1, True),
    "seed": (0, True),
}
_FLAGS = ("autoencoder", "torch_compile")
_KEYS = ("text", "codes", "reference", "tokens", "language", "instruction", "audio", "quality", "duration_seconds")


@cache
def processor():
    return golden_processor()


def codes(frames: int = 4) -> list[list[int]]:
    return (np.arange(frames * 8).reshape(frames, 8) % 32).tolist()


@st.composite
def _codec_arguments(draw) -> Case:
    name, value = draw(st.sampled_from(_FIELDS)), draw(st.one_of(numbers, anything))
    if name == "loss_weights" and draw(st.booleans()):
        value = {draw(st.sampled_from(["mel", "stft", "semantic", "x"])): draw(anything)}
    nonsense = name in _FLAGS and not isinstance(value, bool)
    if name in _NUMBERS:
        lowest, is_whole = _NUMBERS[name]
        nonsense = not is_number(value, lowest, is_whole=is_whole)
    elif name in ("adversarial_start", "codebook_decay"):
        nonsense = value is not None and not is_number(value, 0, 1 if name == "codebook_decay" else INF)
    elif name == "loss_weights":
        nonsense = not isinstance(value, dict) or not all(is_number(item, 0) for item in value.values())
    elif name in ("discriminator_periods", "discriminator_windows", "frozen_parts"):
        nonsense = not isinstance(value, tuple | list | set)
    elif name == "mixed_precision":
        nonsense = not isinstance(value, str) or value not in ("no", "bf16", "fp16")
    return Case(
        f"CodecTrainingArguments({name}={show(value)})",
        lambda: CodecTrainingArguments(**{"output_dir": "out", "max_steps": 2, name: value}),
        (name,),
        None,
        nonsense,
    )


@st.composite
def _collators(draw) -> Case:
    name = draw(st.sampled_from(["channelwise_loss_weight", "packing", *_KEYS]))
    value = draw(st.one_of(anything, st.lists(numbers, min_size=9, max_size=9)))
    if name in _KEYS:
        example = {"text": "Hello.", "codes": codes(), name: value}
        call, label = lambda: MossTTSDataCollator(processor())([example]), f"collator of {name}={show(value)}"
        names = (name, "codes", "audio", "reference", "codec")
        return Case(label, call, names, lambda batch: None if len(batch["input_ids"]) == 1 else "another batch")
    nonsense = name == "packing" and not isinstance(value, bool)
    if name == "channelwise_loss_weight":
        nonsense = value is not None and not (
            isinstance(value, list | tuple | np.ndarray)
            and len(value) == 9
            and all(is_number(item, 0) for item in value)
        )
    return Case(
        f"MossTTSDataCollator({name}={show(value)})",
        lambda: MossTTSDataCollator(processor(), **{name: value})([{"text": "Hello.", "codes": codes()}]),
        (name,),
        None,
        nonsense,
    )


_SHARES = ("reference_share", "sequence_dropout")


@st.composite
def _samples(draw) -> Case:
    name = draw(
        st.sampled_from(
            ["duration_conditioning", *_SHARES, "max_length", "seed", "codes", "speaker", "tokens", "text"]
        )
    )
    value = draw(st.one_of(numbers, anything))
    table = {"text": ["Hello.", "Hi."], "codes": [codes(), codes(3)], "speaker": ["a", "a"]}
    is_option = name not in ("codes", "speaker", "tokens", "text")
    if not is_option:
        table[name] = [value, value]

    def call():
        samples = TrainingSamples(
            datasets.Dataset.from_dict(table), processor(), **({name: value} if is_option else {})
        )
        return len(samples[0]["input_ids"])

    nonsense = name in _SHARES and not is_number(value, 0, 1)
    nonsense = nonsense or (name == "max_length" and value is not None and not is_number(value, 1, is_whole=True))
    nonsense = nonsense or (name == "seed" and not is_number(value, is_whole=True))
    names = (name, "codes", "example", "longer than")
    if not is_option:
        try:
            datasets.Dataset.from_dict(table)
        except Exception:
            return _SOME_SAMPLES
    return Case(f"TrainingSamples {name}={show(value)}", call, names, None, nonsense)


_SOME_SAMPLES = Case("TrainingSamples", lambda: None, ())


@st.composite
def _others(draw) -> Case:
    value = draw(anything)
    name = draw(
        st.sampled_from(
            ["crop_samples", "batch_size", "seed", "recordings", "n_vq", "presets", "paths", "sampling_rate"]
        )
    )
    recordings = [np.zeros(100, np.int16)]
    options = {"recordings": recordings, "crop_samples": 10, "batch_size": 2, "seed": 0, name: value}
    calls = {
        "n_vq": lambda: paper_stream_weights(value),
        "presets": lambda: lora_target_modules(tiny_tts(), value),
        "paths": lambda: load_recordings(value, 16000),
        "sampling_rate": lambda: load_recordings(["missing.wav"], value),
    }
    call = calls.get(name, lambda: RandomCrops(**options).batch(0))
    nonsense = name in ("crop_samples", "batch_size", "n_vq") and not is_number(value, 1, is_whole=True)
    nonsense = (
        nonsense or (name == "seed" and not is_number(value, is_whole=True)) or name in ("paths", "sampling_rate")
    )
    return Case(f"training {name}={show(value)}", call, (name, "recording", "preset"), None, nonsense)


cases = st.one_of(_codec_arguments(), _codec_arguments(), _collators(), _samples(), _others())
