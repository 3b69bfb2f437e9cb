# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The modules that MossAudioTokenizer is made of: the released ones, their timing, and what cannot be built."""

import math
from typing import TYPE_CHECKING, Any, Literal

from ..loading.released_config import check_sizes


if TYPE_CHECKING:
    from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig


# Depth, width and heads of the transformer stages of the released 1.6B codec, encoder order (100 Hz to 12.5 Hz).
_RELEASED_STAGES = ((12, 768, 12), (12, 768, 12), (12, 768, 12), (32, 1280, 20))
# Patch sizes between the stages: 240 samples, then twice as many channels at half the rate, three times.
_RELEASED_PATCHES = (240, 2, 2, 2)
# Features that each encoder stage hands to the next patch, and that the quantizer takes.
_RELEASED_WIDTHS = (384, 384, 640, 768)


def _transformer_kwargs(num_layers: int, d_model: int, num_heads: int, input_dimension: int, output_dimension: int):
    return {
        "causal": True,
        "conv_layout": True,
        "d_model": d_model,
        "dim_feedforward": 4 * d_model,
        "gating": "none",
        "input_dimension": input_dimension,
        "layer_scale": 0.01,
        "max_period": 10000,
        "module_type": "Transformer",
        "norm": "layer_norm",
        "num_heads": num_heads,
        "num_layers": num_layers,
        "output_dimension": output_dimension,
        "positional_embedding": "rope",
    }


def _patch_kwargs(patch_size: int) -> dict[str, Any]:
    return {"module_type": "PatchedPretransform", "patch_size": patch_size}


def released_encoder_kwargs() -> list[dict[str, Any]]:
    modules, channels = [], 1
    for (depth, width, heads), patch, features in zip(_RELEASED_STAGES, _RELEASED_PATCHES, _RELEASED_WIDTHS):
        modules.append(_patch_kwargs(patch))
        modules.append(_transformer_kwargs(depth, width, heads, channels * patch, features))
        channels = features
    return modules


def released_decoder_kwargs() -> list[dict[str, Any]]:
    modules, features = [], _RELEASED_WIDTHS[-1]
    next_features = (*_RELEASED_WIDTHS[-2::-1], 1)
    for (depth, width, heads), patch, out in zip(_RELEASED_STAGES[::-1], _RELEASED_PATCHES[::-1], next_features):
        modules.append(_transformer_kwargs(depth, width, heads, features, out * patch))
        modules.append(_patch_kwargs(patch))
        features = out
    return modules


def released_quantizer_kwargs() -> dict[str, Any]:
    return {
        "codebook_dim": 8,
        "codebook_size": 1024,
        "input_dim": 768,
        "num_quantizers": 32,
        "output_dim": 768,
        "quantizer_type": "rlfq",
        "rvq_dim": 512,
    }


