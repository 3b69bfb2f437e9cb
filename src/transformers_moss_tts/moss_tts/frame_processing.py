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
"""What the processors of models that speak a frame at a time share."""

import torch

from .processing_moss_tts import MossTTSProcessor


class FrameProcessor(MossTTSProcessor):
    """[`MossTTSProcessor`] without delays: prompts end on the token that opens the audio."""

    def _reply_opening(self) -> list[int]:
        return [*super()._reply_opening(), self.model_config.audio_start_token_id]

    def _audio_steps(self, codes: torch.LongTensor, role: str, is_open: bool) -> torch.LongTensor:
        config = self.model_config
        is_user = role == "user"
        slot = config.audio_user_slot_token_id if is_user else config.audio_assistant_gen_slot_token_id
        steps = torch.cat([torch.full((len(codes), 1), slot), codes], dim=1)
        steps = torch.cat([self._text_steps([config.audio_start_token_id]), steps])
        return steps if is_open else torch.cat([steps, self._text_steps([config.audio_end_token_id])])


__all__ = ["FrameProcessor"]
