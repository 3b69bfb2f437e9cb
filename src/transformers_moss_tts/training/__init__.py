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
"""Training of codec and generators from recordings. Needs the `train` extra."""

from ..utils.extras import require


# Before the modules below import them.
require("Training", "train", "auraloss", "datasets")

from .codec import (
    CodecTrainer,
    CodecTrainingArguments,
    RandomCrops,
    initialize_codebooks,
    initialize_linear,
    load_recordings,
)
from .collator import MossTTSDataCollator, encode_sample, paper_stream_weights
from .lora_presets import lora_target_modules
from .recording_encoding import condition_on_duration, encode_recordings
from .samples import TrainingSamples
from .stream_metrics import keep_stream_losses, stream_loss_metrics
from .tables import load_table


__all__ = [
    "CodecTrainer",
    "CodecTrainingArguments",
    "MossTTSDataCollator",
    "RandomCrops",
    "TrainingSamples",
    "condition_on_duration",
    "encode_recordings",
    "encode_sample",
    "initialize_codebooks",
    "initialize_linear",
    "keep_stream_losses",
    "load_recordings",
    "load_table",
    "lora_target_modules",
    "paper_stream_weights",
    "stream_loss_metrics",
]
