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
"""Whether a generator speaks as long as it is asked to."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...audio_io import load_audio
from ...utils.checks import check_number
from ..harness import published
from ..harness.metrics import NONE, Metric, Record, Table, grouped
from ..harness.plots import draw_durations
from ..harness.scoring import Scorers
from ..harness.statistics import estimate_percentile
from ..harness.synthesis import Speech, Task
from ..harness.utterances import Utterance
from ..measures.text_errors import counts_characters
from ..scorers import SpeakerBaselines
from .base import SpokenSuite, save_speech


FRAME_RATE = 12.5  # Hz, of both codecs
# Ranges of Table 5 of the paper (arXiv 2603.18090) in seconds, and what lies outside of them.
RANGES = {
    "under 3 s": (0, 3),
    "3-10 s": (3, 10),
    "10 s-1 min": (10, 60),
    "1-10 min": (60, 600),
    "10-30 min": (600, 1800),
    "over 30 min": (1800, float("inf")),
}
ALL = "all"
# Frames a character that the demo of OpenMOSS (clis/moss_tts_app.py of OpenMOSS/MOSS-TTS) proposes.
FRAMES_A_CHARACTER = 0.8673376262755219
FRAMES_A_CHINESE_CHARACTER = 3.098411951313033
# Factor of the natural length beyond which nobody speaks.
_HIGHEST_RATE = 100

ERROR = Metric("error_share", "mean absolute error %", scale=100, lower_is_better=True)
BIAS = Metric("bias", "mean error %", scale=100)


@dataclass
class Duration(SpokenSuite):
    """
    Requested against produced frames. What is requested is the length of the utterance's recording, else an estimate by its
    characters, times each rate.

    Args:
        rates (`list[float]`, *optional*, defaults to `[0.8, 1.0, 1.25]`):
            Factors of the natural length.
    """

    rates: list[float] | None = None

    name: ClassVar[str] = "duration"

    def tasks(self) -> list[Task]:
        rates = self.rates or [0.8, 1.0, 1.25]
        for rate in rates:
            check_number("rates", rate, math.ulp(0), _HIGHEST_RATE)
        tasks = []
        for number, item in enumerate(self.utterances()):
            natural = self.natural_frames(item)
            for rate in rates:
                tokens = max(1, round(natural * rate))
                mode = "plain" if item.reference is None else "clone"
                options = {"tokens": tokens, "seed": self.seed + number, "named": {"x": f"{rate:g}"}}
                tasks.append(self.task(item, mode, range_of(tokens / FRAME_RATE), **options))
        order = list(RANGES)
        # Long and short ones in one batch would wait for each other.
        return sorted(tasks, key=lambda task: (order.index(task.group), task.mode, task.tokens))

    def natural_frames(self, utterance: Utterance) -> float:
        """Frames of the recording of an utterance, else an estimate."""
        if utterance.recording is not None:
            rate = 16000
            return len(load_audio(utterance.recording, rate)) / rate * FRAME_RATE
        factor = FRAMES_A_CHINESE_CHARACTER if counts_characters(self.language) else FRAMES_A_CHARACTER
        return len(utterance.text or "") * factor

    def metrics(self) -> tuple[Metric, ...]:
        return ERROR, BIAS, Metric("reached_limit", "not ended %", scale=100, digits=1, lower_is_better=True)

    def score(self, task: Task, product: Speech, scorers: Scorers, folder: Path) -> list[Record]:
        if product.frames is None or not task.tokens:
            raise ValueError(f"The task {task.id!r} has no frames to compare.")
        bias = (product.frames - task.tokens) / task.tokens
        return [
            {
                "id": task.id,
                "task": task.id,
                "group": task.group,
                "text": task.utterance.text,
                "audio": save_speech(product, task.id, folder),
                "requested": task.tokens,
                "frames": product.frames,
                "error_share": abs(bias),
                "bias": bias,
                "reached_limit": product.reached_limit,
                "seed": task.seed,
            }
        ]

    def tables(self, records: list[Record]) -> list[Table]:
        metrics = self.metrics()
        groups = grouped(records) | {ALL: records}
        others = {item.key[1]: item for item in published.DURATION if item.key[0] == self.language}
        rows = []
        for name, group in groups.items():
            p90 = estimate_percentile([record["error_share"] for record in group], 90)
            ours = [metrics[0].format(metrics[0].estimate(group)), ERROR.format(p90)]
            rows.append(
                [name, str(len(group)), *ours, *(metric.format(metric.estimate(group)) for metric in metrics[1:])]
            )
        for name, item in others.items():
            values = [f"{item.values[key]:.3f}" if key in item.values else NONE for key in ("error", "p90")]
            rows.append([f"*{item.label}, {name}*", NONE, *values, NONE, NONE])
        columns = ["requested", "n", ERROR.label, "90th percentile %", BIAS.label, metrics[2].label]
        notes = ["Errors are of the frames requested; the mean error says whether it speaks too long or too short."]
        if others:
            notes.append(f"In italics: {published.DURATION_SOURCE}.")
        return [Table("Requested and produced length", columns, rows, notes)]

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        others = {item.key[1]: item.values["error"] for item in published.DURATION if item.key[0] == self.language}
        draw_durations(records, FRAME_RATE, others, folder / "duration.png")
        return [("duration.png", "Requested and produced length")]


def range_of(seconds: float) -> str:
    """Name of the range that a length lies in."""
    return next(name for name, (low, high) in RANGES.items() if low <= seconds < high)


__all__ = ["Duration"]
