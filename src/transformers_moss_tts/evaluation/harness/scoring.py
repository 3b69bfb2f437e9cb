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
"""The scorers of a run, and what each says of a recording."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...audio_io import load_audio
from ..measures.text_errors import count_errors
from ..scorers import RATE, SpeakerBaselines, load_scorer, measure_baselines, scorer_names
from ..scorers.speech_recognition import SpeechRecognizer
from .metrics import Record
from .utterances import Utterance, by_speaker


# Less is neither a voice nor rated.
_MIN_SECONDS, _MIN_PEAK = 0.5, 1e-3
_KINDS = {"asr": "speech recognizer", "speaker": "speaker encoder", "mos": "opinion score"}


class Scorers:
    """
    Scorers by kind.

    Args:
        names (`dict[str, str | None]`): names of scorers by kind, "asr", "speaker" and "mos"; without one the kind is not
            scored.
        language (`str`): code of the language that is spoken.

    Raises:
        ValueError: for an unknown scorer or one that cannot be loaded, or a language that the recognizer cannot do.
    """

    def __init__(self, names: dict[str, str | None], language: str):
        self.names = {kind: name for kind, name in names.items() if name is not None}
        self.language = language
        self.scorers: dict[str, Any] = {kind: load_scorer(kind, name) for kind, name in self.names.items()}
        self._embeddings: dict[Path, np.ndarray] = {}
        if self.has("asr"):
            _check_language(self.names["asr"], self.scorers["asr"], language)

    def has(self, kind: str) -> bool:
        """Whether a kind is scored."""
        return kind in self.scorers

    def words(self, waveform: np.ndarray, text: str) -> Record:
        """`heard`, `words`, `errors`, `wer` and `is_cut` of a waveform `(samples,)` at 16 kHz; empty without a recognizer."""
        if not self.has("asr"):
            return {}
        heard = self.hear(waveform)
        errors = count_errors(text, heard, self.language)
        return {
            "heard": heard,
            "words": errors.units,
            "errors": errors.errors,
            "wer": errors.rate,
            "is_cut": errors.is_cut,
        }

    def hear(self, waveform: np.ndarray) -> str:
        """Transcript of a waveform `(samples,)` at 16 kHz."""
        return self.scorers["asr"].transcribe(waveform, self.language) if len(waveform) else ""

    def voice(self, waveform: np.ndarray, reference: Path | None) -> Record:
        """`sim`, the cosine to the voice of a recording; empty without an encoder, a reference, or enough to hear."""
        if not self.has("speaker") or reference is None or not _is_audible(waveform):
            return {}
        return {"sim": float(self.scorers["speaker"].embed(waveform) @ self.embed_file(reference))}

    def quality(self, waveform: np.ndarray) -> Record:
        """`mos`; empty without a predictor or enough to hear."""
        if not self.has("mos") or not _is_audible(waveform):
            return {}
        return {"mos": self.scorers["mos"].predict(waveform)}

    def embed_file(self, path: Path) -> np.ndarray:
        """Embedding of a recording's voice."""
        if path not in self._embeddings:
            self._embeddings[path] = self.scorers["speaker"].embed(load_audio(path, RATE))
        return self._embeddings[path]

    def baselines(self, utterances: Iterable[Utterance]) -> SpeakerBaselines | None:
        """
        SIM of two recordings of one voice and of two voices, measured on utterances that say whose recording they are, else
        those that are known of the encoder.
        """
        if not self.has("speaker"):
            return None
        recordings = {
            name: [item.recording for item in group if item.recording is not None]
            for name, group in by_speaker(utterances).items()
        }
        measured = measure_baselines(self.embed_file, recordings)
        if measured is None:
            return self.scorers["speaker"].baselines
        same, different = measured
        source = f"measured in this run on recordings of {len(recordings)} voices"
        return SpeakerBaselines(same.value, different.value, source)

    def describe(self) -> list[tuple[str, str, str]]:
        """Kind, name and description of each scorer."""
        return [(_KINDS[kind], self.names[kind], scorer.description) for kind, scorer in self.scorers.items()]


def _check_language(name: str, recognizer: SpeechRecognizer, language: str) -> None:
    if language in recognizer.languages:
        return
    known = ", ".join(sorted(recognizer.languages)[:12]) + (", ..." if len(recognizer.languages) > 12 else "")
    others = ", ".join(other for other in scorer_names("asr") if other != name)
    raise ValueError(
        f"The asr scorer {name!r} cannot transcribe {language!r}, only {known}: take another one ({others})."
    )


def _is_audible(waveform: np.ndarray) -> bool:
    return len(waveform) >= _MIN_SECONDS * RATE and float(np.abs(waveform).max()) >= _MIN_PEAK


__all__ = ["Scorers"]
