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

"""Tokenizer of MossTTSNano, a SentencePiece model."""

from typing import Any

from transformers import SentencePieceBackend
from transformers.convert_slow_tokenizer import import_protobuf


class MossTTSNanoSentencePieceTokenizer(SentencePieceBackend):
    """
    Tokenizer of MossTTSNano. It reads pieces such as `<|im_end|>` as the tokens of the prompt, wherever they stand;
    `encode_text` reads them as text.

    Args:
        vocab_file (`str`):
            SentencePiece model, `tokenizer.model`.
        unk_token, bos_token, eos_token, pad_token (`str`, *optional*, default to `"<unk>"`, `"<s>"`, `"</s>"`, `"<pad>"`):
            Special tokens.
        kwargs:
            Options of [`~transformers.PreTrainedTokenizer`].

    Raises:
        ImportError: if sentencepiece is not installed.
    """

    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str,
        unk_token: str = "<unk>",
        bos_token: str = "<s>",
        eos_token: str = "</s>",
        pad_token: str = "<pad>",
        **kwargs: Any,
    ):
        # It says in files which library the remote code uses.
        kwargs.pop("backend", None)
        super().__init__(
            vocab_file=vocab_file,
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            **kwargs,
        )
        self._text_model: Any = None

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a text in which nothing is a token of the prompt, whatever it spells and in whichever characters."""
        if self._text_model is None:
            self._text_model = self._without_control_pieces()
        return self._text_model.encode(str(text))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        # Characters that the vocabulary lacks are pieces of a byte each.
        return self.sp_model.decode_pieces(tokens)

    def _without_control_pieces(self) -> Any:
        model = type(self.sp_model)()
        pieces = import_protobuf().ModelProto.FromString(self.sp_model.serialized_model_proto())
        for piece in pieces.pieces:
            if piece.type == piece.USER_DEFINED and piece.piece.startswith("<") and piece.piece.endswith(">"):
                # Those of type CONTROL keep their ids, and no text becomes them.
                piece.type = piece.CONTROL
        model.LoadFromSerializedProto(pieces.SerializeToString())
        return model

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_text_model": None}


__all__ = ["MossTTSNanoSentencePieceTokenizer"]
