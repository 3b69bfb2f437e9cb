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
"""Whether words and voice stay right along one long recording."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...utils.checks import check_number
from ..harness import published
from ..harness.metrics import NONE, Metric, Record, Table, grouped, metric_table
from ..harness.plots import draw_drift
from ..harness.scoring import Scorers
from ..harness.statistics import estimate_slope
from ..harness.synthesis import Speech, Synthesizer, Task
from ..harness.utterances import Utterance, read_utterances
from ..measures.joins import measure_joins
from ..measures.text_errors import align, rate_name, units_of
from ..scorers import RATE, SpeakerBaselines
from .base import LONG_MODES, MODES, SIM, SpokenSuite, published_rows, save_speech


# Windows end where it is quietest within so many seconds, so that fewer words are cut.
_SLACK = 2.0
_QUIET_SPAN = 0.05  # seconds


@dataclass
class LongForm(SpokenSuite):
    """
    One long text: errors of the words and likeness of the voice to the reference's, in windows along the recording, and the
    slope of both a minute. The lines of a text file are one text; other data has a text each.

    Args:
        modes (`list[str]`, *optional*):
            "clone" and "continuation" generate the whole text at once; "long-clone", "long-continuation" and "long-anchored" say it
            piece by piece, as the modes of [`~transformers_moss_tts.speech.speak_long`]. All by default, the continuation where the
            reference's text is known; where there is a recording of the text, the first two.
        stretch_seconds (`float`, *optional*, defaults to 12.0):
            Of the modes that say it piece by piece: how long reading a piece may take, in seconds.
        window (`float`, *optional*, defaults to 20.0):
            Seconds of a window; the last one may have half as many more. Whisper hears 30 at once.
    """

    modes: list[str] | None = None
    stretch_seconds: float = 12.0
    window: float = 20.0

    allowed_modes: ClassVar[tuple[str, ...]] = (*MODES, *LONG_MODES)

    name: ClassVar[str] = "long-form"
    scorer_kinds: ClassVar[tuple[str, ...]] = ("asr", "speaker")
    takes_recordings: ClassVar[bool] = True

    def utterances(self) -> list[Utterance]:
        if isinstance(self.data, list) or Path(self.data).suffix != ".txt":
            return super().utterances()
        text = " ".join(line.text or "" for line in read_utterances(self.data))
        return replace(self, data=[Utterance(Path(self.data).stem, text)], count=None).utterances()

    def tasks(self) -> list[Task]:
        check_number("window", self.window, math.nextafter(2 * _SLACK, math.inf), unit="seconds")
        return [
            self.task(item, mode, mode, seed=self.seed + number)
            for number, item in enumerate(self.utterances())
            for mode in self.modes or self._modes_of(item)
        ]

    def _modes_of(self, item: Utterance) -> list[str]:
        whole = ["clone", "continuation"] if item.reference_text else ["clone"]
        return whole if item.recording is not None else [*whole, *LONG_MODES]

    def produce(self, tasks: list[Task], source: Any) -> list[Any]:
        if tasks[0].mode not in LONG_MODES or not isinstance(source, Synthesizer):
            return source.speak(tasks)
        return [source.speak_long(task, self.stretch_seconds) for task in tasks]

    def metrics(self) -> tuple[Metric, ...]:
        rate = rate_name(self.language)
        return Metric("errors", f"{rate} %", per="words", scale=100, lower_is_better=True), SIM

    def score(self, task: Task, product: Speech, scorers: Scorers, folder: Path) -> list[Record]:
        waveform = product.for_scorers()
        spans = split_windows(waveform, self.window)
        words, missing = self._score_words(task, [waveform[start:end] for start, end in spans], scorers)
        common = {
            "task": task.id,
            "group": task.group,
            "mode": task.mode,
            "reference": str(task.utterance.reference),
            "audio": save_speech(product, task.id, folder),
            "characters": len(task.utterance.text or ""),
            "recording_seconds": round(product.seconds, 3),
            "reached_limit": product.reached_limit,
            "missing_at_end": missing,
            "seed": task.seed,
        }
        joins = self._joins(product)
        return [
            common
            | {"joins": [] if number else joins}
            | {"id": f"{task.id}-w{number:03d}", "start": round(start / RATE, 3), "end": round(end / RATE, 3)}
            | heard
            | scorers.voice(waveform[start:end], task.utterance.reference)
            for number, ((start, end), heard) in enumerate(zip(spans, words))
        ]

    def _joins(self, product: Speech) -> list[Record]:
        if not product.joins:
            return []
        mono = product.waveform if product.waveform.ndim == 1 else product.waveform.mean(0)
        return measure_joins(mono, product.sampling_rate, product.joins)

    def _score_words(self, task: Task, windows: list[np.ndarray], scorers: Scorers) -> tuple[list[Record], int | None]:
        """Transcript and errors of each window, and the number of words that are missing at the end."""
        if not scorers.has("asr"):
            return [{} for _ in windows], None
        heard = [scorers.hear(window) for window in windows]
        said = units_of(task.utterance.text or "", self.language)
        counts, missing = align(said, [units_of(text, self.language) for text in heard])
        scores = [
            {"heard": text, "errors": errors, "words": units, "wer": errors / units if units else None}
            for text, (errors, units) in zip(heard, counts)
        ]
        return scores, missing

    def tables(self, records: list[Record]) -> list[Table]:
        groups = grouped(records)
        characters = max(record["characters"] for record in records)
        others = [item for item in published.LONG_FORM if item.key[0] == self.language]
        notes = [
            f"n: windows of {self.window:g} s. {self.metrics()[0].label} is of all words together, SIM the mean of the "
            f"windows' cosines to the reference. The longest text has {characters} characters.",
        ]
        if others:
            notes.append(f"In italics: {published.LONG_FORM_SOURCE}; its SIM is of whole recordings.")
        # Here errors are over all words of the windows.
        labelled = [
            replace(item, label=f"{item.label}, {item.key[1]}", values=item.values | {"errors": item.values["wer"]})
            for item in others
        ]
        means = metric_table(
            "Words and voice", self.metrics(), groups, published_rows(labelled, self.metrics()), notes
        )
        joined = {name: join for name, group in groups.items() if (join := [j for r in group for j in r["joins"]])}
        return [means, self._drift(groups), *([_join_table(joined)] if joined else [])]

    def _drift(self, groups: dict[str, list[Record]]) -> Table:
        rows = []
        for name, group in groups.items():
            recordings = {record["task"]: record for record in group}.values()
            row = [name, f"{sum(record['recording_seconds'] for record in recordings) / 60:.2f}"]
            for key in ("wer", "sim"):
                points = [(_middle(item) / 60, item[key]) for item in group if item.get(key) is not None]
                slope = estimate_slope(*zip(*points)) if len(points) > 2 else None
                metric = Metric(key, "", scale=100 if key == "wer" else 1, digits=2 if key == "wer" else 4)
                row.append(metric.format(slope))
            missing = [item["missing_at_end"] for item in recordings if item["missing_at_end"] is not None]
            row.append(str(sum(missing)) if missing else NONE)
            row.append(str(sum(bool(item["reached_limit"]) for item in recordings)))
            rows.append(row)
        rate = rate_name(self.language)
        columns = ["", "minutes", f"{rate} % a minute", "SIM a minute", "words missing at the end", "not ended"]
        return Table("Drift", columns, rows, ["Slopes of the lines of least squares through the windows."])

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        draw_drift(grouped(records), rate_name(self.language), baselines, folder / "drift.png")
        return [("drift.png", "Words and voice along the recording")]


def _join_table(groups: dict[str, list[Record]]) -> Table:
    rows = []
    for name, joins in groups.items():
        clicks = [join["click"] > 1 for join in joins if join["click"] is not None]
        row = [name, str(len(joins)), f"{sum(clicks)} of {len(clicks)}"]
        for key, digits in (("loudness_jump", 1), ("pitch_jump", 1)):
            metric = Metric(key, "", digits=digits)
            row.append(metric.format(metric.estimate(joins)))
        rows.append(row)
    notes = [
        "A click is a step between samples at a cut that is larger than any within 1.5 s around it. Jumps: mean difference of the "
        "level, and of the median F0, of the 1.5 s before and after."
    ]
    return Table("Joins", ["", "joins", "clicks", "loudness, dB", "pitch, semitones"], rows, notes)


def split_windows(waveform: np.ndarray, seconds: float) -> list[tuple[int, int]]:
    """Spans of about so many seconds of a waveform `(samples,)` at 16 kHz; a rest of less than half joins the last."""
    from scipy.ndimage import uniform_filter1d

    if len(waveform) <= 1.5 * seconds * RATE:
        return [(0, len(waveform))]
    size, slack, quiet = (round(value * RATE) for value in (seconds, _SLACK, _QUIET_SPAN))
    power = uniform_filter1d(np.square(waveform, dtype=np.float64), quiet)
    ends, start = [], 0
    while len(waveform) - start > 1.5 * size:
        around = start + size - slack
        start = around + int(power[around : start + size + slack].argmin())
        ends.append(start)
    ends.append(len(waveform))
    return list(zip([0, *ends[:-1]], ends))


def _middle(record: Record) -> float:
    return (record["start"] + record["end"]) / 2


__all__ = ["LongForm"]
