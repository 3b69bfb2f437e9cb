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
"""Calls that the code which came with the released codecs has under other names, and what to call instead."""

import torch
from transformers.utils import logging

from ..loading.released_config import follow_attention_preference
from .configuration_moss_audio_tokenizer import codec_dtype


logger = logging.get_logger(__name__)


class UpstreamCallsMixin:
    """
    For code written against the releases. Each call says once what stands for it here:

    | call | instead |
    |---|---|
    | `codec.sampling_rate` | `codec.config.sampling_rate` |
    | `codec.batch_encode(waveforms)` | `codec.encode(input_values, padding_mask)` |
    | `codec.batch_decode(codes)` | `codec.decode(audio_codes, padding_mask)` |
    | `codec.set_attention_implementation(name)` | `codec.set_attn_implementation(name)` |
    | `codec.set_compute_dtype("bf16")` | `codec.compute_dtype = torch.bfloat16` |
    | `codec.set_codec_weight_dtype("bf16")` | `codec.to(torch.bfloat16)`, or `from_pretrained(..., dtype=torch.bfloat16)` |
    """

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the audio, in Hz."""
        _say_once("sampling_rate", "config.sampling_rate")
        return self.config.sampling_rate

    def batch_encode(
        self,
        input_values_list: list[torch.Tensor],
        num_quantizers: int | None = None,
        chunk_duration: float | None = None,
    ):
        """[`~MossAudioTokenizerModel.encode`] of waveforms `(samples,)` or `(channels, samples)` of any lengths."""
        _say_once("batch_encode", "encode(input_values, padding_mask)")
        if not input_values_list:
            raise ValueError(
                "`batch_encode` got no waveform: pass a list of tensors (samples,) or (channels, samples)."
            )
        waveforms = [wave if wave.ndim == 2 else wave[None] for wave in input_values_list]
        channels = max(len(wave) for wave in waveforms)
        values, mask = _pad([wave.expand(channels, -1) for wave in waveforms])
        return self.encode(
            values.to(self.device),
            padding_mask=mask.to(self.device),
            num_quantizers=num_quantizers,
            chunk_duration=chunk_duration,
        )

    def batch_decode(
        self,
        audio_codes_list: list[torch.Tensor],
        num_quantizers: int | None = None,
        chunk_duration: float | None = None,
    ):
        """[`~MossAudioTokenizerModel.decode`] of codes `(num_quantizers, frames)` of any lengths."""
        _say_once("batch_decode", "decode(audio_codes, padding_mask)")
        if not audio_codes_list:
            raise ValueError("`batch_decode` got no codes: pass a list of tensors (num_quantizers, frames).")
        if len({len(codes) for codes in audio_codes_list}) > 1:
            counts = [len(codes) for codes in audio_codes_list]
            raise ValueError(f"All codes of a batch must have the same number of codebooks, got {counts}.")
        codes, mask = _pad(audio_codes_list)
        return self.decode(
            codes.transpose(0, 1).to(self.device),
            padding_mask=mask.to(self.device),
            num_quantizers=num_quantizers,
            chunk_duration=chunk_duration,
        )

    def set_attention_implementation(self, attention_implementation: str) -> None:
        """Prefers an attention implementation; where the machine lacks it the model keeps the one it has, with a warning."""
        _say_once("set_attention_implementation", "set_attn_implementation(name)")
        self.config.attention_implementation = attention_implementation
        self.config._attention_preference = attention_implementation
        follow_attention_preference(self)
        if self.config._attn_implementation != attention_implementation:
            logger.warning(
                f"The attention {attention_implementation!r} is not available here: the codec keeps "
                f"{self.config._attn_implementation!r}."
            )

    def set_compute_dtype(self, compute_dtype: str | torch.dtype) -> None:
        """Sets what encoder and decoder compute in: `"fp32"`, `"bf16"`, `"fp16"`, or a dtype."""
        _say_once("set_compute_dtype", "compute_dtype = torch.bfloat16")
        self.compute_dtype = codec_dtype(compute_dtype)

    def set_codec_weight_dtype(self, codec_weight_dtype: str | torch.dtype) -> None:
        """Converts the weights of encoder and decoder to `"fp32"`, `"bf16"`, `"fp16"`, or a dtype."""
        _say_once("set_codec_weight_dtype", "to(torch.bfloat16)")
        self.to(codec_dtype(codec_weight_dtype))


def _pad(items: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Items `(features, length)` as a batch `(items, features, length)`, zero on the right, and the mask of their lengths."""
    lengths = torch.tensor([item.shape[1] for item in items])
    padded = torch.nn.utils.rnn.pad_sequence([item.T for item in items], batch_first=True).transpose(1, 2)
    return padded, torch.arange(padded.shape[2]) < lengths[:, None]


def _say_once(name: str, instead: str) -> None:
    logger.warning_once(f"`{name}` is a name of the code that came with the release; here it is `codec.{instead}`.")


__all__ = ["UpstreamCallsMixin"]
