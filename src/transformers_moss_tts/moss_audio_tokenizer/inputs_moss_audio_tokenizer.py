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
"""What MossAudioTokenizer takes: waveforms and codes, checked and padded."""

import torch

from ..utils.checks import check_number, is_integral, is_number
from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig


def check_num_quantizers(config: MossAudioTokenizerConfig, num_quantizers: int | None) -> int:
    """Number of codebooks, all of the codec's by default; a `ValueError` for one that it does not have."""
    if num_quantizers is None:
        return config.num_quantizers
    check_number("num_quantizers", num_quantizers, 1, config.num_quantizers, is_whole=True)
    return num_quantizers


def check_audio(
    config: MossAudioTokenizerConfig,
    input_values: torch.Tensor,
    padding_mask: torch.Tensor | None,
    is_stream: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Waveforms `(batch_size, channels, samples)`, zero where there is no audio, and their lengths in samples,
    `(batch_size,)`. The chunks of a stream must be whole frames.

    Raises:
        ValueError: for a wrong shape, no, NaN or infinite audio, or a part of a frame.
        TypeError: for input that is not a floating point tensor.
    """
    if not isinstance(input_values, torch.Tensor) or not input_values.is_floating_point() or input_values.is_sparse:
        given = getattr(input_values, "dtype", type(input_values).__name__)
        raise TypeError(f"`input_values` must be a floating point tensor with values in -1 to 1, got {given}.")
    num_channels = config.num_channels
    if input_values.ndim == 2:
        input_values = input_values[:, None]
    if input_values.ndim != 3 or input_values.shape[1] not in (1, num_channels):
        raise ValueError(
            "`input_values` must have shape (batch_size, samples) or (batch_size, channels, samples) and be mono"
            f"{' or stereo' * (num_channels == 2)}, got {tuple(input_values.shape)}. Add a batch dimension with "
            "`[None]`; mix channels with `.mean(1)`."
        )
    input_values = input_values.expand(-1, num_channels, -1)
    batch_size, _, num_samples = input_values.shape
    if input_values.numel() == 0:
        raise ValueError(f"`input_values` is empty: its shape is {tuple(input_values.shape)}.")
    lengths = _lengths_of(padding_mask, batch_size, num_samples, input_values.device)
    if padding_mask is not None:
        is_audio = torch.arange(num_samples, device=input_values.device) < lengths[:, None]
        input_values = input_values.masked_fill(~is_audio[:, None], 0)
    if not torch.compiler.is_compiling():
        _check_samples(config, input_values, lengths, is_stream)
    return input_values, lengths


def _check_samples(
    config: MossAudioTokenizerConfig, input_values: torch.Tensor, lengths: torch.Tensor, is_stream: bool
) -> None:
    if not torch.isfinite(input_values).all():
        raise ValueError("`input_values` has NaN or infinite samples: check how the audio was read.")
    frame, num_samples = config.downsample_rate, input_values.shape[-1]
    if not is_stream and (lengths < frame).any():
        raise ValueError(
            f"Every sequence needs at least one frame of audio, {frame} samples ({1 / config.frame_rate:g} s), got "
            f"{lengths.tolist()}. Pad short audio with zeros."
        )
    if is_stream and (num_samples % frame or (lengths % frame).any()):
        raise ValueError(
            f"A chunk of a stream must be a whole number of frames of {frame} samples, got {num_samples} samples "
            f"and lengths {lengths.tolist()}. Keep the rest for the next chunk; pad the last one with zeros."
        )


def check_codes(
    config: MossAudioTokenizerConfig,
    audio_codes: torch.Tensor,
    padding_mask: torch.Tensor | None,
    num_quantizers: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Codes `(num_quantizers, batch_size, frames)`, 0 where there are none, and their lengths in frames, `(batch_size,)`.

    Raises:
        ValueError: for a wrong shape or number of codebooks, or codes out of range.
        TypeError: for codes that are not integers.
    """
    if not is_integral(audio_codes):
        given = getattr(audio_codes, "dtype", type(audio_codes).__name__)
        raise TypeError(f"`audio_codes` must be an integer tensor, got {given}.")
    if audio_codes.ndim == 2:
        audio_codes = audio_codes[:, None]
    if audio_codes.ndim != 3:
        raise ValueError(
            "`audio_codes` must have shape (num_quantizers, batch_size, frames) or (num_quantizers, frames), got "
            f"{tuple(audio_codes.shape)}."
        )
    if 0 in audio_codes.shape[:2]:
        raise ValueError(f"`audio_codes` has no codebook or no sequence: its shape is {tuple(audio_codes.shape)}.")
    if audio_codes.shape[0] > config.num_quantizers:
        raise ValueError(
            f"`audio_codes` has {audio_codes.shape[0]} codebooks, this codec has {config.num_quantizers}. Its "
            "layout is (num_quantizers, batch_size, frames); for (batch_size, frames, num_quantizers) call "
            "`.permute(2, 0, 1)` first."
        )
    if num_quantizers is not None:
        if not is_number(num_quantizers) or not 1 <= num_quantizers <= audio_codes.shape[0] or num_quantizers % 1:
            raise ValueError(
                f"`num_quantizers` must be between 1 and the {audio_codes.shape[0]} codebooks of `audio_codes`, "
                f"got {num_quantizers!r:.80}."
            )
        audio_codes = audio_codes[: int(num_quantizers)]
    _, batch_size, num_frames = audio_codes.shape
    lengths = _lengths_of(padding_mask, batch_size, num_frames, audio_codes.device)
    if padding_mask is not None:
        is_audio = torch.arange(num_frames, device=audio_codes.device) < lengths[:, None]
        audio_codes = audio_codes.masked_fill(~is_audio, 0)
    if not torch.compiler.is_compiling() and num_frames:
        _check_range(config, audio_codes)
    return audio_codes, lengths


def _check_range(config: MossAudioTokenizerConfig, audio_codes: torch.Tensor) -> None:
    low, high = (int(bound) for bound in audio_codes.aminmax())
    if low < 0 or high >= config.codebook_size:
        raise ValueError(
            f"`audio_codes` must be between 0 and {config.codebook_size - 1}, got values from {low} to {high}. "
            "Remove pad codes, or mark them in `padding_mask`."
        )


def _lengths_of(
    padding_mask: torch.Tensor | None, batch_size: int, num_steps: int, device: torch.device
) -> torch.Tensor:
    if padding_mask is None:
        return torch.full((batch_size,), num_steps, device=device)
    if not isinstance(padding_mask, torch.Tensor):
        raise TypeError(f"`padding_mask` must be a tensor, got {type(padding_mask).__name__}.")
    if padding_mask.shape != (batch_size, num_steps):
        raise ValueError(
            f"`padding_mask` must have shape {(batch_size, num_steps)}, one value a step, got "
            f"{tuple(padding_mask.shape)}."
        )
    padding_mask = padding_mask.to(device=device, dtype=torch.bool)
    lengths = padding_mask.sum(1)
    if not torch.compiler.is_compiling():
        if not torch.equal(padding_mask, torch.arange(num_steps, device=device) < lengths[:, None]):
            raise ValueError(
                "`padding_mask` must be True up to each sequence's length and False after it (right padding)."
            )
    return lengths


def interleave_channels(waveforms: torch.Tensor) -> torch.Tensor:
    """Streams `(batch_size, samples * channels)` of waveforms `(batch_size, channels, samples)`: left, right, left, ..."""
    return waveforms.transpose(1, 2).flatten(1)


def split_channels(streams: torch.Tensor, num_channels: int) -> torch.Tensor:
    """The inverse of [`interleave_channels`]."""
    return streams.unflatten(1, (-1, num_channels)).transpose(1, 2)


__all__ = ["check_audio", "check_codes", "check_num_quantizers", "interleave_channels", "split_channels"]
