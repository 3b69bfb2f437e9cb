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
"""The one place that touches transformers' Auto mappings."""

from typing import Any

import transformers
from transformers import (
    AutoModel,
    AutoModelForAudioTokenization,
    AutoModelForCausalLM,
    AutoModelForTextToWaveform,
    AutoProcessor,
)
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import REGISTERED_TOKENIZER_CLASSES

from .moss_audio_tokenizer import MossAudioTokenizerConfig, MossAudioTokenizerModel
from .moss_tts.pipeline_moss_tts import register_pipeline
from .moss_tts_delay import MossTTSDelayConfig, MossTTSDelayModel, MossTTSDelayProcessor
from .moss_tts_local import (
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalProcessor,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
    MossTTSLocalV1Processor,
)
from .moss_tts_nano import (
    MossTTSNanoConfig,
    MossTTSNanoModel,
    MossTTSNanoProcessor,
    MossTTSNanoSentencePieceTokenizer,
)


class MossTTSDelayOrLocalV1Config:
    """What the Auto classes take `model_type: moss_tts_delay` for: both releases have it, and their other keys differ."""

    def __new__(cls, **kwargs) -> Any:
        return cls._class_of(kwargs)(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        return cls._class_of(config_dict).from_dict(config_dict, **kwargs)

    @staticmethod
    def _class_of(config_dict: dict[str, Any]) -> type[MossTTSDelayConfig] | type[MossTTSLocalV1Config]:
        return MossTTSLocalV1Config if MossTTSLocalV1Config.describes(config_dict) else MossTTSDelayConfig


def register_with_transformers() -> None:
    """Makes the Auto classes know the MOSS models. A second call, or a transformers that brings them, is harmless."""
    _register_config(MossAudioTokenizerConfig, *MossAudioTokenizerConfig.model_type_aliases)
    _register_model(MossAudioTokenizerConfig, MossAudioTokenizerModel, AutoModelForAudioTokenization)
    # It stands for two classes.
    CONFIG_MAPPING.register(MossTTSDelayConfig.model_type, MossTTSDelayOrLocalV1Config, exist_ok=True)  # type: ignore[arg-type]
    _register_model(MossTTSDelayConfig, MossTTSDelayModel, AutoModelForTextToWaveform)
    AutoProcessor.register(MossTTSDelayConfig, MossTTSDelayProcessor, exist_ok=True)
    _register_config(MossTTSLocalConfig)
    _register_model(MossTTSLocalConfig, MossTTSLocalModel, AutoModelForTextToWaveform)
    AutoProcessor.register(MossTTSLocalConfig, MossTTSLocalProcessor, exist_ok=True)
    _register_model(MossTTSLocalV1Config, MossTTSLocalV1Model, AutoModelForTextToWaveform)
    AutoProcessor.register(MossTTSLocalV1Config, MossTTSLocalV1Processor, exist_ok=True)
    _register_config(MossTTSNanoConfig)
    # The remote code's examples load it as a language model.
    _register_model(MossTTSNanoConfig, MossTTSNanoModel, AutoModelForTextToWaveform, AutoModelForCausalLM)
    AutoProcessor.register(MossTTSNanoConfig, MossTTSNanoProcessor, exist_ok=True)
    # By its name alone: for a class that is registered for a configuration, `trust_remote_code=True` prefers the remote code.
    REGISTERED_TOKENIZER_CLASSES[MossTTSNanoSentencePieceTokenizer.__name__] = MossTTSNanoSentencePieceTokenizer
    register_pipeline()
    _complete_dummy_mappings()


def _complete_dummy_mappings() -> None:
    """AutoProcessor looks for a codec's class in mappings that, where torchvision is missing, are dummies without entries."""
    for mapping in (transformers.IMAGE_PROCESSOR_MAPPING, transformers.VIDEO_PROCESSOR_MAPPING):
        if not hasattr(mapping, "_extra_content"):
            mapping._extra_content = {}


def _register_config(config_class: type[PreTrainedConfig], *other_model_types: str) -> None:
    # Straight into the mapping: `AutoConfig.register` refuses a second spelling of a `model_type`.
    for model_type in (config_class.model_type, *other_model_types):
        CONFIG_MAPPING.register(model_type, config_class, exist_ok=True)


def _register_model(config_class: type[PreTrainedConfig], model_class: type, *auto_classes: Any) -> None:
    for registry in (AutoModel, *auto_classes):
        registry.register(config_class, model_class, exist_ok=True)
