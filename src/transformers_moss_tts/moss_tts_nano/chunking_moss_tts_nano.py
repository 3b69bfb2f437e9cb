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

"""Long texts as chunks of few tokens: at ends of sentences, else of clauses, else between words."""

from collections.abc import Callable, Iterator


# Silence behind a chunk of few words and of more, in seconds.
_LONG_PAUSE, _SHORT_PAUSE, _FEW_WORDS = 0.40, 0.24, 4
_SENTENCE_ENDS = ".!?。！？；;"
_CLAUSE_ENDS = ",，、；;：:"
_CLOSING = "\"'”’)]}）】》」』"
# Characters in which the last blank or mark of a piece is looked for.
_REACH = 24
_SCRIPTS_WITHOUT_BLANKS = (("\u3040", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uac00", "\ud7af"))


def split_into_chunks(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """
    Chunks of at most `max_tokens` tokens of a text. One that fits a chunk, or any for `max_tokens` 0, is returned as it is.

    Args:
        text (`str`): the text.
        max_tokens (`int`): largest number of tokens of a chunk.
        count_tokens (`Callable`): number of tokens of a text.
    """
    if max_tokens <= 0 or not text.strip():
        return [text]
    pieces = list(_pieces(_prepared(text), max_tokens, count_tokens))
    chunks, size = pieces[:1], count_tokens(pieces[0])
    for piece in pieces[1:]:
        more = count_tokens(piece)
        if size + more > max_tokens:
            chunks.append(piece)
            size = more
        else:
            chunks[-1] = _joined(chunks[-1], piece)
            size = count_tokens(chunks[-1])
    return chunks if len(chunks) > 1 else [text]


def pause_after(chunk: str) -> float:
    """Silence behind a chunk, in seconds."""
    return _LONG_PAUSE if len(chunk.split()) <= _FEW_WORDS else _SHORT_PAUSE


def _prepared(text: str) -> str:
    """The text on one line, with an end and, where there are capitals, a capital at its start."""
    text = " ".join(part for part in text.replace("\r", " ").replace("\n", " ").split(" ") if part)
    if _has_no_blanks(text):
        return text if text[-1] in _SENTENCE_ENDS else f"{text}。"
    text = text[0].upper() + text[1:] if text[0].islower() else text
    return f"{text}." if text[-1].isalnum() else text


def _pieces(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> Iterator[str]:
    """Sentences; of those that are too long the clauses; of those that are too long parts."""
    for sentence in _split_behind(text, _SENTENCE_ENDS):
        if count_tokens(sentence) <= max_tokens:
            yield sentence
            continue
        for clause in _split_behind(sentence, _CLAUSE_ENDS):
            yield from _parts(clause, max_tokens, count_tokens)


def _split_behind(text: str, marks: str) -> Iterator[str]:
    """Parts that end with one of the marks and the closing marks behind it."""
    start = index = 0
    while index < len(text):
        index += 1
        if text[index - 1] in marks:
            while index < len(text) and text[index] in _CLOSING:
                index += 1
            if part := text[start:index].strip():
                yield part
            start = index
    if part := text[start:].strip():
        yield part


def _parts(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> Iterator[str]:
    while text:
        length = _longest_prefix(text, max_tokens, count_tokens)
        if length < len(text):
            places = range(length, max(length - _REACH, 0), -1)
            length = next((i for i in places if text[i - 1] in _CLAUSE_ENDS + _SENTENCE_ENDS + " "), length)
        if part := text[:length].strip():
            yield part
        text = text[length:].strip()


def _longest_prefix(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> int:
    """Length of the longest prefix of at most `max_tokens` tokens, at least 1."""

    def fits(length: int) -> bool:
        return count_tokens(text[:length].strip()) <= max_tokens

    low, high = 1, min(2 * max_tokens, len(text))
    # Not the whole text at once, or the time would grow with its square.
    while high < len(text) and fits(high):
        low, high = high, min(2 * high, len(text))
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _joined(left: str, right: str) -> str:
    return left + right if _has_no_blanks(left) or _has_no_blanks(right) else f"{left} {right}"


def _has_no_blanks(text: str) -> bool:
    """Whether a text has characters of a script that is written without blanks between sentences."""
    return any(first <= character <= last for character in text for first, last in _SCRIPTS_WITHOUT_BLANKS)


__all__ = ["pause_after", "split_into_chunks"]
