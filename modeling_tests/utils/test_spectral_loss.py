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
"""Distances of waveforms by their spectrograms."""

import pytest
import torch

from transformers_moss_tts.utils.spectral_loss import DAC_BANDS, SpectralLoss


RATE = 8000


def test_a_waveform_is_at_no_distance_from_itself():
    noise = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    assert SpectralLoss(RATE)(noise, noise) == {"mel": 0, "complex_stft": 0, "waveform": 0}


def test_ten_times_the_level_is_one_unit_of_log10_a_window():
    noise = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    distance = SpectralLoss(RATE, ("mel",), {256: 20, 512: 20})(10 * noise, noise)["mel"]
    torch.testing.assert_close(distance, torch.tensor(2.0), atol=1e-3, rtol=0)


def test_silence_is_at_the_distance_of_the_whole_signal():
    noise = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    distances = SpectralLoss(RATE, ("complex_stft", "waveform"), complex_windows=(512, 1024))(0 * noise, noise)
    torch.testing.assert_close(distances["waveform"], torch.tensor(1.0))
    torch.testing.assert_close(distances["complex_stft"], torch.tensor(2.0))


def test_only_the_mel_distance_is_deaf_to_the_phase():
    noise = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    turned = SpectralLoss(RATE)(-noise, noise)
    assert turned["mel"] == 0
    torch.testing.assert_close(turned["waveform"], torch.tensor(2.0))
    torch.testing.assert_close(turned["complex_stft"], torch.tensor(6.0))


def test_a_band_leaves_out_what_lies_above():
    times = torch.arange(3000) / RATE
    low, high = (torch.sin(2 * torch.pi * rate * times)[None] for rate in (200, 2000))
    loss = SpectralLoss(RATE, ("waveform",), waveform_band=600.0)
    assert loss(low + high, low)["waveform"] < 0.01
    torch.testing.assert_close(loss(-low, low + high)["waveform"], torch.tensor(2.0), atol=0.02, rtol=0)


def test_the_gradient_of_silence_is_finite():
    decoded = torch.zeros(1, 3000, requires_grad=True)
    sum(SpectralLoss(RATE, mel_bands=DAC_BANDS)(decoded, torch.zeros(1, 3000)).values()).backward()
    assert torch.isfinite(decoded.grad).all()


@pytest.mark.parametrize("names", [("mel",), ("waveform",), ("complex_stft", "waveform")])
def test_only_the_named_distances_are_computed(names):
    waveform = torch.ones(1, 3000)
    assert set(SpectralLoss(RATE, names)(waveform, waveform)) == set(names)
