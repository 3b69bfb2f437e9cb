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
"""Data sets of utterances, as they are published and as files of one's own."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...utils.text_files import read_text


AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
# Characters of ids that are safe in the name of a file on every system.
_UNSAFE = re.compile(r"[^\w.-]+")
# Fields of a line of meta.lst: the fifth is a recording of the text, where there is one.
_META_FIELDS = ("id", "reference_text", "reference", "text", "recording")


@dataclass(frozen=True)
class Utterance:
    """
    Something to say.

    Args:
        id (`str`): name, unique in its data set, also of the audio file.
        text (`str`, *optional*): text to say. Recordings for a codec may have none.
        reference (`Path`, *optional*): recording of the voice to clone, or to continue.
        reference_text (`str`, *optional*): text of `reference`.
        recording (`Path`, *optional*): recording of `text` itself.
        speaker (`str`, *optional*): name of who speaks in `recording`.
    """

    id: str
    text: str | None = None
    reference: Path | None = None
    reference_text: str | None = None
    recording: Path | None = None
    speaker: str | None = None


def read_utterances(path: str | Path) -> list[Utterance]:
    r"""
    Reads a data set.

    Args:
        path (`str` or `Path`):
            - `*.lst`: the layout of Seed-TTS-eval, a line each `id|prompt text|prompt wav|text`, in some lists with a fifth
              field, a recording of the text;
            - `*.txt`: a sentence a line;
            - `*.jsonl`: an object a line with `text`, and optionally `id`, `reference`, `reference_text`, `audio` (a
              recording of the text) and `speaker`. A line with `audio` and `speaker` but no `reference` gets the next
              recording of the speaker;
            - an audio file, or a folder of them.

            Paths in a file are relative to its folder.

    Raises:
        ValueError: if there is no such file, a line cannot be read, an id comes twice, a recording is missing, or there is
            nothing in it.
    """
    if not isinstance(path, str | Path):
        raise TypeError(f"The data must be a path, got {path!r:.80}.")
    path = Path(path)
    if path.is_dir():
        utterances = _of_recordings(path, sorted(file for file in path.rglob("*") if is_audio(file)))
    elif not path.is_file():
        raise ValueError(f"There is no data at {str(path)!r}: give a .lst, .txt, .jsonl or audio file, or a folder.")
    elif is_audio(path):
        utterances = _of_recordings(path.parent, [path])
    elif path.suffix in _READERS:
        utterances = _READERS[path.suffix](path)
    else:
        raise ValueError(
            f"{str(path)!r} is no data set that can be read: its suffix must be one of {', '.join(_READERS)}, or of audio."
        )
    if not utterances:
        raise ValueError(f"{str(path)!r} is empty: there is nothing to evaluate.")
    check_utterances(utterances)
    return utterances


def check_utterances(utterances: list[Utterance]) -> None:
    """
    Raises:
        ValueError: if there are none, an id comes twice or cannot name a file, or a recording is missing.
    """
    if not utterances:
        raise ValueError("The suite is empty: there is nothing to evaluate.")
    twice = [name for name, count in Counter(utterance.id for utterance in utterances).items() if count > 1]
    if twice:
        raise ValueError(f"Ids must be unique: {twice[0]!r} comes more than once ({len(twice)} such ids).")
    if unsafe := [utterance.id for utterance in utterances if _safe(utterance.id) != utterance.id]:
        raise ValueError(f"An id names files and must be of letters, digits, '_', '-' and '.', got {unsafe[0]!r}.")
    recordings = {path for item in utterances for path in (item.reference, item.recording) if path is not None}
    missing = sorted(str(path) for path in recordings if not path.is_file())
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(recordings)} recordings are missing, the first is {missing[0]!r}. Paths are relative "
            "to the folder of the data."
        )


def is_audio(path: Path) -> bool:
    """Whether a file is named as audio is."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def by_speaker(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances that have a recording and say whose, by speaker."""
    groups = defaultdict(list)
    for utterance in utterances:
        if utterance.speaker is not None and utterance.recording is not None:
            groups[utterance.speaker].append(utterance)
    return dict(groups)


def _read_meta(path: Path) -> list[Utterance]:
    utterances = []
    for number, line in _lines(path):
        fields = line.split("|")
        if len(fields) not in (4, 5):
            raise ValueError(
                f"Line {number} of {str(path)!r} must be `id|prompt text|prompt wav|text`, got {len(fields)} field(s): "
                f"{line!r}."
            )
        named = dict(zip(_META_FIELDS, map(str.strip, fields)))
        utterances.append(_utterance(path.parent, named | {"id": named["id"].removesuffix(".wav")}))
    return utterances


def _read_sentences(path: Path) -> list[Utterance]:
    return [Utterance(f"{number:04d}", line) for number, line in _lines(path)]


def _read_table(path: Path) -> list[Utterance]:
    utterances = []
    for number, line in _lines(path):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Line {number} of {str(path)!r} is no JSON: {error}.") from error
        if not isinstance(fields, dict) or not (fields.get("text") or fields.get("audio")):
            raise ValueError(f"Line {number} of {str(path)!r} must be an object with `text` or `audio`, got {line!r}.")
        for key in ("id", "audio", "reference"):
            if not isinstance(fields.get(key), str | int | None) or (key != "id" and isinstance(fields.get(key), int)):
                raise ValueError(f"Line {number} of {str(path)!r}: `{key}` must be a string, got {fields[key]!r:.80}.")
        audio = fields.get("audio")
        name = fields.get("id") or (Path(audio).with_suffix("") if audio else f"{number:04d}")
        fields |= {"recording": audio, "id": str(name)}
        utterances.append(_utterance(path.parent, fields))
    return _with_references(utterances)


def _of_recordings(folder: Path, files: list[Path]) -> list[Utterance]:
    return [Utterance(_safe(str(file.relative_to(folder).with_suffix(""))), recording=file) for file in files]


_READERS = {".lst": _read_meta, ".txt": _read_sentences, ".jsonl": _read_table}


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = read_text(path).split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _utterance(folder: Path, fields: dict) -> Utterance:
    paths = {name: folder / fields[name] for name in ("reference", "recording") if fields.get(name)}
    texts: dict[str, Any] = {
        name: str(fields[name]) for name in ("text", "reference_text", "speaker") if fields.get(name)
    }
    return Utterance(_safe(fields["id"]), **texts, **paths)


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip("._") or "_"


def _with_references(utterances: list[Utterance]) -> list[Utterance]:
    """Utterances, of which those without a reference get the next recording of their speaker."""
    others: dict[str, Utterance] = {}
    for group in by_speaker(utterances).values():
        if len(group) > 1:
            others |= {item.id: other for item, other in zip(group, group[1:] + group[:1])}
    return [
        replace(item, reference=others[item.id].recording, reference_text=others[item.id].text)
        if item.reference is None and item.id in others
        else item
        for item in utterances
    ]


__all__ = ["Utterance", "read_utterances"]
