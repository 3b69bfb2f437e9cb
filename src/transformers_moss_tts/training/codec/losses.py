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
"""Losses of codec training: how far a reconstruction is from its recording, and what discriminators say of it."""

from collections.abc import Iterable

import torch
from auraloss.freq import MultiResolutionSTFTLoss
from torch import nn

from ...utils.spectral_loss import SpectralLoss


class ReconstructionLoss(nn.Module):
    """
    The distances of [`~transformers_moss_tts.utils.spectral_loss.SpectralLoss`] (`"mel"`, `"complex_stft"`, `"waveform"`) and the
    multi-resolution STFT loss of magnitudes (`"stft"`, arXiv 1910.11480, from auraloss).
    """

    def __init__(self, sampling_rate: int, names: Iterable[str]):
        super().__init__()
        names = set(names)
        self.spectral_loss = SpectralLoss(sampling_rate, names - {"stft"})
        self.stft_loss = _STFTLoss() if "stft" in names else None

    def forward(self, decoded: torch.Tensor, recording: torch.Tensor) -> dict[str, torch.Tensor]:
        """The losses by name, for waveforms `(batch_size, samples)`."""
        losses = self.spectral_loss(decoded, recording)
        return losses if self.stft_loss is None else losses | {"stft": self.stft_loss(decoded, recording)}


class _STFTLoss(MultiResolutionSTFTLoss):
    def forward(self, decoded: torch.Tensor, recording: torch.Tensor) -> torch.Tensor:
        return super().forward(decoded[:, None], recording[:, None])


Judgement = list[list[torch.Tensor]]  # of each discriminator: its layers' features, the last of which are its scores


def discriminator_loss(of_recordings: Judgement, of_decoded: Judgement) -> torch.Tensor:
    """Least-squares loss (arXiv 1611.04076) of the discriminators: 1 for recordings, 0 for what was decoded."""
    return _sum((1 - real[-1]).pow(2).mean() + fake[-1].pow(2).mean() for real, fake in zip(of_recordings, of_decoded))


def adversarial_loss(of_decoded: Judgement) -> torch.Tensor:
    """Least-squares loss of the codec: the squared distance of the scores of decoded audio from 1."""
    return _sum((1 - fake[-1]).pow(2).mean() for fake in of_decoded)


def feature_matching_loss(of_recordings: Judgement, of_decoded: Judgement) -> torch.Tensor:
    """Mean absolute difference of the discriminators' features (arXiv 1910.06711)."""
    return _sum(
        (real.detach() - fake).abs().mean()
        for reals, fakes in zip(of_recordings, of_decoded)
        for real, fake in zip(reals[:-1], fakes[:-1])
    )


def _sum(losses: Iterable[torch.Tensor]) -> torch.Tensor:
    return sum(losses, start=torch.zeros(()))
