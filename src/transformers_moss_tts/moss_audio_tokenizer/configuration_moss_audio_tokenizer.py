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

from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import auto_docstring

from ..loading.released_config import ReleasedConfigMixin
from .stages_moss_audio_tokenizer import (
    check_architecture,
    decoder_of_reversed,
    released_decoder_kwargs,
    released_encoder_kwargs,
    released_quantizer_kwargs,
)


_DTYPES = {
    name: dtype
    for dtype, names in {
        torch.float32: ("fp32", "float32"),
        torch.bfloat16: ("bf16", "bfloat16"),
        torch.float16: ("fp16", "float16"),
    }.items()
    for name in names
}


def codec_dtype(name: str | torch.dtype) -> torch.dtype:
    """The dtype that a release calls `"fp32"`, `"bf16"` or `"fp16"`; a `ValueError` for other names."""
    dtype = _DTYPES.get(name, name)
    if dtype not in _DTYPES.values():
        raise ValueError(f"The dtype of a codec is one of {', '.join(_DTYPES)}, got {name!r}.")
    return dtype


@auto_docstring(
    custom_intro="Configuration of [`MossAudioTokenizerModel`]. The defaults are those of OpenMOSS-Team/MOSS-Audio-Tokenizer."
)
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
        Channels of the waveform, 1 or 2; `channels_numbers` is accepted as another name for it. Codecs of the second release say it, and have parameter names of their own
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
        Modules of the decoder in order of execution. Without them `reversed_decoder_kwargs`, where a config.json has it,
        describes the decoder from its output to its input.
    quantizer_type (`str`, *optional*, defaults to `"rlfq"`):
        Kind of residual quantizer. The released codecs use `"rlfq"`; `"random_prefix_rlfq"` is another name of it.
    quantizer_kwargs (`dict`, *optional*):
        `input_dim`, `rvq_dim`, `output_dim`, `num_quantizers`, `codebook_size`, `codebook_dim`, `quantizer_type`.
    quantizer_dropout (`float`, *optional*, defaults to 0.0):
        Share of the training samples of which only a random number of codebooks, uniform in 1 to `num_quantizers`, is
        kept. The papers train with 1.0. Not used in evaluation.
    attention_implementation (`str`, *optional*):
        Attention implementation that the release prefers, for instance `"flash_attention_2"`; see
        [`~transformers_moss_tts.loading.released_config.follow_attention_preference`]. `attention_backend` is accepted as
        another name for it.
    compute_dtype (`str`, *optional*):
        What the release computes in, `"fp32"`, `"bf16"` or `"fp16"`; see [`~MossAudioTokenizerModel.compute_dtype`].
        `codec_compute_dtype` is accepted as another name for it.
    codec_weight_dtype (`str`, *optional*):
        What the weights of encoder and decoder are loaded in where `from_pretrained` is not given a `dtype`: `"fp32"`,
        `"bf16"` or `"fp16"`. The quantizer stays in float32.

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
    # Other spellings of the releases.
    attribute_map = {
        "sample_rate": "sampling_rate",
        "channels_numbers": "number_channels",
        "attention_backend": "attention_implementation",
        "codec_compute_dtype": "compute_dtype",
    }

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
    attention_implementation: str | None = None
    compute_dtype: str | None = None
    codec_weight_dtype: str | None = None

    def __post_init__(self, model_type: str | None = None, checkpoint_model_type: str | None = None, **kwargs):
        spelling = checkpoint_model_type or model_type
        if spelling in self.model_type_aliases:
            self.model_type = spelling
        reversed_decoder = kwargs.get("reversed_decoder_kwargs")
        if self.decoder_kwargs is None and reversed_decoder is not None:
            self.decoder_kwargs = decoder_of_reversed(reversed_decoder)
        self.encoder_kwargs = released_encoder_kwargs() if self.encoder_kwargs is None else self.encoder_kwargs
        self.decoder_kwargs = released_decoder_kwargs() if self.decoder_kwargs is None else self.decoder_kwargs
        if self.quantizer_kwargs is None:
            self.quantizer_kwargs = released_quantizer_kwargs()
        self.quantizer_type = self.quantizer_kwargs.get("quantizer_type", self.quantizer_type)
        super().__post_init__(**kwargs)
        for field in ("compute_dtype", "codec_weight_dtype"):
            if getattr(self, field) is not None and getattr(self, field) not in _DTYPES:
                raise ValueError(f"`{field}` must be one of {', '.join(_DTYPES)}, got {getattr(self, field)!r:.80}.")
        check_architecture(self)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        # Under its own key the released spelling does not raise the warning about a foreign `model_type`.
        if config_dict.get("model_type") in cls.model_type_aliases:
            config_dict["checkpoint_model_type"] = config_dict.pop("model_type")
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As [`~transformers.PreTrainedConfig.from_dict`]; `codec_weight_dtype` is the `dtype` where none is passed."""
        result = super().from_dict(config_dict, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        if "attn_implementation" not in kwargs:
            config._attention_preference = config.attention_implementation
        if config.codec_weight_dtype is not None and kwargs.get("dtype", "auto") == "auto":
            config.dtype = codec_dtype(config.codec_weight_dtype)
        return result

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output["model_type"] = self.model_type
        # The preference stands under the name of the release.
        output.pop("attn_implementation", None)
        if self.codec_weight_dtype is not None and self.dtype is not None:
            names = {dtype: name for name, dtype in reversed(_DTYPES.items())}
            output["codec_weight_dtype"] = names.get(_DTYPES.get(str(self.dtype).removeprefix("torch.")))
        unsaid = ["attention_implementation", "compute_dtype", "codec_weight_dtype"]
        unsaid = [name for name in unsaid if output[name] is None]
        for name in unsaid if self.is_v2 else [*unsaid, "number_channels", "enable_channel_interleave"]:
            del output[name]
        return output

    @property
    def preferred_compute_dtype(self) -> torch.dtype | None:
        """`compute_dtype` as a dtype of torch."""
        return None if self.compute_dtype is None else codec_dtype(self.compute_dtype)

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


__all__ = ["MossAudioTokenizerConfig", "codec_dtype"]
