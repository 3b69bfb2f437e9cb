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
"""The one place that touches transformers' Auto mappings and key conversions."""

from transformers import AutoModel, AutoModelForAudioTokenization
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .moss_audio_tokenizer import MossAudioTokenizerConfig, MossAudioTokenizerModel


def register_with_transformers() -> None:
    """Makes the Auto classes know the MOSS models. A second call, or a transformers that brings them, is harmless."""
    # Straight into the mapping: `AutoConfig.register` refuses a second spelling of a `model_type`.
    for model_type in (MossAudioTokenizerConfig.model_type, *MossAudioTokenizerConfig.model_type_aliases):
        CONFIG_MAPPING.register(model_type, MossAudioTokenizerConfig, exist_ok=True)
    for auto_class in (AutoModel, AutoModelForAudioTokenization):
        auto_class.register(MossAudioTokenizerConfig, MossAudioTokenizerModel, exist_ok=True)
