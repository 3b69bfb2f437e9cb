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
"""How far a decoded recording is from the recording."""

import warnings

import numpy as np
import torch

from ...audio_io import load_audio
from ...utils.spectral_loss import DAC_BANDS, SpectralLoss
from ..scorers.rate import RATE


_NARROW_RATE = 8000  # Hz, of narrow-band PESQ
_MIN_PEAK = 1e-3  # below, a recording is silence


def compare_signals(recording: np.ndarray, decoded: np.ndarray, sampling_rate: int) -> dict[str, float | None]:
    """
    STOI (pystoi), narrow-band and wide-band PESQ (pesq) and multi-scale mel distance of two waveforms `(samples,)`.

    Returns:
        `stoi`, `pesq_nb`, `pesq_wb`, `mel`; `None` where the recording has too little speech for the measure.
    """
    length = min(len(recording), len(decoded))
    pair = [np.asarray(wave[:length], dtype=np.float32) for wave in (recording, decoded)]
    wide, narrow = (
        [load_audio(wave, rate, array_sampling_rate=sampling_rate) for wave in pair] for rate in (RATE, _NARROW_RATE)
    )
    is_silent = float(np.abs(pair[0]).max(initial=0)) < _MIN_PEAK
    with torch.inference_mode():
        mel_distance = SpectralLoss(sampling_rate, ("mel",), DAC_BANDS)
        mel = mel_distance(*(torch.from_numpy(wave)[None] for wave in reversed(pair)))["mel"]
    return {
        "stoi": None if is_silent else _stoi(*wide),
        "pesq_nb": None if is_silent else _pesq(*narrow, _NARROW_RATE, "nb"),
        "pesq_wb": None if is_silent else _pesq(*wide, RATE, "wb"),
        "mel": float(mel),
    }


def _stoi(recording: np.ndarray, decoded: np.ndarray) -> float | None:
    from pystoi import stoi

    with warnings.catch_warnings():
        # Too little speech is a warning and a number that means nothing.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(recording, decoded, RATE))
        except RuntimeWarning:
            return None


def _pesq(recording: np.ndarray, decoded: np.ndarray, rate: int, mode: str) -> float | None:
    from pesq import PesqError, pesq

    score = pesq(rate, recording, decoded, mode, on_error=PesqError.RETURN_VALUES)
    return float(score) if score >= 0 else None


__all__ = ["compare_signals"]
