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
"""
Discriminators of codec training: the multi-period discriminator of HiFi-GAN (arXiv 2010.05646) and the multi-scale complex STFT
discriminator of EnCodec (arXiv 2210.13438).
"""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


_SLOPE = 0.1  # of the leaky ReLUs, as in HiFi-GAN


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample: convolutions along time of a waveform folded to `(samples / period, period)`."""

    def __init__(self, period: int, channels: tuple[int, ...] = (32, 128, 512, 1024)):
        super().__init__()
        self.period = period
        widths = (1, *channels)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (3, 1), padding=(2, 0)))
            for before, after in zip(widths, channels)
        )
        self.convs.append(weight_norm(nn.Conv2d(channels[-1], channels[-1], (5, 1), padding=(2, 0))))
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """Features of each layer, the scores last, of waveforms `(batch_size, samples)`."""
        padded = nn.functional.pad(waveform[:, None], (0, -waveform.shape[1] % self.period), mode="reflect")
        return _features(padded.unflatten(2, (-1, self.period)), self.convs, self.score)


class STFTDiscriminator(nn.Module):
    """Looks at a complex spectrogram: two-dimensional convolutions, dilated along time."""

    hann: torch.Tensor

    def __init__(self, window: int, channels: int = 32):
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        first = nn.Conv2d(2, channels, (3, 9), padding=(1, 4))
        dilated = [
            nn.Conv2d(channels, channels, (3, 9), (1, 2), dilation=(dilation, 1), padding=(dilation, 4))
            for dilation in (1, 2, 4)
        ]
        last = nn.Conv2d(channels, channels, (3, 3), padding=(1, 1))
        self.convs = nn.ModuleList(weight_norm(conv) for conv in (first, *dilated, last))
        self.score = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """Features of each layer, the scores last, of waveforms `(batch_size, samples)`."""
        spectrum = torch.stft(waveform, self.window, self.window // 4, window=self.hann, return_complex=True)
        planes = torch.view_as_real(spectrum.transpose(1, 2)).permute(0, 3, 1, 2)
        return _features(planes, self.convs, self.score)


def _features(planes: torch.Tensor, convs: nn.ModuleList, score: nn.Module) -> list[torch.Tensor]:
    features = []
    for conv in convs:
        planes = nn.functional.leaky_relu(conv(planes), _SLOPE)
        features.append(planes)
    return [*features, score(planes)]


class CodecDiscriminator(nn.Module):
    """
    All discriminators.

    Args:
        periods (`tuple[int]`, *optional*): periods of the period discriminators, in samples.
        windows (`tuple[int]`, *optional*): windows of the STFT discriminators, in samples.
        width (`float`, *optional*, defaults to 1.0): factor on the published widths of the layers.
    """

    def __init__(
        self,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        windows: tuple[int, ...] = (2048, 1024, 512),
        width: float = 1.0,
    ):
        super().__init__()
        channels = tuple(max(1, round(width * count)) for count in (32, 128, 512, 1024))
        self.discriminators = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, channels) for period in periods),
                *(STFTDiscriminator(window, channels[0]) for window in windows),
            ]
        )

    def forward(self, waveform: torch.Tensor) -> list[list[torch.Tensor]]:
        """Features and scores of each discriminator for waveforms `(batch_size, samples)`."""
        return [discriminator(waveform) for discriminator in self.discriminators]
