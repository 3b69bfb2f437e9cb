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
"""F0 of what is known to have one."""

import numpy as np
import pytest

from transformers_moss_tts.utils.pitch import fundamental_frequency, pitch_agreement


RATE = 24000


def voice(hertz: float | np.ndarray, seconds: float = 0.6) -> np.ndarray:
    """Twenty harmonics of an F0, falling off as a voice's do."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, round(seconds * RATE))) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 21)).astype(np.float32) * 0.1


@pytest.mark.parametrize("hertz", [80, 145, 310])
def test_the_f0_of_a_voice(hertz):
    f0, is_voiced = fundamental_frequency(voice(hertz), RATE)
    assert is_voiced[3:-3].all()
    np.testing.assert_allclose(f0[3:-3], hertz, rtol=0.01)


def test_noise_and_silence_are_not_voiced():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert fundamental_frequency(noise, RATE)[1].mean() < 0.05
    assert not fundamental_frequency(np.zeros(RATE, np.float32), RATE)[1].any()
    assert pitch_agreement(np.zeros(RATE, np.float32), noise, RATE) == {
        "f0_accuracy": None,
        "gross_pitch_error": None,
    }


def test_a_waveform_that_repeats_every_ten_milliseconds_has_lost_the_pitch():
    gliding = voice(np.linspace(110, 180, round(0.6 * RATE)))
    robot = np.tile(gliding[: RATE // 100], 60)
    assert pitch_agreement(gliding, gliding, RATE) == {"f0_accuracy": 1.0, "gross_pitch_error": 0.0}
    lost = pitch_agreement(gliding, robot, RATE)
    assert lost["f0_accuracy"] < 0.1 and lost["gross_pitch_error"] > 0.6
    # A semitone is more than 5 % and less than 20 %.
    detuned = pitch_agreement(voice(150.0), voice(159.0), RATE)
    assert detuned["f0_accuracy"] < 0.1 and detuned["gross_pitch_error"] < 0.1
