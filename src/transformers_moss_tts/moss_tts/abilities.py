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
"""What a generator was taught, and errors that say what it cannot do."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


_SPEAKER = re.compile(r"\[S[1-9]\d?\]")
# Scripts of the languages that the family was released for and some more, by the first word of Unicode's names of their letters.
_SCRIPTS = {
    "ARABIC": ("Arabic", "Persian", "Urdu"),
    "CJK": ("Cantonese", "Chinese", "Japanese", "Mandarin"),
    "CYRILLIC": ("Bulgarian", "Russian", "Serbian", "Ukrainian"),
    "DEVANAGARI": ("Hindi", "Marathi", "Nepali"),
    "GREEK": ("Greek",),
    "HANGUL": ("Korean",),
    "HEBREW": ("Hebrew",),
    "HIRAGANA": ("Japanese",),
    "KATAKANA": ("Japanese",),
    "THAI": ("Thai",),
    "LATIN": (
        *("Catalan", "Croatian", "Czech", "Danish", "Dutch", "English", "Finnish", "French", "German", "Hungarian"),
        *("Indonesian", "Italian", "Malay", "Norwegian", "Polish", "Portuguese", "Romanian", "Slovak", "Spanish"),
        *("Swedish", "Turkish", "Vietnamese"),
    ),
}
_NAMES = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
_KNOWN = {language for languages in _SCRIPTS.values() for language in languages}


@dataclass(frozen=True)
class Abilities:
    """
    What a generator can be asked for. `None` and the defaults are those of a model that says nothing, of which everything may be
    asked.

    Args:
        languages (`tuple[str, ...]`, *optional*):
            Names of all languages that the model speaks, such as "English".
        max_speakers (`int`, *optional*):
            Largest number of speakers in one text; 1 for a model that knows no dialogue.
        clones_voices (`bool`, *optional*, defaults to `True`):
            Whether the model speaks in the voice of a reference.

    Raises:
        TypeError, ValueError: for values of another kind.
    """

    languages: tuple[str, ...] | None = None
    max_speakers: int | None = None
    clones_voices: bool = True

    def __post_init__(self):
        languages = self.languages
        if languages is not None:
            if isinstance(languages, str) or not all(isinstance(name, str) and name for name in languages):
                raise TypeError(f"`languages` must be a list of names such as 'English', got {languages!r}.")
            object.__setattr__(self, "languages", tuple(languages))
        is_number = isinstance(self.max_speakers, int) and not isinstance(self.max_speakers, bool)
        if self.max_speakers is not None and (not is_number or self.max_speakers < 1):
            raise ValueError(f"`max_speakers` must be a number of at least 1, got {self.max_speakers!r}.")
        if not isinstance(self.clones_voices, bool):
            raise TypeError(f"`clones_voices` must be True or False, got {self.clones_voices!r}.")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Abilities":
        """Those among other fields, as of processor_config.json."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: settings[name] for name in names if settings.get(name) is not None})

    def to_dict(self) -> dict[str, Any]:
        """The fields that say something."""
        said = {name: value for name, value in asdict(self).items() if value != getattr(Abilities, name)}
        return said | ({"languages": list(said["languages"])} if "languages" in said else {})

    def check(self, model: str, text: str | None, language: str | None, num_references: int) -> None:
        """
        Checks what a model is asked for.

        Args:
            model (`str`): name of the model, the subject of the errors.
            text (`str`, *optional*): text to say.
            language (`str`, *optional*): name of the language.
            num_references (`int`): number of recordings of voices.

        Raises:
            ValueError: if the model was taught nothing of the kind.
        """
        if num_references and not self.clones_voices:
            raise ValueError(f"{model} clones no voices: leave the reference out.")
        self._check_speakers(model, text or "", num_references)
        if self.languages is None:
            return
        spoken = f"{model} speaks {_listed(self.languages)}"
        if language is not None and language.lower() not in {name.lower() for name in self.languages}:
            raise ValueError(f"{spoken}, not {language!r}: choose a model of that language, or leave it out.")
        if script := self._foreign_script(text or ""):
            raise ValueError(f"{spoken}, and the text is in {script} letters: choose a model that reads them.")

    def _check_speakers(self, model: str, text: str, num_references: int) -> None:
        num_speakers = max(num_references, len(set(_SPEAKER.findall(text))))
        if self.max_speakers is None or (num_speakers <= self.max_speakers and not self._is_marked_alone(text)):
            return
        if self.max_speakers == 1:
            raise ValueError(
                f"{model} knows no dialogue: it speaks with one voice. Speak what each speaker says by itself, without [S1] and "
                "[S2] and with one reference, or choose a model such as MOSS-TTSD."
            )
        raise ValueError(f"{model} knows dialogues of {self.max_speakers} speakers, got {num_speakers}.")

    def _is_marked_alone(self, text: str) -> bool:
        """Whether a model of one speaker would read the mark of a speaker aloud."""
        return self.max_speakers == 1 and _SPEAKER.search(text) is not None

    def _foreign_script(self, text: str) -> str | None:
        """The script of most letters of a text, if none of the languages is written in it."""
        if self.languages is None or not set(self.languages) <= _KNOWN:
            return None
        counts = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
        if not counts:
            return None
        script, count = counts.most_common(1)[0]
        is_known = bool(set(_SCRIPTS.get(script, ())) & set(self.languages))
        return None if is_known or 2 * count <= counts.total() else _NAMES.get(script, script.capitalize())


def _listed(languages: tuple[str, ...]) -> str:
    if len(languages) == 1:
        return f"{languages[0]} alone"
    return f"{', '.join(languages[:-1])} and {languages[-1]}"


__all__ = ["Abilities"]
