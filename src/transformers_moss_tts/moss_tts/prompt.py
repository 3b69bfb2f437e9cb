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
"""The family's prompt: its fields, as parts that keep apart what the template, the user and the audio contribute."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from transformers import PreTrainedTokenizerBase


class UserText(str):
    """Text from outside: whatever it spells, it is never a token of the template, a special one or an audio placeholder."""


class JoinedText(str):
    """Text of the template and from outside that is tokenized as one piece."""

    def __new__(cls, pieces: Iterable[str]):
        pieces = tuple(pieces)
        joined = super().__new__(cls, "".join(pieces))
        joined.pieces = pieces
        return joined


# A piece of a message: text of the template, text from outside, both, or codes `(frames, n_vq)`.
Part = str | UserText | JoinedText | torch.LongTensor

AUDIO_PLACEHOLDER = "<|audio|>"
USER_FIELDS = ("text", "reference", "instruction", "tokens", "quality", "sound_event", "ambient_sound", "language")

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Headings in their order; the reference section comes first.
_HEADINGS = {
    "instruction": "Instruction",
    "tokens": "Tokens",
    "quality": "Quality",
    "sound_event": "Sound Event",
    "ambient_sound": "Ambient Sound",
    "language": "Language",
    "scene": "Scene",
    "text": "Text",
}


@dataclass(frozen=True)
class PromptLayout:
    """
    The user's turn of a variant.

    Attributes:
        has_scene (`bool`): whether there is a section Scene between Language and Text, which is always "None".
        says_tokens (`bool`): whether the length is said; else it is "None", whatever is asked for.
        names_silent_speakers (`bool`): whether a speaker without a recording is listed among the references.
    """

    has_scene: bool = False
    says_tokens: bool = True
    names_silent_speakers: bool = False

    def user_parts(
        self, references: list[torch.LongTensor | None] | None, fields: Mapping[str, str | int | None]
    ) -> list[Part]:
        """
        The parts of a user's turn.

        Args:
            references (`list[torch.LongTensor | None]`, *optional*):
                Codes of each speaker, `(frames, n_vq)`, in the order S1, S2, ...; `None` leaves a speaker without one.
            fields (`Mapping[str, str | int | None]`):
                `text`, `instruction`, `tokens`, `quality`, `sound_event`, `ambient_sound`, `language`; `None` prints "None".
        """
        parts: list[Part] = ["<user_inst>\n- Reference(s):\n", *self._reference_parts(references)]
        parts += self._sections(fields)
        parts.append("\n</user_inst>")
        return parts

    def join(self, parts: list[Part]) -> list[Part]:
        """The parts of a turn as they are encoded: neighbouring audio is one span."""
        return merge_adjacent_audio(parts)

    def encode(self, encoder: "PromptEncoder", parts: list[str]) -> list[int]:
        """Token ids of neighbouring text parts."""
        return encoder.encode(parts)

    def _reference_parts(self, references: list[torch.LongTensor | None] | None) -> list[Part]:
        if references is None:
            return ["None"]
        parts: list[Part] = []
        for number, codes in enumerate(references, 1):
            break_before = "\n" * bool(parts)
            if codes is not None:
                parts += [f"{break_before}[S{number}]:\n", codes]
            elif self.names_silent_speakers:
                parts.append(f"{break_before}[S{number}]: None")
        return parts

    def _sections(self, fields: Mapping[str, str | int | None]) -> Iterator[str]:
        """Headings and values in turn."""
        for name, heading in _HEADINGS.items():
            if name == "scene" and not self.has_scene:
                continue
            yield f"\n- {heading}:\n"
            yield _value(name, None if name == "tokens" and not self.says_tokens else fields.get(name))


class PiecewisePromptLayout(PromptLayout):
    """
    References have no speaker labels and stay apart, fields are stripped, and the pieces of the prompt are tokenized one by
    one.
    """

    def user_parts(
        self, references: list[torch.LongTensor | None] | None, fields: Mapping[str, str | int | None]
    ) -> list[Part]:
        audio = [codes for codes in references or [] if codes is not None]
        text = UserText(fields.get("text") or "")
        *before_text, _ = self._sections({name: _stripped(value) for name, value in fields.items()})
        return [
            "<user_inst>\n- Reference(s):\n",
            *(audio or ["None"]),
            JoinedText(before_text),
            text,
            "\n</user_inst>",
        ]

    def join(self, parts: list[Part]) -> list[Part]:
        return parts

    def encode(self, encoder: "PromptEncoder", parts: list[str]) -> list[int]:
        return [token for part in parts for token in encoder.encode([part])]


def _value(name: str, value: str | int | None) -> str:
    if value is None:
        return "None"
    # Some tokenizers have tokens for the name of a language and the break behind it, others for words of the template.
    is_name = name == "language" and value.isalpha() and value not in ("None", "user", "assistant")
    return value if is_name else UserText(value)


def _stripped(value: str | int | None) -> str | None:
    return None if value is None else str(value).strip() or None


def content_parts(content: str, audio: list[torch.LongTensor]) -> list[Part]:
    """The parts of a message whose `content` holds one `<|audio|>` for each item of `audio`."""
    texts = content.split(AUDIO_PLACEHOLDER)
    if len(texts) - 1 != len(audio):
        raise ValueError(
            f"The content has {len(texts) - 1} {AUDIO_PLACEHOLDER} but there are {len(audio)} audio items: they must agree."
        )
    parts: list[Part] = [UserText(texts[0])]
    for codes, text in zip(audio, texts[1:]):
        parts += [codes, UserText(text)]
    return parts


def merge_adjacent_audio(parts: list[Part]) -> list[Part]:
    """Joins audio items with nothing but white space between them into one span."""
    merged: list[Part] = []
    for part in parts:
        gap = len(merged)
        while gap > 0 and isinstance(merged[gap - 1], str) and not merged[gap - 1].strip():
            gap -= 1
        if isinstance(part, torch.Tensor) and gap > 0 and isinstance(merged[gap - 1], torch.Tensor):
            merged[gap - 1 :] = [torch.cat([merged[gap - 1], part])]
        else:
            merged.append(part)
    return merged


def check_characters(text: str, name: str) -> None:
    """
    Raises:
        ValueError: if a text has lone surrogates, or control characters other than tabs and line breaks.
    """
    if found := _CONTROLS.search(text):
        kind = "lone surrogate" if "\ud800" <= found[0] <= "\udfff" else "control character"
        raise ValueError(f"{name} has the {kind} U+{ord(found[0]):04X} at position {found.start()}: leave it out.")


class PromptEncoder:
    """
    Encodes text between special tokens exactly as a tokenizer encodes the whole string, except that added tokens, special or
    not, that are spelled in [`UserText`] stay plain text, also where the template's text completes them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special_ids: Iterable[int]):
        self.tokenizer = tokenizer
        spelled = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens, AUDIO_PLACEHOLDER}
        spelled |= {tokenizer.convert_ids_to_tokens(i) for i in special_ids}
        longest_first = sorted((token for token in spelled if token and len(token) > 1), key=len, reverse=True)
        # A look ahead finds tokens that overlap, too.
        self.spelled = re.compile(f"(?=({'|'.join(map(re.escape, longest_first))}))")

    def encode(self, parts: list[str]) -> list[int]:
        """
        Token ids of neighbouring text parts.

        Raises:
            ValueError: if a text has characters that cannot be spoken, or spells a token in characters that the tokenizer
                reads as others.
        """
        pieces = [piece for part in parts for piece in (part.pieces if isinstance(part, JoinedText) else (part,))]
        for piece in pieces:
            if isinstance(piece, UserText):
                self._check(piece)
        text = "".join(pieces)
        cuts = self._cuts(text, pieces)
        chunks = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, None])]
        return [i for chunk in chunks if chunk for i in self.tokenizer.encode(chunk, add_special_tokens=False)]

    def _cuts(self, text: str, pieces: list[str]) -> list[int]:
        """Positions within the tokens that user text spells: encoded apart, the two halves cannot become the token."""
        ends = list(accumulate(len(piece) for piece in pieces))
        of_user = [
            (end - len(piece), end) for piece, end in zip(pieces, ends) if isinstance(piece, UserText) and piece
        ]
        cuts, number = set(), 0
        for match in self.spelled.finditer(text):
            start, end = match.span(1)
            while number < len(of_user) and of_user[number][1] <= start:
                number += 1
            if number < len(of_user) and of_user[number][0] < end:
                # At the border where the template begins the token, so that its own tokens stay whole.
                cuts.add(max(start + 1, of_user[number][0]))
        return sorted(cuts)

    def _check(self, text: UserText) -> None:
        check_characters(text, "The text")
        normalizer = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "normalizer", None)
        normalized = text if normalizer is None else normalizer.normalize_str(str(text))
        if normalized != text and len(self.spelled.findall(normalized)) > len(self.spelled.findall(text)):
            raise ValueError(f"The text spells a token of the prompt in other characters: {str(text)!r}.")
