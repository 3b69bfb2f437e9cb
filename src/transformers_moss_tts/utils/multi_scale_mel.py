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
"""Distance of two recordings in mel spectrograms of several resolutions."""

import numpy as np
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank


class MultiScaleMelLoss(nn.Module):
    """
    Mean absolute difference of log10 mel magnitudes over several window lengths, as DAC (arXiv 2306.06546) does it, whose
    windows and numbers of bands are the defaults. Waveforms have shape `(batch_size, samples)`.
    """

    def __init__(
        self,
        sampling_rate: int,
        windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048),
        num_bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320),
    ):
        super().__init__()
        self.windows = windows
        for window, bands in zip(windows, num_bands):
            filters = mel_filter_bank(
                window // 2 + 1, bands, 0.0, sampling_rate / 2, sampling_rate, "slaney", "slaney"
            )
            self.register_buffer(f"filters_{window}", torch.from_numpy(filters.astype(np.float32)), persistent=False)
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def forward(self, decoded: torch.Tensor, recording: torch.Tensor) -> torch.Tensor:
        losses = [
            (self._log_mel(decoded, window) - self._log_mel(recording, window)).abs().mean() for window in self.windows
        ]
        return torch.stack(losses).sum()

    def _log_mel(self, waveform: torch.Tensor, window: int) -> torch.Tensor:
        hann = getattr(self, f"window_{window}")
        spectrum = torch.stft(waveform, window, window // 4, window=hann, return_complex=True).abs()
        mel = spectrum.transpose(1, 2) @ getattr(self, f"filters_{window}")
        return mel.clamp(min=1e-5).log10()


__all__ = ["MultiScaleMelLoss"]
