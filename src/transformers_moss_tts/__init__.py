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
"""MOSS-TTS speech models for Hugging Face transformers. Importing this package registers them with the Auto classes."""

from .bundled_models import bundled_model
from .moss_audio_tokenizer import (
    MossAudioTokenizerCache,
    MossAudioTokenizerConfig,
    MossAudioTokenizerModel,
    MossAudioTokenizerPreTrainedModel,
)
from .moss_tts import (
    MossTTSConfig,
    MossTTSFrameStreamer,
    MossTTSGenerateOutput,
    MossTTSGenerationMixin,
    MossTTSOutputWithPast,
)
from .moss_tts_delay import (
    MossTTSDelayConfig,
    MossTTSDelayGenerationMixin,
    MossTTSDelayModel,
    MossTTSDelayPreTrainedModel,
    MossTTSDelayProcessor,
)
from .moss_tts_local import (
    MossTTSLocalConfig,
    MossTTSLocalGenerationMixin,
    MossTTSLocalModel,
    MossTTSLocalPreTrainedModel,
    MossTTSLocalProcessor,
    MossTTSLocalV1Config,
    MossTTSLocalV1GenerationMixin,
    MossTTSLocalV1Model,
    MossTTSLocalV1Processor,
)
from .moss_tts_nano import (
    MossTTSNanoConfig,
    MossTTSNanoGenerationMixin,
    MossTTSNanoModel,
    MossTTSNanoPreTrainedModel,
    MossTTSNanoProcessor,
    MossTTSNanoSentencePieceTokenizer,
)
from .registration import register_with_transformers


__version__ = "0.1.0.dev0"

register_with_transformers()

__all__ = [
    "MossAudioTokenizerCache",
    "MossAudioTokenizerConfig",
    "MossAudioTokenizerModel",
    "MossAudioTokenizerPreTrainedModel",
    "MossTTSConfig",
    "MossTTSDelayConfig",
    "MossTTSDelayGenerationMixin",
    "MossTTSDelayModel",
    "MossTTSDelayPreTrainedModel",
    "MossTTSDelayProcessor",
    "MossTTSFrameStreamer",
    "MossTTSGenerateOutput",
    "MossTTSGenerationMixin",
    "MossTTSLocalConfig",
    "MossTTSLocalGenerationMixin",
    "MossTTSLocalModel",
    "MossTTSLocalPreTrainedModel",
    "MossTTSLocalProcessor",
    "MossTTSLocalV1Config",
    "MossTTSLocalV1GenerationMixin",
    "MossTTSLocalV1Model",
    "MossTTSLocalV1Processor",
    "MossTTSNanoConfig",
    "MossTTSNanoGenerationMixin",
    "MossTTSNanoModel",
    "MossTTSNanoPreTrainedModel",
    "MossTTSNanoProcessor",
    "MossTTSNanoSentencePieceTokenizer",
    "MossTTSOutputWithPast",
    "bundled_model",
]
