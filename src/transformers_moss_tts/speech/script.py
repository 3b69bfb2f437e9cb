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
"""Scripts of dialogues: who says what, and in whose voice."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.text_files import read_text
from .stretches import has_pauses, has_words


_MARK = re.compile(r"\[(S[1-9]\d?)\]")
# A name is short and has no marks of a sentence, so that "He said: no." within a text is none by mistake.
_LINE = re.compile(
    r"\s*([^\s:：\[\]\"“”.,;!?][^:：\[\]\"“”.,;!?\n]{0,39}?)\s*[:：]\s+(.*)|\s*([^\s:：\[\]]{1,40})[：](.*)"
)


@dataclass(frozen=True)
class Turn:
    """
    What one speaker says without a break.

    Args:
        speaker (`str`): name of the speaker.
        text (`str`): what they say.
    """

    speaker: str
    text: str


def read_script(script: str | os.PathLike) -> list[Turn]:
    """
    Reads a script: `[S1] ... [S2] ...`, or lines of `name: text`, of which a line without a name goes on with the turn before.

    Args:
        script (`str` or `os.PathLike`): the script, or the path of its file.

    Raises:
        ValueError: if the file is not UTF-8, or it is not said who speaks.
        OSError: if the file cannot be read.
    """
    text = text_of(script)
    turns = _marked_turns(text) if _MARK.search(text) else _named_turns(text)
    turns = _with_words(turns)
    if not turns:
        raise ValueError(
            "The script has nothing to say: put [S1], [S2], ... or `name: ` before what each speaker says."
        )
    return turns


def assign_voices(turns: Sequence[Turn], voices: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    """
    The voice of each speaker of a script, in the order in which they speak.

    Args:
        turns (`Sequence[Turn]`): turns of the script.
        voices (`Mapping` or `Sequence`): voices by speaker, or in the order in which they first speak; for `[S1]`, `[S2]`, ... in
            the order of their numbers.

    Raises:
        TypeError: if the voices are neither.
        ValueError: if a speaker has no voice, or a voice is of nobody who speaks.
    """
    speakers = list(dict.fromkeys(turn.speaker for turn in turns))
    if isinstance(voices, list | tuple):
        in_order = speakers
        if all(_MARK.fullmatch(f"[{speaker}]") for speaker in speakers):
            in_order = [f"S{number}" for number in range(1, len(voices) + 1)]
        if len(voices) > len(in_order):
            raise ValueError(f"There are {len(voices)} voices for {len(speakers)} speakers: {', '.join(speakers)}.")
        voices = {speaker: voice for speaker, voice in zip(in_order, voices) if voice is not None}
    if not isinstance(voices, Mapping | None):
        raise TypeError(
            f"`voices` must be a dict by speaker, such as {{'S1': voice}}, or a list, got {type(voices).__name__}."
        )
    given = {str(speaker).strip("[]"): voice for speaker, voice in (voices or {}).items() if voice is not None}
    if missing := [speaker for speaker in speakers if speaker not in given]:
        known = f"there are voices of {', '.join(map(repr, given))}" if given else "there is no voice at all"
        raise ValueError(f"Nobody gave a voice for {', '.join(map(repr, missing))} of the script; {known}.")
    if unknown := [speaker for speaker in given if speaker not in speakers]:
        raise ValueError(
            f"There is a voice of {unknown[0]!r}, who says nothing in the script; {', '.join(speakers)} do."
        )
    return {speaker: given[speaker] for speaker in speakers}


def text_of(text: str | os.PathLike) -> str:
    """
    A text, or what is in the file that it is the path of: a `Path`, or the name of a file that there is.

    Raises:
        TypeError: for something else.
        ValueError: if the file is not UTF-8.
        OSError: if the file cannot be read.
    """
    if isinstance(text, os.PathLike):
        return read_text(text)
    if not isinstance(text, str):
        raise TypeError(f"A text must be a string or the path of a file, got {type(text).__name__}.")
    is_name = 0 < len(text) < 256 and text.isprintable() and Path(text).is_file()
    return read_text(text) if is_name else text


def _marked_turns(text: str) -> list[Turn]:
    before, *rest = _MARK.split(text)
    if has_words(before):
        raise ValueError(f"The script does not say who says {before.strip()[:60]!r}: put [S1] before it.")
    turns = [Turn(speaker, said.strip()) for speaker, said in zip(rest[::2], rest[1::2])]
    return [Turn(turns[0].speaker, f"{before.strip()} {turns[0].text}".strip()), *turns[1:]]


def _named_turns(text: str) -> list[Turn]:
    turns: list[Turn] = []
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _LINE.fullmatch(line):
            said = (match[2] or match[4] or "").strip()
            turns.append(Turn(match[1] or match[3], said if turns else f"{before} {said}".strip()))
        elif not turns and has_pauses(line) and not has_words(line):
            before += line
        elif line.strip() and not turns:
            raise ValueError(
                f"Line {number} of the script does not say who says {line.strip()[:60]!r}: put `name: ` before it, or [S1]."
            )
        elif line.strip():
            turns[-1] = Turn(turns[-1].speaker, f"{turns[-1].text} {line.strip()}".strip())
    return turns


def _with_words(turns: list[Turn]) -> list[Turn]:
    """The turns in which something is said, with the pauses of the others."""
    kept: list[Turn] = []
    before = ""
    for turn in turns:
        if has_words(turn.text):
            kept.append(Turn(turn.speaker, f"{before} {turn.text}".strip()))
            before = ""
        elif has_pauses(turn.text) and kept:
            kept[-1] = Turn(kept[-1].speaker, f"{kept[-1].text} {turn.text}")
        elif has_pauses(turn.text):
            before += turn.text
    return kept


__all__ = ["Turn", "assign_voices", "read_script", "text_of"]
