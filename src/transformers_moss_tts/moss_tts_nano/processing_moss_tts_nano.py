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

"""Processor of MossTTSNano."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..moss_tts.dialogue import SPEAKER
from ..moss_tts.frame_processing import FrameProcessor
from ..moss_tts.messages import Audio, Message
from ..moss_tts.prompt import JoinedText, PromptEncoder, UserText, check_characters
from ..moss_tts.text_normalization import NormalizedText
from .chunking_moss_tts_nano import pause_after, split_into_chunks
from .configuration_moss_tts_nano import MossTTSNanoConfig


# Tokens of a chunk in the reference's applications.
MAX_CHUNK_TOKENS = 75


class SentencePieceEncoder(PromptEncoder):
    """Encodes the template as a tokenizer does, and text from outside by its `encode_text`, piece by piece."""

    def encode(self, parts: list[str]) -> list[int]:
        """
        Token ids of text parts, each encoded on its own.

        Raises:
            ValueError: if a text has characters that cannot be spoken.
        """
        return [token for part in parts for token in self._encode_part(part)]

    def _encode_part(self, part: str) -> list[int]:
        pieces = part.pieces if isinstance(part, JoinedText) else (part,)
        from_outside = [piece for piece in pieces if isinstance(piece, UserText)]
        for piece in from_outside:
            check_characters(piece, "The text")
        return (
            self.tokenizer.encode_text(part) if from_outside else self.tokenizer.encode(part, add_special_tokens=False)
        )


class MossTTSNanoProcessor(FrameProcessor):
    """
    [`MossTTSProcessor`] of MossTTSNano. Codes may have fewer codebooks than the model, the first of them. One voice can be cloned at
    a time. Long texts are spoken in chunks:

    ```python
    >>> chunks = processor.split_text(text)
    >>> outputs = model.generate(**processor(text=chunks, reference="voice.wav"), return_dict_in_generate=True)
    >>> audio = processor.join_chunks(chunks, processor.decode(outputs))
    ```
    """

    config_class = MossTTSNanoConfig
    stops_at_end_of_audio = True

    def split_text(self, text: str, max_tokens: int = MAX_CHUNK_TOKENS) -> list[str]:
        """
        Normalises a text and splits it into chunks that are spoken one by one, as the reference does where it clones a voice.

        Args:
            text (`str`):
                The text.
            max_tokens (`int`, *optional*, defaults to 75):
                Largest number of tokens of a chunk; 0 leaves the text whole.

        Raises:
            ValueError: if `max_tokens` is below 0.
        """
        if max_tokens < 0:
            raise ValueError(f"`max_tokens` must be at least 0, got {max_tokens}.")
        chunks = split_into_chunks(self.normalize_text(text), max_tokens, self._count_tokens)
        return [NormalizedText(chunk) for chunk in chunks]

    def join_chunks(self, chunks: list[str], waveforms: list[torch.Tensor]) -> torch.Tensor:
        """
        The waveforms `(channels, samples)` or `(samples,)` of chunks one behind the other, with the silence between them that suits
        their length: 0.4 s after up to four words, else 0.24 s.

        Raises:
            ValueError: if there is not one waveform for each chunk.
        """
        if len(chunks) != len(waveforms) or not chunks:
            raise ValueError(f"There are {len(waveforms)} waveforms for {len(chunks)} chunks: give one for each.")
        rate = self.model_config.sampling_rate
        parts = [waveforms[0]]
        for chunk, before, waveform in zip(chunks, waveforms, waveforms[1:]):
            parts += [before.new_zeros(*before.shape[:-1], round(pause_after(chunk) * rate)), waveform]
        return torch.cat([part.as_subclass(torch.Tensor) for part in parts], dim=-1)

    def _count_tokens(self, text: str) -> int:
        return len(self._encoder.encode([UserText(text)]))

    def _new_encoder(self, tokenizer: PreTrainedTokenizerBase, special_ids: Iterable[int]) -> PromptEncoder:
        kind = SentencePieceEncoder if hasattr(tokenizer, "encode_text") else PromptEncoder
        return kind(tokenizer, special_ids)

    def _conversations_of_script(self, script: str, *args: Any) -> tuple[list[list[Message]], str]:
        conversations, mode = super()._conversations_of_script(script, *args)
        if len(set(SPEAKER.findall(script))) > 1:
            raise ValueError(
                "MOSS-TTS-Nano speaks with one voice: say what each speaker says in a call of its own, as `speak_dialogue` does."
            )
        # It has not learned the marks, and would read them aloud.
        user = conversations[0][0]
        user["text"] = SPEAKER.sub("", user["text"]).strip()
        return conversations, mode

    def _encode_references(
        self, references: list, sampling_rate: int | None, known: dict[Any, torch.LongTensor]
    ) -> list[torch.LongTensor | None]:
        if len(references) > 1:
            raise ValueError(f"MOSS-TTS-Nano clones one voice, got {len(references)} references: pass one.")
        return super()._encode_references(references, sampling_rate, known)

    def _check_codes(self, codes: Audio) -> torch.LongTensor:
        codes, config = torch.as_tensor(codes).cpu().long(), self.model_config
        # Silent codebooks are pads, and the last ones.
        spoken = codes[:, : self._depth_of(codes)]
        if spoken.shape[1] in (0, config.n_vq) or codes.shape[1] > config.n_vq:
            return super()._check_codes(codes)
        padding = codes.new_zeros(len(codes), config.n_vq - spoken.shape[1])
        checked = super()._check_codes(torch.cat([spoken, padding], dim=1))
        checked[:, spoken.shape[1] :] = config.audio_pad_code
        return checked

    def _depth_of(self, codes: torch.LongTensor) -> int:
        """Number of codebooks, of the first, that are spoken with."""
        is_spoken = (codes != self.model_config.audio_pad_code).any(0) if len(codes) else torch.ones(codes.shape[1])
        return int(is_spoken.nonzero().max()) + 1 if is_spoken.any() else 0

    def _decode_codes(self, codes: list[torch.LongTensor]) -> list[torch.FloatTensor]:
        depths = [self._depth_of(item) for item in codes]
        waveforms: dict[int, torch.FloatTensor] = {}
        for depth in set(depths):
            chosen = [index for index, own in enumerate(depths) if own == depth]
            waveforms |= zip(chosen, super()._decode_codes([codes[index][:, :depth] for index in chosen]))
        return [waveforms[index] for index in range(len(codes))]


__all__ = ["MossTTSNanoProcessor"]
