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
"""Beginnings and ends of pieces of speech."""

import numpy as np


# Silence is what is below the level in dB of the loudest 10 ms.
_SILENCE, _HOP = -45.0, 0.01
_FADE = 0.005  # seconds, so that a cut is no click


def find_sound(audio: np.ndarray, sampling_rate: int) -> tuple[int, int]:
    """First sample of audio `(channels, samples)` that is no silence, and the first behind the last one; (0, 0) if all is silent."""
    hop = max(1, round(_HOP * sampling_rate))
    num_hops = audio.shape[1] // hop
    power = np.square(audio[:, : num_hops * hop], dtype=np.float64).mean(0).reshape(num_hops, hop).mean(1)
    if power.max(initial=0) == 0:
        return 0, 0
    loud = np.flatnonzero(power >= power.max() * 10 ** (_SILENCE / 10))
    return int(loud[0]) * hop, int(loud[-1] + 1) * hop


def fade_ends(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Audio `(channels, samples)` that begins and ends at zero."""
    length = min(round(_FADE * sampling_rate), audio.shape[1] // 2)
    ramp = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
    faded = audio.copy()
    faded[:, :length] *= ramp
    faded[:, audio.shape[1] - length :] *= ramp[::-1]
    return faded


__all__ = ["fade_ends", "find_sound"]
