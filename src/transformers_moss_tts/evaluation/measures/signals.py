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
"""Distances of a decoded recording from the recording."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

from ...audio_io import load_audio
from ...utils.pitch import pitch_agreement
from ...utils.spectral_loss import DAC_BANDS, SpectralLoss
from ..scorers.rate import RATE


_NARROW_RATE = 8000  # Hz, of narrow-band PESQ
_MIN_PEAK = 1e-3  # below, a recording is silence


def compare_signals(recording: np.ndarray, decoded: np.ndarray, sampling_rate: int) -> dict[str, float | None]:
    """
    STOI (pystoi), narrow-band and wide-band PESQ (pesq), distances of mel spectrograms and agreement of F0 (YIN, from librosa) of
    two waveforms `(samples,)`.

    Returns:
        `stoi`, `pesq_nb`, `pesq_wb`, `mel` (multi-scale distance), `mel_rmse` (root mean square error of 40 mel bands where
        there is speech, in dB), and `f0_accuracy` and `gross_pitch_error` (see [`~transformers_moss_tts.utils.pitch.pitch_agreement`]);
        `None` where the recording has too little speech for the measure.
    """
    length = min(len(recording), len(decoded))
    first, second = (np.asarray(wave[:length], dtype=np.float32) for wave in (recording, decoded))
    is_silent = float(np.abs(first).max(initial=0)) < _MIN_PEAK

    def measured(measure: Callable[..., float | None], rate: int, *options: Any) -> float | None:
        if is_silent:
            return None
        return measure(
            *(load_audio(wave, rate, array_sampling_rate=sampling_rate) for wave in (first, second)), *options
        )

    with torch.inference_mode():
        mel_distance = SpectralLoss(sampling_rate, ("mel",), DAC_BANDS)
        mel = mel_distance(*(torch.from_numpy(wave)[None] for wave in (second, first)))["mel"]
    return {
        "stoi": measured(_stoi, RATE),
        "pesq_nb": measured(_pesq, _NARROW_RATE, _NARROW_RATE, "nb"),
        "pesq_wb": measured(_pesq, RATE, RATE, "wb"),
        "mel": float(mel),
        "mel_rmse": None if is_silent else mel_rmse(first, second, sampling_rate),
        **pitch_agreement(first, second, sampling_rate),
    }


def mel_rmse(recording: np.ndarray, decoded: np.ndarray, sampling_rate: int) -> float:
    """
    Root mean square error of the levels of 40 mel bands, in dB, in frames that are at most 45 dB below the loudest. Below 2 dB a
    voice is all but itself; 6 dB are a muffled one.
    """
    expected, got = (_mel_levels(wave, sampling_rate) for wave in (recording, decoded))
    levels = expected.mean(0)
    is_speech = levels > levels.max() - 45
    return float((got - expected)[:, is_speech].pow(2).mean().sqrt())


def _mel_levels(waveform: np.ndarray, sampling_rate: int) -> torch.Tensor:
    """Levels of 40 mel bands every 10 ms, in dB, `(bands, frames)`; nothing is below -80 dB."""
    filters = mel_filter_bank(513, 40, 0.0, sampling_rate / 2, sampling_rate, "slaney", "slaney")
    samples = torch.from_numpy(np.pad(waveform, (0, max(0, 1024 - len(waveform)))))
    hop = round(sampling_rate / 100)
    spectrum = torch.stft(samples, 1024, hop, window=torch.hann_window(1024), return_complex=True).abs()
    return 20 * (torch.from_numpy(filters.astype(np.float32)).t() @ spectrum).clamp(min=1e-4).log10()


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


__all__ = ["compare_signals", "mel_rmse"]
