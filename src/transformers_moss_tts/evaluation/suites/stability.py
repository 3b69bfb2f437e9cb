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
"""Stability of a generator over many samples of a text: runaways, cuts, and the spread of its errors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...utils.checks import check_number
from ..harness.metrics import Metric, Record, Table, grouped, metric_table
from ..harness.plots import draw_stability
from ..harness.scoring import Scorers
from ..harness.synthesis import STOPPED_BY, Speech, Task
from ..measures.text_errors import CUT_UNITS
from ..scorers import SpeakerBaselines
from .base import MOS, SIM, SpokenSuite


# Samples of a text; more would tell nothing.
_MOST_TAKES = 10_000


# The group of what was said with guards, and what its records are called.
_WITH_GUARDS, _GUARDED = "with guards", "-guarded"


@dataclass
class Stability(SpokenSuite):
    """
    Stability over samples: every text is spoken many times.

    Args:
        takes (`int`, *optional*, defaults to 20):
            Number of samples of each text. Each batch has a seed of its own.
        guards (`bool`, *optional*, defaults to `False`):
            Whether every sample in which a guard would act is said again with guards and further takes, for a table of both.
    """

    takes: int = 20
    guards: bool = False

    name: ClassVar[str] = "stability"
    scorer_kinds: ClassVar[tuple[str, ...]] = ("asr", "speaker", "mos")

    def tasks(self) -> list[Task]:
        check_number("takes", self.takes, 1, _MOST_TAKES, is_whole=True)
        tasks = []
        for item in self.utterances():
            mode = "plain" if item.reference is None else "clone"
            tasks += [
                self.task(item, mode, item.id, seed=self.seed + take, named={"take": f"{take:03d}"})
                for take in range(self.takes)
            ]
        return sorted(tasks, key=lambda task: task.mode)

    def metrics(self) -> tuple[Metric, ...]:
        cut = Metric("is_cut", "cut %", scale=100, digits=1, lower_is_better=True)
        return (*self.error_metrics(), cut, Metric("seconds", "seconds"), SIM, MOS)

    def produce(self, tasks: list[Task], source: Any) -> list[Any]:
        if not self.guards:
            return source.speak(tasks)
        found = source.find_faults(tasks)
        return [
            (speech, speech if speech.fault is None else source.speak_guarded(task))
            for task, speech in zip(tasks, found)
        ]

    def score(self, task: Task, product: Any, scorers: Scorers, folder: Path) -> list[Record]:
        if not self.guards:
            return [self._score(task, product, scorers, folder)]
        speech, guarded = product
        record = self._score(task, speech, scorers, folder)
        again = record
        if guarded is not speech:
            again = self._score(replace(task, id=f"{task.id}{_GUARDED}"), guarded, scorers, folder)
        return [record, again | {"id": f"{task.id}{_GUARDED}", "task": task.id, "group": _WITH_GUARDS}]

    def _score(self, task: Task, speech: Speech, scorers: Scorers, folder: Path) -> Record:
        record = self.score_speech(task, speech, scorers, folder)
        if self.guards:
            record |= {
                "fault": speech.fault,
                "is_runaway": speech.fault in STOPPED_BY,
                "is_empty": speech.fault == "empty",
                "is_short": speech.fault == "shortest",
            }
        # What never ended did not end too soon.
        is_cut = {"is_cut": bool(record["is_cut"] and not speech.reached_limit)} if "is_cut" in record else {}
        return record | is_cut

    def tables(self, records: list[Record]) -> list[Table]:
        guarded = [record for record in records if record["group"] == _WITH_GUARDS]
        records = [record for record in records if record["group"] != _WITH_GUARDS]
        return [*self._sample_tables(records), *([self._guard_table(records, guarded)] if guarded else [])]

    def _guard_table(self, records: list[Record], guarded: list[Record]) -> Table:
        shares = [
            ("is_runaway", "runaway %"),
            ("is_empty", "empty %"),
            ("is_short", "far too short %"),
            ("is_cut", "cut %"),
        ]
        metrics = [Metric(key, label, scale=100, digits=1, lower_is_better=True) for key, label in shares]
        notes = [
            "Runaway: the generation did not end, or a guard ends it (long silence, repeated codes, far longer than the text). With "
            "guards, samples in which one acts are said again, at most three times."
        ]
        return metric_table(
            "Guards",
            (*metrics, Metric("seconds", "seconds")),
            {"without guards": records, _WITH_GUARDS: guarded},
            notes=notes,
        )

    def _sample_tables(self, records: list[Record]) -> list[Table]:
        groups = grouped(records)
        notes = ["Not ended: the generation was stopped at its longest."]
        if any("is_cut" in record for record in records):
            notes.append(
                f"Cut: it ended by itself, and the transcript lacks the text's last {CUT_UNITS} words or more."
            )
        every = groups | {"all": records} if len(groups) > 1 else groups
        return [metric_table("Samples", self.metrics(), every, notes=notes), self._spread(every)]

    def _spread(self, groups: dict[str, list[Record]]) -> Table:
        rate = self.metrics()[0]
        seconds = replace(rate, key="seconds", label="seconds", scale=1.0)
        rows = []
        for name, group in groups.items():
            for metric in (rate, seconds):
                values = [record[metric.key] for record in metric.of(group)]
                if values:
                    points = np.percentile(values, [0, 50, 90, 100])
                    numbers = [*points, np.std(values)]
                    rows.append([name, metric.label, *(metric.format(float(value)) for value in numbers)])
        columns = ["", "", "least", "median", "90th percentile", "most", "standard deviation"]
        return Table("Spread over samples", columns, rows)

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        draw_stability(
            grouped(record for record in records if record["group"] != _WITH_GUARDS),
            self.metrics()[0],
            folder / "stability.png",
        )
        return [("stability.png", "Errors and length of every sample")]


__all__ = ["Stability"]
