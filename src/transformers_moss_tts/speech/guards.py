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
"""Guards of a generation: what is no speech any more ends, and is called by its name."""

from dataclasses import dataclass, fields

import numpy as np
import torch


# Level below which a frame is near silence, in dB of full scale (root mean square).
SILENCE_LEVEL = -50.0
# Longest pattern of codes whose repetition is looked for, in seconds.
_LONGEST_PATTERN = 2.0
# What stays of a silence or of a pattern that a guard ends, in seconds.
_KEPT = 0.4
# Seconds beside the expected ones: silence at both ends and hesitation, which short texts have too.
_SLACK = 3.0


@dataclass(frozen=True, kw_only=True)
class Guards:
    """
    Bounds within which a generation is speech. `None` takes a bound away. The audio itself is looked at, as it is decoded for
    whoever listens: near silence is known from its level and needs no knowledge of the codec.

    Args:
        silence (`float`, *optional*, defaults to 8.0):
            Seconds of near silence in a row (frames below -50 dB of full scale). Released models are near silent for at most 44
            frames (3.5 seconds) of a normal generation, and for 190 and more of one that does not end.
        repetition (`float`, *optional*, defaults to 4.0):
            Seconds for which the first codebook may repeat a pattern of up to 2 seconds exactly. Speech does for a few frames.
        longest (`float`, *optional*, defaults to 3.0):
            Length above which the speech is far longer than its text, as a multiple of what reading it takes (see
            [`expected_duration`]), 3 seconds more.
        shortest (`float`, *optional*, defaults to 0.3):
            Length below which the speech is far shorter than its text, as a multiple of the same. Such a speech has ended by
            itself: it is only called by its name.

    Raises:
        ValueError: for a bound that is not above 0.
    """

    silence: float | None = 8.0
    repetition: float | None = 4.0
    longest: float | None = 3.0
    shortest: float | None = 0.3

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < float("inf")):
                raise ValueError(f"`{field.name}` must be a number above 0, or None for no bound, got {value!r}.")

    def watch(self, frame_rate: float, duration: float | None = None) -> "Watch":
        """
        What watches one generation.

        Args:
            frame_rate (`float`): frames of codes a second, in Hz.
            duration (`float`, *optional*): length that was asked for, or [`expected_duration`] of the text, in seconds; without it
                the length is not bounded.
        """
        return Watch(self, frame_rate, duration)


class Watch:
    """
    Looks at the frames of one generation, one after the other, so that its verdict is the same in whatever pieces they come. Made by
    [`Guards.watch`].

    Attributes:
        fault (`str`, *optional*): name of the guard that ended the generation ("silence", "repetition" or "longest"), and once
            it is over also "shortest", "empty" (nothing but near silence) and "limit" (its longest number of steps).
        num_frames (`int`): number of frames that were looked at.
        num_frames_before (`int`): number of frames that the text was said with before these: the beginning of a continuation.
        num_good_frames (`int`): number of frames before what the guard ended, with a little of it.
    """

    def __init__(self, guards: Guards, frame_rate: float, duration: float | None):
        self.fault: str | None = None
        self.num_frames = self.num_frames_before = 0
        self.num_audible_frames = 0
        self._frame_rate = frame_rate
        self._longest_silence = _frames(guards.silence, frame_rate)
        self._longest_repetition = _frames(guards.repetition, frame_rate)
        self._shortest = self._longest = None
        if duration is not None and guards.longest is not None:
            self._longest = _frames(guards.longest * duration + _SLACK, frame_rate)
        if duration is not None and guards.shortest is not None:
            self._shortest = guards.shortest * duration * frame_rate
        self._silence = 0
        # The last codes of the first codebook, the newest first, and for how many frames each period has repeated.
        self._codes = np.full(max(1, _frames(_LONGEST_PATTERN, frame_rate)), -1)
        self._repeated = np.zeros_like(self._codes)

    @property
    def _num_frames_said(self) -> int:
        return self.num_frames_before + self.num_frames

    @property
    def num_good_frames(self) -> int:
        kept = _frames(_KEPT, self._frame_rate)
        if self.fault == "silence":
            return self.num_frames - self._silence + kept
        if self.fault == "repetition":
            return self.num_frames - int(self._repeated.max()) + kept
        return self.num_frames

    def add(self, codes: torch.LongTensor, audio: np.ndarray) -> int:
        """
        Looks at further frames.

        Args:
            codes (`torch.LongTensor` of shape `(frames, n_vq)`): their codes.
            audio (`np.ndarray` of shape `(channels, samples)`): what they sound like.

        Returns:
            Number of these frames up to the one at which a guard ended the generation; all of them if none did.
        """
        if self.fault is not None or len(codes) == 0:
            return 0
        levels = _levels(audio, len(codes))
        for index, (code, level) in enumerate(zip(codes[:, 0].tolist(), levels)):
            self._look(code, bool(level < SILENCE_LEVEL))
            if self.fault is not None:
                return index + 1
        return len(codes)

    def finish(self, reached_limit: bool = False) -> str | None:
        """The fault of a generation that is over; `reached_limit`: whether it was stopped at its longest."""
        if self.fault is None:
            if self.num_audible_frames == 0:
                self.fault = "empty"
            elif reached_limit:
                self.fault = "limit"
            elif self._shortest is not None and self._num_frames_said < self._shortest:
                self.fault = "shortest"
        return self.fault

    def _look(self, code: int, is_silent: bool) -> None:
        self.num_frames += 1
        self.num_audible_frames += not is_silent
        self._silence = self._silence + 1 if is_silent else 0
        # A pause repeats its codes too.
        self._repeated = np.where((self._codes == code) & (not is_silent), self._repeated + 1, 0)
        self._codes = np.concatenate([[code], self._codes[:-1]])
        if self._longest_silence is not None and self._silence >= self._longest_silence:
            self.fault = "silence"
        elif self._longest_repetition is not None and self._repeated.max() >= self._longest_repetition:
            self.fault = "repetition"
        elif self._longest is not None and self._num_frames_said >= self._longest:
            self.fault = "longest"


def _levels(audio: np.ndarray, num_frames: int) -> np.ndarray:
    """Level of every frame, in dB of full scale."""
    power = np.square(audio.reshape(len(audio), num_frames, -1), dtype=np.float64).mean((0, 2))
    return 10 * np.log10(power + 1e-12)


def _frames(seconds: float | None, frame_rate: float) -> int | None:
    return None if seconds is None else max(1, round(seconds * frame_rate))


__all__ = ["SILENCE_LEVEL", "Guards", "Watch"]
