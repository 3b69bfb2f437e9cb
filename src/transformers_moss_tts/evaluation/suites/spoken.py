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
"""Texts that are spoken in given voices: Seed-TTS-eval as it is published, and sentences of one's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..harness import published
from ..harness.metrics import Metric, Record, Table, grouped, metric_table
from ..harness.plots import draw_distributions
from ..harness.scoring import Scorers
from ..harness.synthesis import Speech, Task
from ..measures.text_errors import rate_name
from ..scorers import SpeakerBaselines
from .base import MOS, SIM, SpokenSuite, published_rows


@dataclass
class Sentences(SpokenSuite):
    """
    Sentences, one by one: errors of the words, likeness of the voice to the reference's, quality.

    Args:
        modes (`list[str]`, *optional*):
            "plain" (no reference), "clone" and "continuation". By default "clone" for utterances with a reference, and
            "plain" for those without.
    """

    modes: list[str] | None = None

    name: ClassVar[str] = "sentences"
    scorer_kinds: ClassVar[tuple[str, ...]] = ("asr", "speaker", "mos")
    takes_recordings: ClassVar[bool] = True

    def modes_of(self, utterance) -> list[str]:
        """Modes that an utterance is spoken in."""
        return self.modes or ["plain" if utterance.reference is None else "clone"]

    def tasks(self) -> list[Task]:
        tasks = [
            self.task(item, mode, mode, seed=self.seed + number)
            for number, item in enumerate(self.utterances())
            for mode in self.modes_of(item)
        ]
        # A batch has one mode.
        return sorted(tasks, key=lambda task: task.mode)

    def metrics(self) -> tuple[Metric, ...]:
        return (*self.error_metrics(), SIM, MOS)

    def score(self, task: Task, product: Speech, scorers: Scorers, folder: Path) -> list[Record]:
        return [self.score_speech(task, product, scorers, folder)]

    def tables(self, records: list[Record]) -> list[Table]:
        return [metric_table("Words and voice", self.metrics(), grouped(records), self.published(), self.notes())]

    def published(self) -> list[tuple[str, dict[str, str]]]:
        """Rows of published numbers, below ours in the table."""
        return []

    def notes(self) -> list[str]:
        rate = rate_name(self.language)
        return [
            f"{rate}: mean over utterances, as Seed-TTS-eval counts it. {rate} of all: errors over "
            f"{'characters' if rate == 'CER' else 'words'} of all utterances. SIM: cosine to the reference.",
        ]

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        groups = grouped(records)
        pictures = []
        for metric in (self.metrics()[0], SIM, MOS):
            if metric.of(records):
                shown = baselines if metric is SIM else None
                name = f"{metric.key}.png"
                draw_distributions(metric, groups, folder / name, shown)
                pictures.append((name, f"{metric.label} of every utterance"))
        return pictures


@dataclass
class SeedTTSEval(Sentences):
    """
    Seed-TTS-eval (BytedanceSpeech): `data` is its meta.lst as it is published, for "en" or "zh". Both modes by default.
    """

    name: ClassVar[str] = "seed-tts-eval"

    def modes_of(self, utterance) -> list[str]:
        return self.modes or ["clone", "continuation"]

    def published(self) -> list[tuple[str, dict[str, str]]]:
        others = [item for item in published.SEED_TTS_EVAL if item.key[0] == self.language]
        return published_rows(others, self.metrics())

    def notes(self) -> list[str]:
        return [*super().notes(), f"In italics: {published.SEED_TTS_EVAL_SOURCE}."]


__all__ = ["SeedTTSEval", "Sentences"]
