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
"""Similarity of two voices: the cosine of two speaker embeddings (SIM)."""

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from ..harness.statistics import Estimate, estimate_mean
from .rate import RATE


# Recordings that the baselines are measured on: the number of pairs grows with the square.
_MAX_SPEAKERS, _MAX_RECORDINGS = 20, 5


@dataclass(frozen=True)
class SpeakerBaselines:
    """
    Same-speaker and different-speaker baselines of an encoder, between which its numbers lie.

    Args:
        same (`float`): mean SIM of two recordings of one speaker.
        different (`float`): mean SIM of two recordings of different speakers.
        source (`str`): recordings that the baselines were measured on.
    """

    same: float
    different: float
    source: str


class SpeakerEncoder(Protocol):
    """
    Attributes:
        description (`str`): name of the encoder in reports.
        baselines (`SpeakerBaselines`, *optional*): baselines that are known of the encoder.
    """

    description: str
    baselines: SpeakerBaselines | None

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """Embedding of length 1 of a waveform `(samples,)` at 16 kHz."""


class ResemblyzerEncoder:
    """Resemblyzer, whose weights come in its package: nothing is downloaded at run time."""

    description = "Resemblyzer (GE2E d-vector)"
    baselines = SpeakerBaselines(0.868, 0.525, "LibriSpeech test-other, 10 speakers with 10 recordings each")

    def __init__(self):
        with warnings.catch_warnings():
            # Its voice detector asks for the deprecated pkg_resources.
            warnings.filterwarnings("ignore", message="pkg_resources")
            from resemblyzer import VoiceEncoder, preprocess_wav
        self.encoder = VoiceEncoder("cpu", verbose=False)
        self.preprocess = preprocess_wav

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        return self.encoder.embed_utterance(self.preprocess(waveform, source_sr=RATE))


class TransformersXVector:
    """
    A speaker verification model of transformers with x-vectors, such as microsoft/wavlm-base-plus-sv.

    Raises:
        OSError: if there is no such model, or the Hub cannot be reached.
    """

    baselines = None

    def __init__(self, name: str, device: str | None = None):
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.extractor = AutoFeatureExtractor.from_pretrained(name)
        self.model = AutoModelForAudioXVector.from_pretrained(name).eval().to(self.device)
        self.description = f"{name} (transformers, x-vector)"

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        inputs = self.extractor(waveform, sampling_rate=RATE, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            embedding = self.model(**inputs).embeddings[0]
        return torch.nn.functional.normalize(embedding.float(), dim=0).cpu().numpy()


def measure_baselines(
    embed: Callable[[Path], np.ndarray], recordings: dict[str, list[Path]]
) -> tuple[Estimate, Estimate] | None:
    """
    Measures the mean SIM of two recordings of one speaker, and of two speakers.

    Args:
        embed (`Callable`): function from a file to the embedding of its voice.
        recordings (`dict[str, list[Path]]`): recordings by speaker; at most 5 of 20 speakers are used.

    Returns:
        Both, or `None` if there are no two voices, or no voice has two recordings.
    """
    chosen = {name: files[:_MAX_RECORDINGS] for name, files in list(recordings.items())[:_MAX_SPEAKERS]}
    if len(chosen) < 2 or all(len(files) < 2 for files in chosen.values()):
        return None
    embeddings = [(name, embed(file)) for name, files in chosen.items() for file in files]
    pairs = list(itertools.combinations(embeddings, 2))
    same = [float(a @ b) for (one, a), (other, b) in pairs if one == other]
    different = [float(a @ b) for (one, a), (other, b) in pairs if one != other]
    return estimate_mean(same), estimate_mean(different)


__all__ = ["ResemblyzerEncoder", "SpeakerBaselines", "SpeakerEncoder", "TransformersXVector", "measure_baselines"]
