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
"""Distances of a decoded waveform from its recording that share their spectrograms."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank


# Mel bands of each window in samples, as DAC (arXiv 2306.06546) has them.
DAC_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
# The two shortest windows cost a quarter of a training step.
TRAINING_BANDS = {window: bands for window, bands in DAC_BANDS.items() if window >= 128}
_SMALLEST_MEL = 1e-5


class SpectralLoss(nn.Module):
    """
    Three distances of waveforms `(batch_size, samples)`, each spectrogram of which is computed once:

    - `"mel"`: the sum over `mel_bands` of the mean absolute difference of log10 mel magnitudes, as in DAC (arXiv 2306.06546);
    - `"complex_stft"`: the sum over `complex_windows` of the mean absolute difference of the real and imaginary parts of the STFT,
      divided by their mean absolute value. Unlike a distance of magnitudes it has a gradient in pitch;
    - `"waveform"`: the mean absolute difference of the samples, divided by their mean absolute value.

    Args:
        sampling_rate (`int`):
            Sampling rate of the waveforms, in Hz.
        names (`Iterable[str]`, *optional*):
            Distances to compute.
        mel_bands (`dict[int, int]`, *optional*):
            Number of mel bands of each window, whose length is in samples; `TRAINING_BANDS` by default.
        complex_windows (`tuple[int, ...]`, *optional*):
            Windows of the complex distance, in samples.
        waveform_band (`float`, *optional*):
            Highest frequency of what `"waveform"` compares, in Hz: all by default.
    """

    def __init__(
        self,
        sampling_rate: int,
        names: Iterable[str] = ("mel", "complex_stft", "waveform"),
        mel_bands: dict[int, int] | None = None,
        complex_windows: tuple[int, ...] = (512, 1024, 2048),
        waveform_band: float | None = None,
    ):
        super().__init__()
        self.waveform_share = 1.0 if waveform_band is None else 2 * waveform_band / sampling_rate
        self.names = set(names)
        self.mel_bands = (TRAINING_BANDS if mel_bands is None else mel_bands) if "mel" in self.names else {}
        self.complex_windows = complex_windows if "complex_stft" in self.names else ()
        for window in {*self.mel_bands, *self.complex_windows}:
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)
        for window, bands in self.mel_bands.items():
            filters = mel_filter_bank(
                window // 2 + 1, bands, 0.0, sampling_rate / 2, sampling_rate, "slaney", "slaney"
            )
            self.register_buffer(f"filters_{window}", torch.from_numpy(filters.astype(np.float32)), persistent=False)

    def forward(self, decoded: torch.Tensor, recording: torch.Tensor) -> dict[str, torch.Tensor]:
        """The distances by name."""
        totals = {name: decoded.new_zeros(()) for name in self.names}
        for window in sorted({*self.mel_bands, *self.complex_windows}):
            of_decoded, of_recording = self._spectrum(decoded, window), self._spectrum(recording, window)
            if window in self.complex_windows:
                totals["complex_stft"] = totals["complex_stft"] + _relative_distance(of_decoded, of_recording)
            if window in self.mel_bands:
                distance = self._log_mel(of_decoded, window) - self._log_mel(of_recording, window)
                totals["mel"] = totals["mel"] + distance.abs().mean()
        if "waveform" in totals:
            totals["waveform"] = _relative_distance(self._slow_part(decoded), self._slow_part(recording))
        return totals

    def _slow_part(self, waveform: torch.Tensor) -> torch.Tensor:
        """The waveform below the band's end, at twice its rate."""
        if self.waveform_share == 1.0:
            return waveform
        num_bins = int(self.waveform_share * waveform.shape[-1] / 2)
        return torch.fft.irfft(torch.fft.rfft(waveform)[..., :num_bins], 2 * num_bins)

    def _spectrum(self, waveform: torch.Tensor, window: int) -> torch.Tensor:
        """Real and imaginary parts, `(batch_size, bins, frames, 2)`."""
        hann = getattr(self, f"window_{window}")
        return torch.view_as_real(torch.stft(waveform, window, window // 4, window=hann, return_complex=True))

    def _log_mel(self, spectrum: torch.Tensor, window: int) -> torch.Tensor:
        magnitudes = (spectrum.pow(2).sum(-1) + 1e-14).sqrt()
        mel = magnitudes.transpose(1, 2) @ getattr(self, f"filters_{window}")
        return mel.clamp(min=_SMALLEST_MEL).log10()


def _relative_distance(decoded: torch.Tensor, recording: torch.Tensor) -> torch.Tensor:
    return (decoded - recording).abs().mean() / recording.abs().mean().clamp(min=1e-8)


__all__ = ["DAC_BANDS", "TRAINING_BANDS", "SpectralLoss"]
