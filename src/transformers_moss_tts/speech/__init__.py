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
"""What is built on `generate` and the codec for those who speak."""

from ..moss_tts.voice import Voice
from .durations import expected_duration
from .guards import Guards
from .long_form import LongSpeech, speak_dialogue, speak_long
from .sentences import iterate_sentences, split_sentences
from .streaming import SpeechStream, stream_speech
from .takes import SpokenText, Take, speak


__all__ = [
    "Guards",
    "LongSpeech",
    "SpeechStream",
    "SpokenText",
    "Take",
    "Voice",
    "expected_duration",
    "iterate_sentences",
    "speak",
    "speak_dialogue",
    "speak_long",
    "split_sentences",
    "stream_speech",
]
