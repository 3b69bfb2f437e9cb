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

from .channel_metrics import channel_loss_metrics, keep_channel_losses
from .code_encoding import encode_codes, serialise_lengths
from .codec import (
    CodecTrainer,
    CodecTrainingArguments,
    RandomCrops,
    initialize_codebooks,
    initialize_linear,
    load_recordings,
)
from .lora_presets import lora_target_modules
from .speech_table import load_rows
from .tts_collator import MossTTSDataCollator, encode_sample, report_channel_weights
from .tts_data import TrainingSamples


__all__ = [
    "CodecTrainer",
    "CodecTrainingArguments",
    "MossTTSDataCollator",
    "RandomCrops",
    "TrainingSamples",
    "channel_loss_metrics",
    "encode_codes",
    "encode_sample",
    "initialize_codebooks",
    "initialize_linear",
    "keep_channel_losses",
    "load_recordings",
    "load_rows",
    "lora_target_modules",
    "report_channel_weights",
    "serialise_lengths",
]
