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
"""Measures generators and codecs: suites, scorers, statistics, reports. Needs the extra `eval`."""

from .harness.comparison import compare
from .harness.runner import evaluate
from .harness.utterances import Utterance, read_utterances
from .scorers import load_scorer, register_scorer, scorer_names
from .suites import (
    SUITES,
    CodecReconstruction,
    Duration,
    LongForm,
    SeedTTSEval,
    Sentences,
    Speed,
    Stability,
    Suite,
)


__all__ = [
    "SUITES",
    "CodecReconstruction",
    "Duration",
    "LongForm",
    "SeedTTSEval",
    "Sentences",
    "Speed",
    "Stability",
    "Suite",
    "Utterance",
    "compare",
    "evaluate",
    "load_scorer",
    "read_utterances",
    "register_scorer",
    "scorer_names",
]
