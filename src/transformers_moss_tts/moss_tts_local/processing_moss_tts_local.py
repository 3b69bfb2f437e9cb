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

from typing import Any, ClassVar

import torch

from ..moss_tts.prompt import Part, UserText, after_reference_text
from ..moss_tts_delay.processing_moss_tts_delay import MossTTSDelayProcessor
from .frames import split_frames


class MossTTSLocalV1Processor(MossTTSDelayProcessor):
    """
    Of MossTTSLocal v1.0: [`MossTTSDelayProcessor`] without the delay. Its prompts end on the token that opens the audio, and
    texts are spoken as they are given.
    """

    # Without the delay slot.
    special_tokens: ClassVar[tuple[str, ...]] = MossTTSDelayProcessor.special_tokens[:-1]

    @staticmethod
    def normalize_text(text: str) -> str:
        return text

    def _split_codes(
        self, sequences: torch.LongTensor, prompt_length: int
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        return split_frames(self.model_config, sequences, prompt_length)

    def _reply_opening(self) -> list[int]:
        return [*super()._reply_opening(), self.model_config.audio_start_token_id]

    def _audio_rows(self, codes: torch.LongTensor, role: str, is_open: bool) -> torch.LongTensor:
        config = self.model_config
        is_user = role == "user"
        slot = config.audio_user_slot_token_id if is_user else config.audio_assistant_gen_slot_token_id
        rows = torch.cat([torch.full((len(codes), 1), slot), codes], dim=1)
        rows = torch.cat([self._text_rows([config.audio_start_token_id]), rows])
        return rows if is_open else torch.cat([rows, self._text_rows([config.audio_end_token_id])])


class MossTTSLocalProcessor(MossTTSLocalV1Processor):
    """
    Of MossTTSLocal v1.5: as v1.0, but references have no speaker labels and stay apart, fields are stripped, and the pieces of
    the prompt are tokenized one by one.
    """

    def _parts_of_fields(self, references: list[torch.LongTensor | None] | None, fields: dict[str, Any]) -> list[Part]:
        audio = [codes for codes in references or [] if codes is not None]
        after = after_reference_text(**{name: _stripped(value) for name, value in fields.items() if name != "text"})
        text = fields["text"] or UserText("")
        return ["<user_inst>\n- Reference(s):\n", *(audio or ["None"]), after, text, "\n</user_inst>"]

    @staticmethod
    def _joined(parts: list[Part]) -> list[Part]:
        return parts

    def _encode_texts(self, parts: list[str]) -> list[int]:
        return [token for part in parts for token in self._encoder.encode([part])]


def _stripped(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None


__all__ = ["MossTTSLocalProcessor", "MossTTSLocalV1Processor"]
