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
"""MossAudioTokenizer model configuration"""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import auto_docstring

from ..loading.released_config import ReleasedConfigMixin


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


def _released_encoder_kwargs() -> list[dict[str, Any]]:
    modules, channels = [], 1
    for (depth, width, heads), patch, features in zip(_RELEASED_STAGES, _RELEASED_PATCHES, _RELEASED_WIDTHS):
        modules.append(_patch_kwargs(patch))
        modules.append(_transformer_kwargs(depth, width, heads, channels * patch, features))
        channels = features
    return modules


def _released_decoder_kwargs() -> list[dict[str, Any]]:
    modules, features = [], _RELEASED_WIDTHS[-1]
    next_features = (*_RELEASED_WIDTHS[-2::-1], 1)
    for (depth, width, heads), patch, out in zip(_RELEASED_STAGES[::-1], _RELEASED_PATCHES[::-1], next_features):
        modules.append(_transformer_kwargs(depth, width, heads, features, out * patch))
        modules.append(_patch_kwargs(patch))
        features = out
    return modules


def _released_quantizer_kwargs() -> dict[str, Any]:
    return {
        "codebook_dim": 8,
        "codebook_size": 1024,
        "input_dim": 768,
        "num_quantizers": 32,
        "output_dim": 768,
        "quantizer_type": "rlfq",
        "rvq_dim": 512,
    }


_QUANTIZER_TYPES = ("rlfq", "random_prefix_rlfq")


