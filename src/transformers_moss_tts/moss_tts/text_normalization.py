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
"""

import re
import unicodedata
from collections.abc import Callable


# Scripts written without spaces: Han and kana.
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff"
# Protected spans travel as one private-use character each; cleaning has removed any that the text had.
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF
_MARK = f"{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}"
_STOP = "。！？!?；;"
_CLOSING = "）】》〉」』"
_DASH = "—–―-"
_ALNUM = "A-Za-z0-9"
_WORD = f"{_ALNUM}_{_MARK}"
_PATH = f"{_ALNUM}._/+:-"

# Spans in which punctuation is part of a name, most specific first.
_PROTECTED = (
    re.compile(rf"https?://[^\s，。！？；、{_CLOSING}]+"),
    re.compile(rf"(?<![\w.+-])[\w.%+-]+@[{_ALNUM}.-]+\.[A-Za-z]{{2,}}(?![\w.-])", re.ASCII),  # e-mail
    re.compile(rf"(?<![{_WORD}])@\w{{1,32}}", re.ASCII),  # mention
    re.compile(rf"(?<![{_WORD}])[ur]/\w+", re.ASCII),  # Reddit user or community
    re.compile(rf"(?<![{_WORD}])#[^\s#{_MARK}]+"),  # hashtag
    re.compile(rf"(?<![{_WORD}])\.[{_ALNUM}._-]*[{_ALNUM}][._-]*"),  # .env
    # File names, versions and paths: words joined by marks, with a letter somewhere.
    re.compile(rf"(?<![{_WORD}])(?=[{_PATH}]*[A-Za-z])[{_ALNUM}]+(?:[._/+:-]+[{_ALNUM}]+)+(?![{_WORD}])"),
)

_LINE_PREFIXES = tuple(re.compile(p) for p in (r"^#{1,6}\s+", r"^>\s+", r"^[-*+]\s+", r"^\d+[.)]\s+"))
_LATIN_TOKEN = rf"(?:[{_MARK}]|(?=[{_PATH}]*[A-Za-z])[{_ALNUM}][{_PATH}]*)"

Rule = tuple[re.Pattern, str | Callable[[re.Match], str]]


def _rules(*rules: tuple[str, str | Callable[[re.Match], str]]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


_SPACES = _rules(
    (r"[ \t\r\f\v]+", " "),
    (rf"(?<=[{_CJK}])\s+(?=[{_CJK}\d])", ""),
    (rf"(?<=\d)\s+(?=[{_CJK}])", ""),
    (rf"(?<=[{_CJK}])(?={_LATIN_TOKEN})", " "),
    (rf"({_LATIN_TOKEN})(?=[{_CJK}])", r"\1 "),
    (r"\s+(?=[，。！？；：、”’」』】）》])", ""),
    (r"(?<=[（【「『《“‘，。！？；：、])\s+", ""),
    (r"\s+(?=[,.;!?])", ""),
    (r" {2,}", " "),
)

_SENTENCE_START = rf"(^|[{_STOP}]\s*)"
_UNBRACKET = (_SENTENCE_START + r"[【〖『「]([^】〗』」]+)[】〗』」]\s*", r"\1\2。")
_STRUCTURE = _rules(
    # Twice, for blocks that follow one another.
    _UNBRACKET,
    _UNBRACKET,
    # A title that stands alone; one inside a sentence keeps its marks.
    (_SENTENCE_START + rf"《([^》]+)》(?=\s*(?:$|[{_MARK}{_STOP}，,]|[{_DASH}]{{2}}))", r"\1\2"),
    # Arrows, spelled or drawn.
    (r"\s*(?:<?[-=]+>|<[-=]+|[←→↔⇐⇒⇔⟵-⟺↤↦↩↪])\s*", "，"),
    (rf"\s*[{_DASH}]{{2,}}\s*", "。"),
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
    Cleans text for synthesis. Applying it to its own result changes nothing.

    Example:

    ```python
    >>> normalize_text("# News\\n- It works   -> really......")
    'News。It works，really。'
    ```
    """
    # One pass can uncover another's work ("- - x" is a list in a list); few texts need a third.
    for _ in range(len(text) + 2):
        normalized = _normalize_once(text)
        if normalized == text:
            break
        text = normalized
    return text


def _normalize_once(text: str) -> str:
    text = _join_lines(_clean(text))
    text, spans = _protect(text)
    for rules in (_SPACES, _STRUCTURE, _REPEATS, _SPACES):
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
    text = re.sub(r"\[([^\[\]]+?)\]\((https?://[^)\s]+)\)", r"\1 \2", text)
    lines = []
    for line in text.splitlines():
        line = line.strip()
        for prefix in _LINE_PREFIXES:
            line = prefix.sub("", line)
        if line:
            lines.append(line)
    return "。".join(lines)


def _protect(text: str) -> tuple[str, list[str]]:
    spans: list[str] = []

    def mark(match: re.Match) -> str:
        if _FIRST_MARK + len(spans) > _LAST_MARK:
            return match.group()
        spans.append(match.group())
        return chr(_FIRST_MARK + len(spans) - 1)

    for pattern in _PROTECTED:
        text = pattern.sub(mark, text)
    return text, spans


_ASIDES = re.compile(r"\[[^\]]*\]|\{[^}]*\}")
_CJK_BRACKETS = re.compile("[（）【】〖〗《》〈〉「」『』〔〕]")
_RUN_OF_MARKS = re.compile(r"([，。！？；：、,.!?;:…])[，。！？；：、,.!?;:…]+")


def normalize_description(text: str) -> str:
    """
    Cleans text and instruction as MOSS-VoiceGenerator expects them: line breaks become spaces, `[...]` and `{...}` are left
    out, CJK brackets become "，", and of a run of punctuation the first mark stays.
    """
    text = _ASIDES.sub("", " ".join(text.splitlines()))
    text = _RUN_OF_MARKS.sub(r"\1", _CJK_BRACKETS.sub("，", text))
    return re.sub(r"\s+", " ", text).strip()
