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
"""Fundamental frequency of speech, and how much of it a decoded recording keeps."""

import numpy as np

from .extras import require


_HOP_SECONDS, _WINDOW_SECONDS = 0.01, 0.06
_LOWEST, _HIGHEST = 65.0, 400.0  # Hz
_MIN_CORRELATION = 0.7  # of a voiced frame with itself one period later
_MIN_LEVEL = 0.1  # of a voiced frame, as a share of the loudest
_RIGHT, _GROSS = 0.05, 0.2  # relative deviations of F0


def fundamental_frequency(waveform: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """
    F0 by YIN (from librosa), every 10 ms over 60 ms.

    Args:
        waveform (`np.ndarray` of shape `(samples,)`):
            Speech.
        sampling_rate (`int`):
            Sampling rate, in Hz.

    Returns:
        F0 in Hz, between 65 and 400, and whether each frame is voiced: loud, and like itself one period later. Both `(frames,)`.
    """
    require("Pitch", "train", "librosa")
    import librosa

    hop, window = round(_HOP_SECONDS * sampling_rate), round(_WINDOW_SECONDS * sampling_rate)
    waveform = np.pad(np.asarray(waveform, dtype=np.float32), (0, max(0, window - len(waveform))))
    f0 = librosa.yin(waveform, fmin=_LOWEST, fmax=_HIGHEST, sr=sampling_rate, frame_length=window, hop_length=hop)
    frames = librosa.util.frame(np.pad(waveform, window // 2), frame_length=window, hop_length=hop).T[: len(f0)]
    levels = np.sqrt((frames**2).mean(1))
    periods = np.minimum(window - 1, (sampling_rate / f0[: len(frames)]).astype(int))
    is_periodic = [_correlation(frame[:-period], frame[period:]) for frame, period in zip(frames, periods)]
    is_voiced = (np.array(is_periodic) > _MIN_CORRELATION) & (levels > _MIN_LEVEL * levels.max(initial=0))
    return f0[: len(frames)], is_voiced & (levels > 1e-4)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-9))


def pitch_agreement(recording: np.ndarray, decoded: np.ndarray, sampling_rate: int) -> dict[str, float | None]:
    """
    How much of the F0 of a recording is left in what was decoded from it.

    Args:
        recording, decoded (`np.ndarray` of shape `(samples,)`):
            The two waveforms.
        sampling_rate (`int`):
            Sampling rate of both, in Hz.

    Returns:
        Of the recording's voiced frames, `f0_accuracy`, the share whose decoded F0 is within 5 %, and `gross_pitch_error`, the
        share whose decoded F0 is off by more than 20 % (Rabiner et al. 1976); `None` without voiced frames.
    """
    f0, is_voiced = fundamental_frequency(recording, sampling_rate)
    if not is_voiced.any():
        return {"f0_accuracy": None, "gross_pitch_error": None}
    of_decoded, _ = fundamental_frequency(decoded, sampling_rate)
    length = min(len(f0), len(of_decoded))
    deviations = np.abs(of_decoded[:length] / f0[:length] - 1)[is_voiced[:length]]
    return {
        "f0_accuracy": float((deviations <= _RIGHT).mean()),
        "gross_pitch_error": float((deviations > _GROSS).mean()),
    }


__all__ = ["fundamental_frequency", "pitch_agreement"]