def decoder_of_reversed(modules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Modules of a decoder that is described from its output to its input, as the encoder that it inverts."""
    swapped = {"input_dimension": "output_dimension", "output_dimension": "input_dimension"}
    return [{swapped.get(name, name): value for name, value in module.items()} for module in reversed(modules)]


def context_duration(config: "MossAudioTokenizerConfig") -> float:
    """Seconds that the attention of a stage without a `context_duration` of its own sees: the encoder's fewest."""
    stages = [module for module in config.encoder_kwargs if module["module_type"] == "Transformer"]
    fallback = config.causal_transformer_context_duration
    return min([stage.get("context_duration", fallback) for stage in stages] or [fallback])


def transformer_stages(config: "MossAudioTokenizerConfig", part: Literal["encoder", "decoder"]) -> list[dict]:
    """
    Timing of the transformer stages of one half of the codec, in order of execution.

    Returns a dict a stage: `index` of its module, its `kwargs`, `steps_per_frame` (positions a frame of codes) and
    `window` (positions that its attention sees: the seconds of its context at its rate).
    """
    modules = config.encoder_kwargs if part == "encoder" else config.decoder_kwargs
    steps_per_frame = config.downsample_rate * config.num_channels if part == "encoder" else 1
    default = context_duration(config)
    # The releases differ where a window is no whole number of positions.
    whole = round if config.is_v2 else int
    stages = []
    for index, kwargs in enumerate(modules):
        if kwargs["module_type"] == "PatchedPretransform":
            patch = kwargs["patch_size"]
            steps_per_frame = steps_per_frame // patch if part == "encoder" else steps_per_frame * patch
            continue
        window = whole(config.frame_rate * steps_per_frame * kwargs.get("context_duration", default))
        stages.append({"index": index, "kwargs": kwargs, "steps_per_frame": steps_per_frame, "window": window})
    return stages


_QUANTIZER_TYPES = ("rlfq", "random_prefix_rlfq")
# Largest sizes that can be asked for, far above those of any codec: modules are built before their weights are looked at.
_LARGEST = {
    "sampling_rate": 10**6,
    "downsample_rate": 10**6,
    "patch_size": 10**6,
    "num_layers": 1024,
    "num_heads": 2**12,
    "d_model": 2**17,
    "dim_feedforward": 2**20,
    "input_dimension": 2**20,
    "output_dimension": 2**20,
    "input_dim": 2**17,
    "output_dim": 2**17,
    "rvq_dim": 2**17,
    "num_quantizers": 256,
    "codebook_size": 2**20,
    "codebook_dim": 2**17,
}
_LARGEST_NUMBER_OF_MODULES = 256
# Longest attention window, in seconds.
_LONGEST_CONTEXT = 3600
_STAGE_SIZES = ("num_layers", "num_heads", "d_model", "dim_feedforward", "input_dimension", "output_dimension")
_QUANTIZER_SIZES = ("input_dim", "output_dim", "rvq_dim", "num_quantizers", "codebook_size", "codebook_dim")


def check_architecture(config: "MossAudioTokenizerConfig") -> None:
    """Raises a `ValueError` by name for what the released codecs are not made of, and for sizes that no codec has."""
    if config.quantizer_type not in _QUANTIZER_TYPES:
        raise ValueError(
            f"`quantizer_type` must be one of {', '.join(_QUANTIZER_TYPES)}, as in the released codecs, got "
            f"{config.quantizer_type!r}."
        )
    if config.num_channels not in (1, 2) or (config.num_channels == 2 and not config.enable_channel_interleave):
        raise ValueError(
            "The released codecs have one channel, or two that are interleaved: got "
            f"number_channels={config.number_channels}, enable_channel_interleave={config.enable_channel_interleave}."
        )
    if not 0.0 <= config.quantizer_dropout <= 1.0:
        raise ValueError(f"`quantizer_dropout` must be between 0 and 1, got {config.quantizer_dropout}.")
    rates = {"sampling_rate": config.sampling_rate, "downsample_rate": config.downsample_rate}
    check_sizes(rates, _LARGEST, required=tuple(rates))
    check_sizes(config.quantizer_kwargs, _LARGEST, "quantizer_kwargs.", _QUANTIZER_SIZES)
    _check_context("causal_transformer_context_duration", config.causal_transformer_context_duration)
    for name in ("encoder_kwargs", "decoder_kwargs"):
        _check_modules(config, name)


def _check_modules(config: "MossAudioTokenizerConfig", name: str) -> None:
    modules = getattr(config, name)
    if not modules or len(modules) > _LARGEST_NUMBER_OF_MODULES:
        raise ValueError(f"`{name}` must have 1 to {_LARGEST_NUMBER_OF_MODULES} modules, got {len(modules)}.")
    for module in modules:
        _check_module(name, module)
    patches = math.prod(module.get("patch_size", 1) for module in modules)
    if patches != config.downsample_rate * config.num_channels:
        raise ValueError(
            f"The patch sizes of `{name}` multiply to {patches}, but `downsample_rate` is "
            f"{config.downsample_rate} with {config.num_channels} channel(s): they must agree."
        )
    is_encoder = name == "encoder_kwargs"
    _check_widths(name, modules, 1 if is_encoder else config.quantizer_kwargs["output_dim"], is_encoder)
    for stage in transformer_stages(config, "encoder" if is_encoder else "decoder"):
        if stage["window"] < 1:
            raise ValueError(f"A stage of `{name}` sees less than one position: its context in seconds is too short.")


def _check_module(name: str, module: dict[str, Any]) -> None:
    kind = module.get("module_type")
    if kind not in ("PatchedPretransform", "Transformer"):
        raise ValueError(f"`{name}` has a module of type {kind!r}; use 'PatchedPretransform' or 'Transformer'.")
    if kind == "PatchedPretransform":
        return check_sizes(module, _LARGEST, f"{name}.", ("patch_size",))
    expected = {"causal": True, "gating": "none", "norm": "layer_norm", "positional_embedding": "rope"}
    for key, value in expected.items():
        if module.get(key, value) != value:
            raise ValueError(f"`{name}` asks for {key}={module[key]!r}; the released codecs use {value!r} only.")
    check_sizes(module, _LARGEST, f"{name}.", _STAGE_SIZES)
    for key in ("layer_scale", "max_period"):
        value = module.get(key)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"`{name}.{key}` must be a number above 0, got {value!r}.")
    if "context_duration" in module:
        _check_context(f"{name}.context_duration", module["context_duration"])
    if module["d_model"] % (2 * module["num_heads"]):
        raise ValueError(
            f"`{name}` has d_model={module['d_model']} and num_heads={module['num_heads']}: the heads must have an "
            "equal, even width for the rotary embedding."
        )


def _check_widths(name: str, modules: list[dict[str, Any]], width: int, is_encoder: bool) -> None:
    for module in modules:
        patch = module.get("patch_size", 1)
        expected = module.get("input_dimension", width)
        if width != expected or (not is_encoder and width % patch):
            raise ValueError(
                f"`{name}` does not fit together: {width} features go into a module that takes "
                f"{expected if width != expected else f'a multiple of {patch}'}."
            )
        width = module.get("output_dimension", width * patch if is_encoder else width // patch)


def _check_context(name: str, seconds: Any) -> None:
    if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_CONTEXT:
        raise ValueError(f"`{name}` must be above 0 and at most {_LONGEST_CONTEXT} seconds, got {seconds!r}.")


__all__ = [
    "check_architecture",
    "context_duration",
    "decoder_of_reversed",
    "released_decoder_kwargs",
    "released_encoder_kwargs",
    "released_quantizer_kwargs",
    "transformer_stages",
]
