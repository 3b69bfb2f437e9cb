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
"""A long text as stretches: sentences that one generation says, and the silence behind them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..moss_tts.dialogue import SPEAKER
from .durations import expected_duration
from .sentences import split_sentences


LONGEST_PAUSE = 600.0  # seconds
_PARAGRAPHS = re.compile(r"\n\s*\n")
_PAUSE = re.compile(r"\[\s*pause\b([^\[\]]*)\]", re.IGNORECASE)
_MARK_AT_END = re.compile(rf"{SPEAKER.pattern}$")
_PAUSE_LENGTH = re.compile(r"\s*:?\s*(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s|sec|seconds?)?\s*", re.IGNORECASE)
# Where a sentence that is too long may be cut, best first; a text without any is cut between characters.
_CUTS = (re.compile(r"(?<=[;:；：—])\s*"), re.compile(r"(?<=[,，、])\s*"), re.compile(r"\s+"))
_SPACELESS = "\u2e80"  # from here on scripts are written without spaces, Hangul apart


@dataclass(frozen=True)
class Stretch:
    """
    What one generation says.

    Args:
        sentences (`tuple[str, ...]`): sentences; none where there is only a silence.
        pause (`float`): silence behind them, in seconds.
        speakers (`tuple[str, ...]`): who says each of them; none where nobody is named.
    """

    sentences: tuple[str, ...]
    pause: float = 0.0
    speakers: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return join_texts(self.sentences)

    @property
    def speaker(self) -> str | None:
        """Who speaks first, if that is known."""
        return self.speakers[0] if self.speakers else None


def plan_stretches(
    text: str,
    seconds: float,
    sentence_pause: float,
    paragraph_pause: float,
    language: str | None = None,
    speaker: str | None = None,
) -> list[Stretch]:
    """
    Groups the sentences of a text. A group does not go beyond a paragraph (empty lines end one) or a `[pause 1.5s]`; a sentence
    that takes longer alone is cut at its marks. What has no letter and no digit is not said.

    Args:
        text (`str`): what to say.
        seconds (`float`): how long reading a group may take, see [`expected_duration`].
        sentence_pause, paragraph_pause (`float`): silence behind a group and behind a paragraph, in seconds.
        language (`str`, *optional*): name of the language.
        speaker (`str`, *optional*): name of who says it.

    Raises:
        ValueError: if there is nothing to say, or a pause is none or too long.
    """
    check_words(text)
    stretches: list[Stretch] = []
    for paragraph in _PARAGRAPHS.split(text):
        pieces = _PAUSE.split(paragraph)
        for number, piece in enumerate(pieces[::2]):
            pause = _pause_of(pieces[2 * number + 1]) if 2 * number + 1 < len(pieces) else None
            groups = _groups(_sentences(piece, seconds, language), seconds, language)
            stretches += [
                Stretch(tuple(group), sentence_pause, () if speaker is None else (speaker,) * len(group))
                for group in groups
            ]
            if pause is not None:
                _end_with(stretches, pause, was_said=bool(groups))
        if stretches and any(_sentences_said(pieces[-1:])):
            _end_with(stretches, paragraph_pause, was_said=True)
    return stretches


def split_pauses(text: str) -> Iterator[str | float]:
    """
    Yields what is said of a text, and the seconds of each `[pause 1.5s]` in it. What has no letter and no digit is left out; the mark of
    a speaker goes with the words behind it.

    Raises:
        ValueError: if a pause is none or too long.
    """
    mark = ""
    for number, piece in enumerate(_PAUSE.split(text)):
        if number % 2:
            yield _pause_of(piece)
            continue
        said, next_mark = _split_marks(piece)
        if has_words(said):
            yield join_texts([mark, said])
            mark = ""
        mark = next_mark or mark


def _split_marks(piece: str) -> tuple[str, str]:
    """A text without the marks of speakers at its end, and the last of them."""
    said, mark = piece.strip(), ""
    while match := _MARK_AT_END.search(said):
        said, mark = said[: match.start()].rstrip(), mark or match[0]
    return said, mark


def has_words(text: str) -> bool:
    """Whether a text has a letter or a digit beside its pauses and the marks of its speakers."""
    return any(character.isalnum() for character in SPEAKER.sub("", _PAUSE.sub("", text)))


def check_words(text: str) -> None:
    """
    Raises:
        ValueError: if a text has no word that could be said.
    """
    if not has_words(text):
        raise ValueError(f"There is nothing to say in {text[:60]!r}: it has no letter and no digit.")


def total_pause(text: str) -> float:
    """
    Seconds of all pauses of a text.

    Raises:
        ValueError: if a pause is none or too long.
    """
    return sum(map(_pause_of, _PAUSE.split(text)[1::2]))


def has_pauses(text: object) -> bool:
    """Whether something is a text with a `[pause 1.5s]`."""
    return isinstance(text, str) and _PAUSE.search(text) is not None


def join_texts(texts: Iterable[str]) -> str:
    """Texts one behind the other, with a space between those of scripts that have some."""
    joined = ""
    for text in filter(None, texts):
        is_spaceless = bool(joined) and joined[-1] >= _SPACELESS and not "\uac00" <= joined[-1] <= "\ud7a3"
        joined += text if not joined or is_spaceless else f" {text}"
    return joined


def _end_with(stretches: list[Stretch], pause: float, was_said: bool) -> None:
    """Sets the silence behind what was said last, or adds to the one that is there."""
    if not stretches:
        stretches.append(Stretch((), pause))
        return
    last = stretches.pop()
    stretches.append(replace(last, pause=pause if was_said else last.pause + pause))


def _pause_of(length: str) -> float:
    match = _PAUSE_LENGTH.fullmatch(length)
    if match is None:
        raise ValueError(f"'[pause{length}]' is no pause: write [pause 1.5s].")
    seconds = float(match[1]) / (1000 if (match[2] or "").lower() == "ms" else 1)
    if seconds > LONGEST_PAUSE:
        raise ValueError(f"'[pause{length}]' is too long: at most {LONGEST_PAUSE:g} s are allowed.")
    return seconds


def _sentences_said(pieces: Iterable[str]) -> Iterator[str]:
    for piece in pieces:
        yield from (sentence for sentence in split_sentences(piece) if has_words(sentence))


def _sentences(piece: str, seconds: float, language: str | None) -> Iterator[str]:
    for sentence in _sentences_said([piece]):
        yield from _cut(" ".join(sentence.split()), seconds, language)


def _cut(sentence: str, seconds: float, language: str | None, level: int = 0) -> Iterator[str]:
    """The sentence, or its pieces of about so many seconds."""
    if expected_duration(sentence, language) <= seconds or len(sentence) < 2:
        yield sentence
        return
    if level < len(_CUTS):
        pieces = [piece for piece in _CUTS[level].split(sentence) if piece]
        for group in _groups(pieces, seconds, language):
            yield from _cut(join_texts(group), seconds, language, level + 1)
        return
    size = max(1, int(len(sentence) * seconds / expected_duration(sentence, language)))
    yield from (sentence[start : start + size] for start in range(0, len(sentence), size))


def _groups(sentences: Iterable[str], seconds: float, language: str | None) -> list[list[str]]:
    groups: list[list[str]] = []
    filled = 0.0
    for sentence in sentences:
        duration = expected_duration(sentence, language)
        if not groups or filled + duration > seconds:
            groups.append([])
            filled = 0.0
        groups[-1].append(sentence)
        filled += duration
    return groups


__all__ = [
    "LONGEST_PAUSE",
    "Stretch",
    "check_words",
    "has_pauses",
    "has_words",
    "join_texts",
    "plan_stretches",
    "split_pauses",
    "total_pause",
]
