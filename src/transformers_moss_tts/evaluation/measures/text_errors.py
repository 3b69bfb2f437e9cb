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
"""Word and character errors of a transcript."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers.models.whisper.tokenization_whisper import LANGUAGES


# Written without spaces between words: their errors are counted in characters, as Whisper (arXiv 2212.04356) does.
CHARACTER_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
# A transcript that lacks so many units at its end is of speech that was cut.
CUT_UNITS = 2


@dataclass(frozen=True)
class TextErrors:
    """
    Errors of a transcript, in words or characters.

    Args:
        units (`int`): number of words or characters of the text.
        errors (`int`): number of substitutions, deletions and insertions.
        missing_at_end (`int`): number of those at the end of the text that are missing.
    """

    units: int
    errors: int
    missing_at_end: int

    @property
    def rate(self) -> float:
        """Errors over units; above 1 where more was heard than said."""
        return self.errors / self.units

    @property
    def is_cut(self) -> bool:
        """Whether the end of the text is missing."""
        return self.missing_at_end >= min(CUT_UNITS, self.units)


def language_name(language: str) -> str:
    """
    English name of a language, as the family's prompts have it ("English", "Chinese").

    Args:
        language (`str`): code as Whisper knows it, for example "en" or "zh".

    Raises:
        ValueError: for a code that Whisper does not know.
    """
    if language not in LANGUAGES:
        raise ValueError(f"`language` must be a code such as 'en' or 'zh', got {language!r}.")
    return LANGUAGES[language].title()


def counts_characters(language: str) -> bool:
    """Whether errors of a language are counted in characters (CER) and not in words (WER)."""
    return language in CHARACTER_LANGUAGES


def rate_name(language: str) -> str:
    return "CER" if counts_characters(language) else "WER"


def units_of(text: str, language: str) -> list[str]:
    """
    Words or characters of a text as they are compared: normalised as Whisper's authors do it (package whisper-normalizer),
    Chinese in simplified characters (package OpenCC).
    """
    # Of an ellipsis it leaves a dot.
    return [unit for unit in _normalizer(language)(text).split() if any(map(str.isalnum, unit))]


def count_errors(text: str, heard: str, language: str) -> TextErrors:
    """
    Compares a text with a transcript of it.

    Raises:
        ValueError: if nothing of the text is left after normalisation.
    """
    ((errors, units),), missing = align(units_of(text, language), [units_of(heard, language)])
    return TextErrors(units, errors, missing)


def align(said: Sequence[str], heard: Sequence[Sequence[str]]) -> tuple[list[tuple[int, int]], int]:
    """
    Aligns the units of a text with those heard in the pieces of a recording, one after the other.

    Returns:
        Errors and units of the text in each piece, and how many of the text's last units are missing. What was not heard
        counts where the next unit was heard, or the last.

    Raises:
        ValueError: if the text has no units.
    """
    import jiwer

    if not said:
        raise ValueError("There is nothing to compare with: no words are left of the text after normalisation.")
    piece_of = [index for index, piece in enumerate(heard) for _ in piece]
    errors, units = [0] * len(heard), [0] * len(heard)
    flat = [unit for piece in heard for unit in piece]
    chunks = jiwer.process_words(" ".join(said), " ".join(flat)).alignments[0]
    for chunk in chunks:
        for offset in range(max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)):
            position = chunk.hyp_start_idx + (0 if chunk.type == "delete" else offset)
            piece = piece_of[min(position, len(flat) - 1)] if flat else 0
            errors[piece] += chunk.type != "equal"
            units[piece] += chunk.type != "insert"
    last = chunks[-1]
    missing = last.ref_end_idx - last.ref_start_idx if last.type == "delete" else 0
    return list(zip(errors, units)), missing


@functools.cache
def _normalizer(language: str) -> Callable[[str], str]:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    if language == "en":
        return EnglishTextNormalizer()
    normalize = BasicTextNormalizer(split_letters=counts_characters(language))
    if language != "zh":
        return normalize
    import opencc

    simplify = opencc.OpenCC("t2s").convert
    return lambda text: normalize(simplify(text))


__all__ = ["TextErrors", "count_errors", "language_name", "rate_name", "units_of"]
