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
"""Dialogues: a script and the voices of its speakers, as the conversation that the models know."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from .messages import Audio
from .voice import as_voice


SPEAKER = re.compile(r"\[S([1-9]\d?)\]")

# A recording of a speaker, or the recording and what it says.
VoiceOfSpeaker = Audio | tuple[Audio, str]


class Dialogue(NamedTuple):
    """
    A script as the fields of a prompt.

    Attributes:
        text (`str`): the script, behind what the recordings say.
        reference (`list`, *optional*): a recording or `None` for each speaker.
        beginning (`list`, *optional*): the recordings whose words the text begins with, which the reply goes on from.
    """

    text: str
    reference: list[Audio | None] | None
    beginning: list[Audio] | None


def read_dialogue(
    script: str, voices: Mapping[str, VoiceOfSpeaker | None] | list[VoiceOfSpeaker | None] | None
) -> Dialogue:
    """
    Puts together a script, with `[S1]`, `[S2]`, ... before what each speaker says, and the speakers' voices: by speaker
    (`{"S1": ...}`) or in their order, each a recording or a pair of a recording and its words, or a voice that is kept, or
    `None`. The words of voices that are kept count where there are words for all.

    Raises:
        TypeError: if the script is no string or the voices are neither.
        ValueError: if the script names no speaker, a voice is of a speaker that it does not name, or only some recordings come
            with their words.
    """
    if not isinstance(script, str):
        raise TypeError(f"`script` must be a string, one dialogue, got {type(script).__name__}.")
    speakers = {int(number) for number in SPEAKER.findall(script)}
    if not speakers:
        raise ValueError("`script` names no speaker: put [S1], [S2], ... before what each of them says.")
    given = _by_number(voices)
    if unknown := sorted(given.keys() - speakers):
        raise ValueError(f"`voices` has one of S{unknown[0]}, who says nothing in `script`.")
    given = _with_kept_words(given)
    recordings, words = {}, {}
    for number, voice in sorted(given.items()):
        recordings[number], words[number] = voice if has_words(voice) else (voice, None)
    if not recordings:
        return Dialogue(script, None, None)
    reference = [recordings.get(number) for number in range(1, max(speakers) + 1)]
    silent = [f"S{number}" for number, said in words.items() if not said]
    if len(silent) == len(words):
        return Dialogue(script, reference, None)
    if silent:
        raise ValueError(
            f"The words of the recording of {', '.join(silent)} are missing: give them for all, to go on from the recordings, or "
            "for none, to clone the voices alone."
        )
    said = [_with_speaker(number, text.strip()) for number, text in words.items()]
    return Dialogue(" ".join([*said, script]), reference, list(recordings.values()))


def _with_speaker(number: int, text: str) -> str:
    return text if text.startswith(f"[S{number}]") else f"[S{number}] {text}"


def _by_number(voices: Mapping[str, VoiceOfSpeaker | None] | list | None) -> dict[int, VoiceOfSpeaker]:
    if voices is None:
        return {}
    if isinstance(voices, list):
        voices = {f"S{number}": voice for number, voice in enumerate(voices, 1)}
    if not isinstance(voices, Mapping):
        raise TypeError(
            f"`voices` must be a list or a dict by speaker, such as {{'S1': recording}}, got {type(voices).__name__}."
        )
    numbers = {}
    for speaker, voice in voices.items():
        match = SPEAKER.fullmatch(f"[{str(speaker).strip('[]')}]")
        if match is None:
            raise ValueError(f"`voices` are of speakers such as 'S1', got {speaker!r}.")
        if voice is not None:
            numbers[int(match.group(1))] = voice
    return numbers


def has_words(voice: VoiceOfSpeaker) -> bool:
    """Whether a voice is a pair of a recording and what it says."""
    return isinstance(voice, tuple) and len(voice) == 2 and isinstance(voice[1], str)


def _with_kept_words(voices: dict[int, VoiceOfSpeaker]) -> dict[int, VoiceOfSpeaker]:
    """The voices; those that are kept with their words, if so all of them have words."""
    kept = {number: None if has_words(voice) else as_voice(voice) for number, voice in voices.items()}
    kept = {number: voice for number, voice in kept.items() if voice is not None}
    has_all_words = all(voice.text for voice in kept.values()) and all(
        has_words(voice) for number, voice in voices.items() if number not in kept
    )
    return voices | {number: (voice, voice.text) if has_all_words else voice for number, voice in kept.items()}
