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
"""Scorers of speech: speech recognizers, speaker encoders, predictors of opinion scores, and comparisons of signals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...utils.extras import install_line
from .mos import DistillMOS
from .rate import RATE
from .speaker import ResemblyzerEncoder, SpeakerBaselines, SpeakerEncoder, TransformersXVector, measure_baselines
from .speech_recognition import (
    FunASRParaformer,
    OfflineWhisper,
    ShortWindowWhisper,
    SpeechRecognizer,
    TransformersWhisper,
)


_SCORERS: dict[str, dict[str, Callable[[], Any]]] = {
    "asr": {
        "whisper-base": OfflineWhisper,
        "whisper-base-short": ShortWindowWhisper,
        "whisper-large-v3": lambda: TransformersWhisper("openai/whisper-large-v3"),
        "paraformer-zh": FunASRParaformer,
    },
    "speaker": {
        "resemblyzer": ResemblyzerEncoder,
        "wavlm-base-plus-sv": lambda: TransformersXVector("microsoft/wavlm-base-plus-sv"),
    },
    "mos": {"distillmos": DistillMOS},
}
# What a folder or Hub id is loaded as.
_OF_TRANSFORMERS = {"asr": TransformersWhisper, "speaker": TransformersXVector}


def scorer_names(kind: str) -> list[str]:
    """Names of the scorers of a kind: "asr", "speaker" or "mos"."""
    return list(_SCORERS[kind])


def register_scorer(kind: str, name: str, factory: Callable[[], Any]) -> None:
    """
    Registers a scorer under a name.

    Args:
        kind (`str`): kind of the scorer, "asr" (like [`SpeechRecognizer`]), "speaker" (like [`SpeakerEncoder`]) or "mos"
            (a `description` and `predict(waveform) -> float`).
        name (`str`): name for `evaluate(asr=name)` and the like.
        factory (`Callable`): function that makes it, called before anything is generated.
    """
    _SCORERS[kind][name] = factory


def load_scorer(kind: str, name: str):
    """
    Loads a scorer.

    Args:
        kind (`str`): "asr", "speaker" or "mos".
        name (`str`): one of [`scorer_names`], or, for "asr" and "speaker", folder or Hub id of a Whisper or of an x-vector
            model of transformers.

    Raises:
        ValueError: for an unknown name, a package that is not installed, or a model that cannot be loaded.
    """
    factory = _SCORERS[kind].get(name)
    if factory is None and kind in _OF_TRANSFORMERS and ("/" in name or Path(name).is_dir()):
        model_class = _OF_TRANSFORMERS[kind]

        def factory():
            return model_class(name)

    if factory is None:
        others = " or the folder or Hub id of a model of transformers" if kind in _OF_TRANSFORMERS else ""
        raise ValueError(f"There is no {kind} scorer {name!r}: use {', '.join(scorer_names(kind))}{others}.")
    try:
        return factory()
    except ImportError as error:
        raise ValueError(
            f"The {kind} scorer {name!r} needs a package that is not installed ({error}): {_install_hint(kind, name)}."
        ) from error
    except OSError as error:
        raise ValueError(
            f"The {kind} scorer {name!r} could not be loaded, is the Hub reachable? {str(error).splitlines()[0]}"
        ) from error


def _install_hint(kind: str, name: str) -> str:
    hints = {
        "paraformer-zh": "pip install funasr torchaudio",
        # It declares torchaudio, which it does not use, and which there is none of for many releases of torch.
        "distillmos": "pip install --no-deps distillmos xls-r-sqa",
    }
    return hints.get(name) or install_line("eval")


__all__ = [
    "RATE",
    "DistillMOS",
    "FunASRParaformer",
    "OfflineWhisper",
    "ResemblyzerEncoder",
    "SpeakerBaselines",
    "SpeakerEncoder",
    "SpeechRecognizer",
    "TransformersWhisper",
    "TransformersXVector",
    "load_scorer",
    "measure_baselines",
    "register_scorer",
    "scorer_names",
]
