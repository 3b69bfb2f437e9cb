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
"""
Cleaning of text before it is spoken: white space, Markdown, structural punctuation and repeated marks. It does not decide how
numbers, units or abbreviations are read. The rules are those that the released models were trained behind.

Every rule takes time linear in the length of the text, whatever the text is: a pattern begins at the start of a run alone, so that
a long run that does not match is looked at once.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator


# Scripts written without spaces: Han and kana.
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff"
# A protected span travels as one private-use character; cleaning has removed any that the text had.
_FIRST_MARK, _LAST_MARK = 0xF0000, 0x10FFFD
_MARK = f"{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}"
_STOP = "。！？!?；;"
_OPENING, _CLOSING = "【〖『「", "】〗』」"
_DASH = "—–―-"
_ALNUM = "A-Za-z0-9"
_WORD = f"{_ALNUM}_{_MARK}"
_PATH = f"{_ALNUM}._/+:-"
_NO_LETTER = "0123456789._/+:-"
# One pass can uncover another's work, as in brackets within brackets.
_MAX_PASSES = 8

# Spans in which punctuation is part of a name, most specific first; paths come after them.
_PROTECTED = (
    re.compile(r"https?://[^\s，。！？；、）】》〉」』]+"),
    re.compile(rf"(?<![\w.%+-])[\w.%+-]+@[{_ALNUM}.-]+\.[A-Za-z]{{2,}}(?![\w.-])", re.ASCII),  # e-mail
    re.compile(rf"(?<![{_WORD}])@\w{{1,32}}", re.ASCII),  # mention
    re.compile(rf"(?<![{_WORD}])[ur]/\w+", re.ASCII),  # Reddit user or community
    re.compile(rf"(?<![{_WORD}])#[^\s#{_MARK}]+"),  # hashtag
    re.compile(rf"(?<![{_WORD}])\.[._-]*(?:[{_ALNUM}][{_ALNUM}._-]*)?"),  # .env, or marks that name nothing
)
_NAMES_NOTHING = re.compile(r"[._-]+")
# File names, versions and paths: words joined by marks, with a letter somewhere. A run of such characters has at most one.
_PATH_RUN = re.compile(f"[{_PATH}]+")
_PATH_START = re.compile(f"(?<![{_WORD}])[{_ALNUM}]")
_PATH_NAME = re.compile(rf"[{_ALNUM}]+[._/+:-][{_PATH}]*[{_ALNUM}](?![{_WORD}])")

_LINK = re.compile(r"\[([^\[\]]+)\]\((https?://[^)\s\[]+)\)")
# Headings, quotes and lists, also within one another.
_LINE_PREFIXES = re.compile(r"^(?:(?:#{1,6}|[>*+-]|\d+[.)])\s+)+")

Rule = tuple[re.Pattern, str | Callable[[re.Match], str]]


def _rules(*rules: tuple[str, str | Callable[[re.Match], str]]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


def _space_after_latin(match: re.Match) -> str:
    return f"{match[0]} " if match[0].strip(_NO_LETTER) else match[0]


_SPACES = _rules(
    (r"[ \t\r\f\v]+", " "),
    (rf"(?<=[{_CJK}])\s+(?=[{_CJK}\d])", ""),
    (rf"(?<=\d)\s+(?=[{_CJK}])", ""),
    (rf"(?<=[{_CJK}])(?=[{_MARK}]|(?=[{_PATH}]*[A-Za-z])[{_ALNUM}])", " "),
    (rf"(?:[{_MARK}]|(?<![{_PATH}])[{_PATH}]+)(?=[{_CJK}])", _space_after_latin),
    (r"(?<!\s)\s+(?=[，。！？；：、”’」』】）》,.;!?])", ""),
    (r"(?<=[（【「『《“‘，。！？；：、])\s+", ""),
    (r" {2,}", " "),
)

_BLOCK = re.compile(rf"[{_OPENING}]([^{_CLOSING}]+)[{_CLOSING}]\s*")
_BLOCKS = re.compile(rf"(^|[{_STOP}]\s*)((?:{_BLOCK.pattern})+)")
_TITLE_START = re.compile(rf"(?:^|[{_STOP}]\s*)《(?!$)")
# What follows a title that stands alone; one inside a sentence keeps its marks.
_TITLE_END = re.compile(rf"\s*(?:$|[{_MARK}{_STOP}，,]|[{_DASH}]{{2}})")
_JOINTS = _rules(
    # Arrows, spelled or drawn.
    (r"(?<!\s)\s*(?:(?:<[-=]+>?|(?<![-=])[-=]+>|[←→↔⇐⇒⇔⟵-⟺↤↦↩↪])\s*)+", "，"),
    (rf"(?<!\s)\s*(?:[{_DASH}]{{2,}}\s*)+", "。"),
)


def _merge_marks(match: re.Match) -> str:
    run = match.group()
    question = "？" if set(run) & set("?？") else ""
    exclamation = "！" if set(run) & set("!！") else ""
    return question + exclamation


_REPEATS = _rules(
    (r"\.{3,}|…{2,}", "。"),
    (r"[。．]{2,}", "。"),
    (r"[，,]{2,}", "，"),
    (r"[!?！？]{2,}", _merge_marks),
)


def normalize_text(text: str) -> str:
    """
    Cleans text for synthesis, in time linear in its length. Applying it to its own result changes nothing, unless brackets or
    links are nested more than eight deep.

    Args:
        text (`str`):
            Text to speak. Control characters, invisible ones and lone surrogates are removed.

    Raises:
        TypeError: `text` is not a string.

    Example:

    ```python
    >>> normalize_text("# News\\n- It works   -> really......")
    'News。It works，really。'
    ```
    """
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {type(text).__name__}.")
    for _ in range(_MAX_PASSES):
        normalized = _normalize_once(text)
        if normalized == text:
            break
        text = normalized
    return text


def _normalize_once(text: str) -> str:
    text = _join_lines(_clean(text))
    text, spans = _protect(text)
    text = _apply(_SPACES, text).strip()
    # Twice: a block can open with a sentence that is a block itself.
    text = _unwrap_titles(_unwrap_blocks(_unwrap_blocks(text)))
    for rules in (_JOINTS, _REPEATS, _SPACES):
        text = _apply(rules, text).strip()
    return re.sub(f"[{_MARK}]", lambda mark: spans[ord(mark.group()) - _FIRST_MARK], text)


def _apply(rules: tuple[Rule, ...], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u3000", " ")
    # Categories C*: control, format (zero width), surrogate, private use, unassigned.
    return "".join(char for char in text if char in "\n\t" or not unicodedata.category(char).startswith("C"))


def _join_lines(text: str) -> str:
    lines = (_LINE_PREFIXES.sub("", line.strip()) for line in _LINK.sub(r"\1 \2", text).splitlines())
    return "。".join(line for line in lines if line)


def _protect(text: str, joints: str = "._/+:-") -> tuple[str, list[str]]:
    """The text with marks for spans that are left as they are, and the spans; paths have one of `joints` somewhere."""
    spans: list[str] = []

    def mark(match: re.Match) -> str:
        if _FIRST_MARK + len(spans) > _LAST_MARK or _NAMES_NOTHING.fullmatch(match[0]):
            return match[0]
        spans.append(match[0])
        return chr(_FIRST_MARK + len(spans) - 1)

    for pattern in _PROTECTED:
        text = pattern.sub(mark, text)
    pieces, done = [], 0
    for path in _paths(text):
        if not set(path[0]) & set(joints):
            continue
        pieces += [text[done : path.start()], mark(path)]
        done = path.end()
    return "".join([*pieces, text[done:]]), spans


def _paths(text: str) -> Iterator[re.Match]:
    for run in _PATH_RUN.finditer(text):
        after_last_letter = run.start() + len(run[0].rstrip(_NO_LETTER))
        start = _PATH_START.search(text, run.start(), after_last_letter)
        path = start and _PATH_NAME.match(text, start.start(), run.end() + 1)
        if path:
            yield path


def _unwrap_blocks(text: str) -> str:
    """Text in brackets at the start of a sentence, as a sentence of its own."""
    head, tail = _split_behind_last(_CLOSING, text)
    return _BLOCKS.sub(lambda blocks: blocks[1] + _BLOCK.sub(r"\1。", blocks[2]), head) + tail


def _unwrap_titles(text: str) -> str:
    """Titles that stand alone, without their marks."""
    pieces, start = [], 0
    while (end := text.find("》", start)) >= 0:
        title = _TITLE_START.search(text, start, end) if _TITLE_END.match(text, end + 1) else None
        opening = end if title is None else title.end() - 1
        pieces += [text[start:opening], text[opening + 1 : end] if title else "》"]
        start = end + 1
    return "".join([*pieces, text[start:]])


def _split_behind_last(brackets: str, text: str) -> tuple[str, str]:
    """Head and tail of a text: in the tail every opening bracket would be followed to the end for a closing one in vain."""
    end = max(text.rfind(bracket) for bracket in brackets) + 1
    end = len(text) - len(text[end:].lstrip())
    return text[:end], text[end:]


class NormalizedText(str):
    """A text that has been normalised: it is spoken as it is."""


# What stands behind the last mark of a sentence.
_CLOSERS = "\"')]}）】》〉」』”’"
_QUOTED = tuple(
    (closing, re.compile(pattern))
    for closing, pattern in (
        ("]", r"\[([^\[\]]+)\]"),
        ("}", r"\{([^{}]+)\}"),
        (_CLOSING, f"[{_OPENING}]([^{_CLOSING}]+)[{_CLOSING}]"),
    )
)


def normalize_sentences(text: str) -> str:
    """
    Cleans text as MOSS-TTS-Nano expects it: as [`normalize_text`] does, but what is in brackets is put into quotes, underscores
    are blanks, and every line ends with a mark. It takes time linear in the length of the text.

    Raises:
        TypeError: `text` is not a string.

    Example:

    ```python
    >>> normalize_sentences("# News\\n- It works   -> [really]......")
    'News。It works，"really"。'
    ```
    """
    if not isinstance(text, str):
        raise TypeError(f"`text` must be a string, got {type(text).__name__}.")
    for _ in range(_MAX_PASSES):
        normalized = _normalize_sentences_once(text)
        if normalized == text:
            break
        text = normalized
    return text


def _normalize_sentences_once(text: str) -> str:
    lines = [_LINE_PREFIXES.sub("", line.strip()) for line in _LINK.sub(r"\1 \2", _clean(text)).splitlines()]
    lines = [line for line in lines if line]
    text = "".join([*map(_ended, lines[:-1]), *lines[-1:]])
    text, spans = _protect(_apply(_JOINTS[:1], text), joints="./+:-")
    text = _apply(_SPACES, text.replace("_", " ")).strip()
    for closing, pattern in _QUOTED:
        head, tail = _split_behind_last(closing, text)
        text = pattern.sub(lambda match: f'"{match[1].strip()}"', head) + tail
    text = _unwrap_titles(text)
    for rules in (_JOINTS, _REPEATS, _SPACES):
        text = _apply(rules, text).strip()
    return _ended(re.sub(f"[{_MARK}]", lambda mark: spans[ord(mark.group()) - _FIRST_MARK], text))


def _ended(text: str) -> str:
    """The text with a mark at its end."""
    bare = text.rstrip().rstrip(_CLOSERS)
    return text if not text or (bare and unicodedata.category(bare[-1]).startswith("P")) else f"{text}。"


_ASIDES = (("]", re.compile(r"\[[^\]]*\]")), ("}", re.compile(r"\{[^}]*\}")))
_CJK_BRACKETS = re.compile("[（）【】〖〗《》〈〉「」『』〔〕]")
_RUN_OF_MARKS = re.compile(r"([，。！？；：、,.!?;:…])[，。！？；：、,.!?;:…]+")


def normalize_description(text: str) -> str:
    """
    Cleans text and instruction as MOSS-VoiceGenerator expects them: line breaks become spaces, `[...]` and `{...}` are left
    out, CJK brackets become "，", and of a run of punctuation the first mark stays.
    """
    text = " ".join(text.splitlines())
    for closing, aside in _ASIDES:
        head, tail = _split_behind_last(closing, text)
        text = aside.sub("", head) + tail
    text = _RUN_OF_MARKS.sub(r"\1", _CJK_BRACKETS.sub("，", text))
    return re.sub(r"\s+", " ", text).strip()


__all__ = ["NormalizedText", "normalize_description", "normalize_sentences", "normalize_text"]
