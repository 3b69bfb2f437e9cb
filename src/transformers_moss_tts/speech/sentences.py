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
"""Sentences of a text, also of one that is still being written."""

import re
from collections.abc import Iterable, Iterator


# Marks that end a sentence wherever they stand, marks that end one before white space, and what may close behind them.
_ENDS = "。！？｡．…؟۔।॥"
_ENDS_BEFORE_SPACE = ".!?"
_CLOSING = "\"'”’»)]}」』）】》〉"
# The character behind an end shows that no further mark belongs to it.
_END = re.compile(
    rf"(?:(?<![{_ENDS}])[{_ENDS}][{_ENDS}{_ENDS_BEFORE_SPACE}]*[{re.escape(_CLOSING)}]*"
    rf"|(?<![{re.escape(_ENDS_BEFORE_SPACE)}])[{re.escape(_ENDS_BEFORE_SPACE)}]+[{re.escape(_CLOSING)}]*(?=\s))"
    rf"(?=[^{_ENDS}{re.escape(_ENDS_BEFORE_SPACE + _CLOSING)}])"
    r"|\n[^\S\n]*(?=\n)"
)
# Full stops that end no sentence: of initials, of numbers that open a line of a list, and of these abbreviations.
_ABBREVIATIONS = (
    *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "hon", "gen", "col", "capt", "lt", "sgt", "messrs"),
    *(
        "vs",
        "etc",
        "e.g",
        "i.e",
        "cf",
        "approx",
        "no",
        "fig",
        "vol",
        "pp",
        "ca",
        "bzw",
        "z.b",
        "d.h",
        "usw",
        "mme",
        "mlle",
    ),
)
_NO_END = re.compile(rf"(?:^|[\s(\"'“‘])(?:[^\W\d_]|{'|'.join(map(re.escape, _ABBREVIATIONS))})\.$", re.IGNORECASE)
_NUMBER_OF_LIST = re.compile(r"\s*\d+\.$")


def split_sentences(text: str) -> list[str]:
    """
    Sentences of a text, without the white space around them. Empty lines end sentences too.

    Example:

    ```python
    >>> split_sentences("Dr. Hill saw it. 真的吗？是。")
    ['Dr. Hill saw it.', '真的吗？', '是。']
    ```
    """
    return list(iterate_sentences([text]))


def iterate_sentences(pieces: Iterable[str]) -> Iterator[str]:
    """
    Yields the sentences of a text that comes in pieces, each as soon as the first character behind it is known.

    Args:
        pieces (`Iterable[str]`): pieces of any length, such as the tokens that a language model writes; it may block.

    Raises:
        TypeError: if a piece is no string.
    """
    text, searched = "", 0
    for piece in pieces:
        if not isinstance(piece, str):
            raise TypeError(f"The pieces of a text must be strings, got {type(piece).__name__}.")
        text += piece
        while (end := _next_end(text, searched)) is not None:
            if sentence := text[:end].strip():
                yield sentence
            text, searched = text[end:], 0
        # An end that needs its next character lies in the last run without white space.
        searched = max(len(text) - len(text.rsplit(None, 1)[-1]) - 1, 0) if text.strip() else 0
    if sentence := text.strip():
        yield sentence


def _next_end(text: str, start: int) -> int | None:
    for match in _END.finditer(text, start):
        end = match.end()
        if match[0] != "." or not (_NO_END.search(text, max(end - 12, 0), end) or _NUMBER_OF_LIST.match(text, 0, end)):
            return end
    return None


__all__ = ["iterate_sentences", "split_sentences"]
