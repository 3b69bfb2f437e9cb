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
"""Joins of pieces of speech."""

import numpy as np
import pytest

from transformers_moss_tts.evaluation.measures.joins import measure_joins


RATE = 16000


def tone(frequency: float, level: float, seconds: float = 2.0) -> np.ndarray:
    """Like a voice: a fundamental and some overtones, which begins and ends softly."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * frequency * number * time) / number for number in range(1, 5))
    ramp = np.minimum(1, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / 160)
    return level * wave * ramp


def test_jumps_of_level_and_pitch():
    pause = np.zeros(RATE // 2)
    waveform = np.concatenate([tone(120, 0.1), pause, tone(120 * 2 ** (3 / 12), 0.2), pause, tone(142.7, 0.2)])
    first, second = measure_joins(waveform, RATE, [(2.0, 2.5), (4.5, 5.0)])
    assert first["pitch_jump"] == pytest.approx(3, abs=0.3) and first["loudness_jump"] == pytest.approx(6.02, abs=0.3)
    assert second["pitch_jump"] == pytest.approx(0, abs=0.3) and second["loudness_jump"] < 0.3
    assert first["click"] < 1 and second["click"] < 1


def test_a_cut_without_a_fade_clicks():
    waveform = np.concatenate([tone(120, 0.1), np.full(100, 0.4), np.zeros(RATE // 2), tone(120, 0.1)])
    (join,) = measure_joins(waveform, RATE, [(2.0 + 100 / RATE, 2.5 + 100 / RATE)])
    assert join["click"] > 1


def test_silence_has_no_pitch_and_no_level():
    (join,) = measure_joins(np.zeros(4 * RATE), RATE, [(1.0, 2.0)])
    assert join == {"click": None, "loudness_jump": None, "pitch_jump": None}