@auto_docstring(checkpoint="OpenMOSS-Team/MOSS-Audio-Tokenizer")
@strict
class MossAudioTokenizerConfig(ReleasedConfigMixin, PreTrainedConfig):
    r"""
    version (`str`, *optional*):
        Version written by the release. It is kept, not read.
    sampling_rate (`int`, *optional*, defaults to 24000):
        Rate of the waveform in Hz. `sample_rate` is accepted as another name for it.
    downsample_rate (`int`, *optional*, defaults to 1920):
        Samples a frame of codes and channel: the product of the patch sizes of the encoder is this times the channels.
    number_channels (`int`, *optional*):
        Channels of the waveform, 1 or 2. Codecs of the second release say it, and have parameter names of their own
        ([`~MossAudioTokenizerConfig.is_v2`]); without it the codec is one of the first release, and mono.
    enable_channel_interleave (`bool`, *optional*, defaults to `True`):
        Two channels become one stream, sample by sample. Nothing else was released.
    causal_transformer_context_duration (`float`, *optional*, defaults to 10.0):
        Length of the attention window, in seconds, of stages that have no `context_duration` of their own. Where encoder
        stages have one, the shortest of these counts instead, as in the release.
    encoder_kwargs (`list[dict]`, *optional*):
        Modules of the encoder in order of execution, each a `PatchedPretransform` (`patch_size`) or a `Transformer`
        (`input_dimension`, `output_dimension`, `d_model`, `num_heads`, `num_layers`, `dim_feedforward`,
        `layer_scale`, `max_period`, `context_duration` in seconds). Defaults to the released 1.6B codec.
    decoder_kwargs (`list[dict]`, *optional*):
        Modules of the decoder in order of execution.
    quantizer_type (`str`, *optional*, defaults to `"rlfq"`):
        Kind of residual quantizer. The released codecs use `"rlfq"`; `"random_prefix_rlfq"` is another name of it.
    quantizer_kwargs (`dict`, *optional*):
        `input_dim`, `rvq_dim`, `output_dim`, `num_quantizers`, `codebook_size`, `codebook_dim`, `quantizer_type`.
    quantizer_dropout (`float`, *optional*, defaults to 0.0):
        Share of the training samples of which only a random number of codebooks, uniform in 1 to `num_quantizers`, is
        kept. The reports train with 1.0. Not used in evaluation.

    Example:

    ```python
    >>> from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel

    >>> # The shape of the released 1.6B codec
    >>> configuration = MossAudioTokenizerConfig()
    >>> configuration.frame_rate
    12.5
    ```"""

    model_type = "moss-audio-tokenizer"
    # The released config.json says `speech_tokenizer`; both spellings load and are written back as they came.
    model_type_aliases = ("speech_tokenizer",)
    auto_model_class: ClassVar[str] = "AutoModelForAudioTokenization"
    has_processor: ClassVar[bool] = False
    attribute_map = {"sample_rate": "sampling_rate"}

    version: str | None = None
    sampling_rate: int = 24000
    downsample_rate: int = 1920
    number_channels: int | None = None
    enable_channel_interleave: bool = True
    causal_transformer_context_duration: float | int = 10.0
    encoder_kwargs: list[dict] | None = None
    decoder_kwargs: list[dict] | None = None
    quantizer_type: str = "rlfq"
    quantizer_kwargs: dict | None = None
    quantizer_dropout: float | int = 0.0

    def __post_init__(self, model_type: str | None = None, checkpoint_model_type: str | None = None, **kwargs):
        spelling = checkpoint_model_type or model_type
        if spelling in self.model_type_aliases:
            self.model_type = spelling
        self.encoder_kwargs = _released_encoder_kwargs() if self.encoder_kwargs is None else self.encoder_kwargs
        self.decoder_kwargs = _released_decoder_kwargs() if self.decoder_kwargs is None else self.decoder_kwargs
        if self.quantizer_kwargs is None:
            self.quantizer_kwargs = _released_quantizer_kwargs()
        self.quantizer_type = self.quantizer_kwargs.get("quantizer_type", self.quantizer_type)
        super().__post_init__(**kwargs)
        self._check_architecture()

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        # Under its own key the released spelling does not raise the warning about a foreign `model_type`.
        if config_dict.get("model_type") in cls.model_type_aliases:
            config_dict["checkpoint_model_type"] = config_dict.pop("model_type")
        return config_dict, kwargs

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output["model_type"] = self.model_type
        if not self.is_v2:
            for name in ("number_channels", "enable_channel_interleave"):
                output.pop(name, None)
        return output

    def _check_architecture(self) -> None:
        # Only what the released codecs are made of can be built. (A `validate_*` method would not raise a ValueError.)
        if self.quantizer_type not in _QUANTIZER_TYPES:
            raise ValueError(
                f"`quantizer_type` must be one of {', '.join(_QUANTIZER_TYPES)}, as in the released codecs, got "
                f"{self.quantizer_type!r}."
            )
        if self.num_channels not in (1, 2) or (self.num_channels == 2 and not self.enable_channel_interleave):
            raise ValueError(
                "The released codecs have one channel, or two that are interleaved: got "
                f"number_channels={self.number_channels}, enable_channel_interleave={self.enable_channel_interleave}."
            )
        if not 0.0 <= self.quantizer_dropout <= 1.0:
            raise ValueError(f"`quantizer_dropout` must be between 0 and 1, got {self.quantizer_dropout}.")
        for name, modules in (("encoder_kwargs", self.encoder_kwargs), ("decoder_kwargs", self.decoder_kwargs)):
            for module in modules:
                _validate_module(name, module)
            patches = math.prod(module.get("patch_size", 1) for module in modules)
            if patches != self.downsample_rate * self.num_channels:
                raise ValueError(
                    f"The patch sizes of `{name}` multiply to {patches}, but `downsample_rate` is "
                    f"{self.downsample_rate} with {self.num_channels} channel(s): they must agree."
                )

    @property
    def is_v2(self) -> bool:
        """Whether the codec is one of the second release, with its parameter names."""
        return self.number_channels is not None

    @property
    def num_channels(self) -> int:
        """Channels of the waveform."""
        return 1 if self.number_channels is None else self.number_channels

    @property
    def num_quantizers(self) -> int:
        """Number of codebooks."""
        return self.quantizer_kwargs["num_quantizers"]

    @property
    def codebook_size(self) -> int:
        """Number of codes of each codebook."""
        return self.quantizer_kwargs["codebook_size"]

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second, in Hz."""
        return self.sampling_rate / self.downsample_rate


def _validate_module(name: str, module: dict[str, Any]) -> None:
    kind = module.get("module_type")
    if kind not in ("PatchedPretransform", "Transformer"):
        raise ValueError(f"`{name}` has a module of type {kind!r}; use 'PatchedPretransform' or 'Transformer'.")
    if kind == "PatchedPretransform":
        return
    expected = {"causal": True, "gating": "none", "norm": "layer_norm", "positional_embedding": "rope"}
    for key, value in expected.items():
        if module.get(key, value) != value:
            raise ValueError(f"`{name}` asks for {key}={module[key]!r}; the released codecs use {value!r} only.")
    if module["d_model"] % (2 * module["num_heads"]):
        raise ValueError(
            f"`{name}` has d_model={module['d_model']} and num_heads={module['num_heads']}: the heads must have an "
            "equal, even width for the rotary embedding."
        )


__all__ = ["MossAudioTokenizerConfig"]
