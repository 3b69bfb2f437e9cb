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
"""Suites of evaluations, one module a kind."""

from .base import SpokenSuite, Suite
from .codec import CodecReconstruction
from .duration import Duration
from .long_form import LongForm
from .speed import Speed
from .spoken import SeedTTSEval, Sentences
from .stability import Stability


SUITES: dict[str, type[Suite]] = {
    suite.name: suite for suite in (SeedTTSEval, Sentences, Duration, LongForm, CodecReconstruction, Speed, Stability)
}

__all__ = [
    "SUITES",
    "CodecReconstruction",
    "Duration",
    "LongForm",
    "SeedTTSEval",
    "Sentences",
    "Speed",
    "SpokenSuite",
    "Stability",
    "Suite",
]
