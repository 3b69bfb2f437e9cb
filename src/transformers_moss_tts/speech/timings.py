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
"""What is said when: cues of sentences, and their files as subtitles (SRT, WebVTT) and as JSON."""

import html
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..utils.atomic_files import replacing
from .durations import expected_duration
from .journal import Record
from .stretches import Stretch


# Sentences end where it is quietest within so many seconds of where their share of the time ends.
_SLACK, _QUIET_SPAN = 0.6, 0.03
_LINE_WIDTH = 42  # characters


def find_cues(
    sentences: Sequence[str], audio: np.ndarray, sampling_rate: int, language: str | None
) -> list[list[float]]:
    """
    Where the sentences of a stretch are in its audio `(channels, samples)`: their shares of the time are those of reading them,
    moved to the quietest place around.

    Returns:
        Start and end of each, in seconds.
    """
    total = audio.shape[1] / sampling_rate
    shares = np.cumsum([expected_duration(sentence, language) + 1e-6 for sentence in sentences])
    ends = [total * share / shares[-1] for share in shares[:-1]]
    ends = [_quietest(audio, end, sampling_rate) for end in ends]
    bounds = np.maximum.accumulate([0.0, *ends, total]).round(3).tolist()
    return [[start, end] for start, end in itertools.pairwise(bounds)]


def _quietest(audio: np.ndarray, second: float, sampling_rate: int) -> float:
    span = max(1, round(_QUIET_SPAN * sampling_rate))
    first = max(0, round((second - _SLACK) * sampling_rate))
    last = min(audio.shape[1], round((second + _SLACK) * sampling_rate))
    power = np.square(audio[:, first:last], dtype=np.float64).mean(0)
    if len(power) < 2 * span:
        return second
    sums = np.concatenate([[0.0], power.cumsum()])
    return (first + int((sums[span:] - sums[:-span]).argmin()) + span // 2) / sampling_rate


def write_timings(
    path: Path, stretches: Sequence[Stretch], records: Sequence[Record], sampling_rate: int, facts: dict[str, Any]
) -> None:
    """
    Writes what is said when, as the suffix says: `.srt`, `.vtt` or `.json`. The file appears whole or not at all.

    Raises:
        ValueError: for another suffix.
        OSError: if the file cannot be written.
    """
    check_timings(path)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        _WRITERS[path.suffix.lower()](file, stretches, records, sampling_rate, facts)


def check_timings(path: Path) -> None:
    """
    Raises:
        ValueError: for a file that [`write_timings`] cannot write.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"What is said when is written as {', '.join(_WRITERS)}, got {path.name!r}.")
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"{str(path)!r} cannot be written: name a file in a folder that there is.")


def _cues(stretches: Sequence[Stretch], records: Sequence[Record]) -> Iterator[tuple[float, float, str, str | None]]:
    for stretch, record in zip(stretches, records):
        speakers = stretch.speakers or (None,) * len(stretch.sentences)
        for (start, end), sentence, speaker in zip(record.cues, stretch.sentences, speakers):
            yield start, end, sentence, speaker


def _write_srt(file: TextIO, stretches, records, sampling_rate: int, facts: dict[str, Any]) -> None:
    for number, (start, end, text, speaker) in enumerate(_cues(stretches, records), 1):
        said = text if speaker is None else f"{speaker}: {text}"
        file.write(f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{textwrap.fill(said, _LINE_WIDTH)}\n\n")


def _write_vtt(file: TextIO, stretches, records, sampling_rate: int, facts: dict[str, Any]) -> None:
    file.write("WEBVTT\n\n")
    for start, end, text, speaker in _cues(stretches, records):
        said = html.escape(textwrap.fill(text, _LINE_WIDTH), quote=False)
        said = said if speaker is None else f"<v {html.escape(speaker)}>{said}"
        file.write(f"{_clock(start, '.')} --> {_clock(end, '.')}\n{said}\n\n")


def _write_json(file: TextIO, stretches, records, sampling_rate: int, facts: dict[str, Any]) -> None:
    """Stretch by stretch, for the text of a book is held once already."""
    head = json.dumps({"sampling_rate": sampling_rate} | facts, ensure_ascii=False)
    file.write(f'{head[:-1]}, "stretches": [')
    for number, (stretch, record) in enumerate(zip(stretches, records)):
        said = [
            {"start": start, "end": end, "speaker": speaker, "text": text}
            for start, end, text, speaker in _cues([stretch], [record])
        ]
        item = {
            "start": round(record.start / sampling_rate, 3),
            "end": round(record.end / sampling_rate, 3),
            "sentences": said,
            "take": record.take,
            "fault": record.fault,
            "similarity": record.similarity,
            "is_anchor": record.is_anchor,
        }
        file.write(f"{',' * bool(number)}\n{json.dumps(item, ensure_ascii=False)}")
    file.write("\n]}\n")


_WRITERS: dict[str, Callable[..., None]] = {".srt": _write_srt, ".vtt": _write_vtt, ".json": _write_json}


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


__all__ = ["check_timings", "find_cues", "write_timings"]
