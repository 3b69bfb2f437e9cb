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
"""How long a text takes to say: bounds, not a prediction."""

import re
import unicodedata


# Characters a second of reading aloud. Mandarin says 5.2 syllables a second and Japanese 7.8 morae (Pellegrino, Coupé and Marsico,
# Language 87, 2011), a character or a kana each; a Chinese character has two morae in Japanese. Of letters, 1,500 English sentences of
# the corpus of the bundled models have 15.1 a second, pauses at marks apart.
_HAN, _HAN_OF_JAPANESE, _KANA, _HANGUL, _LETTERS, _DIGITS = 5.2, 3.9, 7.8, 5.2, 15.1, 3.0
_PAUSE = 0.5  # seconds at a mark
_MARKS = re.compile(r"[.,;:!?…]+(?![.,;:!?…\w])|[。，、；：！？؟،।॥]+")
# Of tags such as [S1] nothing is said.
_TAG = re.compile(r"\[[^\[\]]{1,40}\]")


def expected_duration(text: str, language: str | None = None) -> float:
    """
    Seconds that reading a text aloud takes, as a rule within a factor of two: characters over the rate of their script, and a
    pause at every mark.

    Args:
        text (`str`): what is said.
        language (`str`, *optional*): name of the language; Chinese characters are read at another rate in Japanese, which
            kana give away too.
    """
    text = _TAG.sub(" ", text)
    counts = {"han": 0, "kana": 0, "hangul": 0, "digit": 0, "letter": 0}
    for character in text:
        if kind := _kind_of(character):
            counts[kind] += 1
    is_japanese = counts["kana"] > 0 or (language or "").lower() in ("japanese", "ja")
    rates = {
        "han": _HAN_OF_JAPANESE if is_japanese else _HAN,
        "kana": _KANA,
        "hangul": _HANGUL,
        "digit": _DIGITS,
        "letter": _LETTERS,
    }
    pauses = _PAUSE * sum(1 for _ in _MARKS.finditer(text))
    return pauses + sum(count / rates[kind] for kind, count in counts.items())


def _kind_of(character: str) -> str | None:
    if "\u3040" <= character <= "\u30ff" or "\u31f0" <= character <= "\u31ff":
        return "kana"
    if "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000":
        return "han"
    if "\uac00" <= character <= "\ud7a3":
        return "hangul"
    category = unicodedata.category(character)
    if category == "Nd":
        return "digit"
    # Vowel signs of the scripts of India are letters of their own.
    return "letter" if category.startswith("L") or category == "Mc" else None


__all__ = ["expected_duration"]
