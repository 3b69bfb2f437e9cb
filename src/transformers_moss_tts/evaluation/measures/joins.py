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
"""Joins of what was generated piece by piece: clicks, jumps of the loudness and of the pitch."""

import math
from collections.abc import Sequence

import numpy as np

from ...utils.pitch import fundamental_frequency


_AROUND = 1.5  # seconds of each side that are compared
_EDGE = 0.01  # seconds of each side in which a click would be
_FLOOR = 1e-3  # root mean square below which 20 ms are silence


def measure_joins(
    waveform: np.ndarray, sampling_rate: int, joins: Sequence[tuple[float, float]]
) -> list[dict[str, float | None]]:
    """
    Measures the joins of a recording.

    Args:
        waveform (`np.ndarray` of shape `(samples,)`): recording.
        sampling_rate (`int`): its rate, in Hz.
        joins (`Sequence[tuple[float, float]]`): where each piece ends and the next one begins, in seconds.

    Returns:
        Of each join `click`, the largest step from one sample to the next within 10 ms of the cut over the largest one around it (above 1
        it is one); `loudness_jump` in dB and `pitch_jump` in semitones, the difference of the level of the speech and of its median F0
        in the 1.5 seconds before and after, without their signs. `None` where there is too little speech.
    """
    return [_measure(waveform, sampling_rate, end, start) for end, start in joins]


def _measure(waveform: np.ndarray, rate: int, end: float, start: float) -> dict[str, float | None]:
    last, first = round(end * rate), round(start * rate)
    reach, edge = round(_AROUND * rate), round(_EDGE * rate)
    before, after = waveform[max(0, last - reach) : last], waveform[first : first + reach]
    at_cut = max(_largest_step(waveform[max(0, place - edge) : place + edge]) for place in (last, first))
    around = max(_largest_step(before[: -edge or None]), _largest_step(after[edge:]))
    return {
        "click": at_cut / around if around > 0 else None,
        # 20 dB are a factor of 10, 12 semitones one of 2.
        "loudness_jump": _jump(_level(before, rate), _level(after, rate), 20 / math.log(10)),
        "pitch_jump": _jump(_pitch(before, rate), _pitch(after, rate), 12 / math.log(2)),
    }


def _jump(one: float | None, other: float | None, unit: float) -> float | None:
    return None if one is None or other is None else abs(unit * math.log(other / one))


def _largest_step(samples: np.ndarray) -> float:
    return float(np.abs(np.diff(samples)).max(initial=0.0))


def _level(samples: np.ndarray, rate: int) -> float | None:
    """Root mean square of what is no silence."""
    size = round(0.02 * rate)
    power = np.square(samples[: len(samples) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    loud = power[power > _FLOOR**2]
    return float(np.sqrt(loud.mean())) if len(loud) else None


def _pitch(samples: np.ndarray, rate: int) -> float | None:
    f0, is_voiced = fundamental_frequency(samples, rate)
    return float(np.median(f0[is_voiced])) if is_voiced.sum() >= 5 else None


__all__ = ["measure_joins"]
