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
"""Processors of MossTTSLocal."""

from ..moss_tts.frame_processing import FrameProcessor
from .configuration_moss_tts_local import MossTTSLocalConfig, MossTTSLocalV1Config


class MossTTSLocalV1Processor(FrameProcessor):
    """[`MossTTSProcessor`] of MossTTSLocal v1.0: nothing is delayed, and prompts end on the token that opens the audio."""

    config_class = MossTTSLocalV1Config


class MossTTSLocalProcessor(MossTTSLocalV1Processor):
    """[`MossTTSProcessor`] of MossTTSLocal v1.5, whose prompt is laid out as [`PiecewisePromptLayout`] says."""

    config_class = MossTTSLocalConfig


__all__ = ["MossTTSLocalProcessor", "MossTTSLocalV1Processor"]
