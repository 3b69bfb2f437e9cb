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
"""Processor class for MossTTSDelay."""

import torch

from ..moss_tts.processing_moss_tts import MossTTSProcessor
from .configuration_moss_tts_delay import MossTTSDelayConfig
from .delay_pattern import apply_delay_pattern, undo_delay_pattern


class MossTTSDelayProcessor(MossTTSProcessor):
    """[`MossTTSProcessor`] of the delay pattern: codebook k of a span of audio is shifted by k positions."""

    config_class = MossTTSDelayConfig
    special_tokens = (*MossTTSProcessor.special_tokens, "audio_assistant_delay_slot")
    # As the remote code names them.
    apply_delay_pattern = staticmethod(apply_delay_pattern)
    apply_de_delay_pattern = staticmethod(undo_delay_pattern)

    def _audio_steps(self, codes: torch.LongTensor, role: str, is_open: bool) -> torch.LongTensor:
        config = self.model_config
        if len(codes) == 0:
            return self._text_steps([config.audio_start_token_id, config.audio_end_token_id])
        delayed = apply_delay_pattern(codes, config.audio_pad_code)
        slots = torch.full((len(delayed),), config.audio_user_slot_token_id)
        if role == "assistant":
            slots[: len(codes)] = config.audio_assistant_gen_slot_token_id
            slots[len(codes) :] = config.audio_assistant_delay_slot_token_id
        steps = torch.cat([slots[:, None], delayed], dim=1)
        start = self._text_steps([config.audio_start_token_id])
        if is_open:
            return torch.cat([start, steps[: len(codes)]])
        return torch.cat([start, steps, self._text_steps([config.audio_end_token_id])])


__all__ = ["MossTTSDelayProcessor"]
