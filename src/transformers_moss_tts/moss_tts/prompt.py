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

import torch
from transformers import PreTrainedTokenizerBase


class UserText(str):
    """Text from outside: whatever it spells, it is never a special token or an audio placeholder."""


# A piece of a message: text of the template, text from outside, or codes `(frames, n_vq)`.
Part = str | UserText | torch.LongTensor

AUDIO_PLACEHOLDER = "<|audio|>"
USER_FIELDS = ("text", "reference", "instruction", "tokens", "quality", "sound_event", "ambient_sound", "language")

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
        for heading, value in self._sections(fields):
            parts += [f"\n- {heading}:\n", UserText(value)]
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

    def _sections(self, fields: Mapping[str, str | int | None]) -> Iterator[tuple[str, str | int | None]]:
        for name, heading in _HEADINGS.items():
            if name == "scene" and not self.has_scene:
                continue
            yield heading, None if name == "tokens" and not self.says_tokens else fields.get(name)


class PiecewisePromptLayout(PromptLayout):
    """
    References have no speaker labels and stay apart, fields are stripped, and the pieces of the prompt are tokenized one by
    one.
    """

    def user_parts(
        self, references: list[torch.LongTensor | None] | None, fields: Mapping[str, str | int | None]
    ) -> list[Part]:
        audio = [codes for codes in references or [] if codes is not None]
        *sections, (text_heading, text) = self._sections(fields)
        before_text = "".join(f"\n- {heading}:\n{_stripped(value)}" for heading, value in sections)
        return [
            "<user_inst>\n- Reference(s):\n",
            *(audio or ["None"]),
            UserText(f"{before_text}\n- {text_heading}:\n"),
            UserText(text or ""),
            "\n</user_inst>",
        ]

    def join(self, parts: list[Part]) -> list[Part]:
        return parts

    def encode(self, encoder: "PromptEncoder", parts: list[str]) -> list[int]:
        return [token for part in parts for token in encoder.encode([part])]


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


class PromptEncoder:
    """
    Encodes text between special tokens exactly as a tokenizer encodes the whole string, except that special tokens spelled
    in [`UserText`] stay plain text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special_ids: Iterable[int]):
        self.tokenizer = tokenizer
        # Qwen's tokenizer does not call all of them special, so the ones that the prompt uses are named.
        spelled = {tokenizer.convert_ids_to_tokens(i) for i in special_ids} | set(tokenizer.all_special_tokens)
        spelled.add(AUDIO_PLACEHOLDER)
        longest_first = sorted((token for token in spelled if token), key=len, reverse=True)
        self.spelled = re.compile("|".join(re.escape(token) for token in longest_first))

    def encode(self, parts: list[str]) -> list[int]:
        """Token ids of neighbouring text parts."""
        chunks = [""]
        for part in parts:
            first, *rest = self._pieces(part)
            chunks[-1] += first
            chunks += rest
        return [i for chunk in chunks if chunk for i in self.tokenizer.encode(chunk, add_special_tokens=False)]

    def _pieces(self, part: str) -> list[str]:
        if not isinstance(part, UserText):
            return [part]
        # Encoded apart, the two halves of a spelled token cannot become it.
        cuts = [match.start() + 1 for match in self.spelled.finditer(part)]
        return [str(part)[start:stop] for start, stop in zip([0, *cuts], [*cuts, None])]
