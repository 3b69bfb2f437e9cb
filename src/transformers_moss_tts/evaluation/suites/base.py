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
"""Base of the suites: data, tasks, a way to carry them out, scores and tables."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ...audio_io import save_audio
from ...utils.checks import check_kinds, check_number
from ..harness.metrics import Metric, Record, Table, grouped, metric_table
from ..harness.published import Published
from ..harness.scoring import Scorers
from ..harness.synthesis import Speech, Task, load_synthesizer
from ..harness.utterances import Utterance, check_utterances, read_utterances
from ..measures.text_errors import language_name, rate_name, units_of
from ..scorers import SpeakerBaselines


# Those of long texts are piece by piece, as `speak_long` says them.
LONG_MODES = ("long-clone", "long-continuation", "long-anchored")
MODES = ("plain", "clone", "continuation")


@dataclass
class Suite(ABC):
    """
    A kind of evaluation, with its options.

    Args:
        data (`str`, `Path` or `list[Utterance]`):
            Utterances, or where they are: see [`read_utterances`].
        language (`str`, *optional*, defaults to `"en"`):
            Code of the language.
        count (`int`, *optional*):
            Number of utterances to take, from the first; all by default.

    Raises:
        TypeError: for options of a wrong kind.
    """

    data: str | Path | list[Utterance]
    language: str = "en"
    count: int | None = None

    name: ClassVar[str]
    # Kinds of scorers that have something to say here.
    scorer_kinds: ClassVar[tuple[str, ...]] = ()
    needs_text: ClassVar[bool] = True
    # Whether recordings of the data can take the model's place.
    takes_recordings: ClassVar[bool] = False
    # Tasks that are carried out at once at most; `None` for what the caller wants.
    max_batch_size: ClassVar[int | None] = None

    def __post_init__(self):
        check_kinds(self)

    @abstractmethod
    def tasks(self) -> list[Task]:
        """
        What there is to do.

        Raises:
            ValueError: if the data or an option cannot be used.
        """

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of every record, as they are reported and compared."""

    @abstractmethod
    def score(self, task: Task, product: Any, scorers: Scorers, folder: Path) -> list[Record]:
        """Records of the product of a task; audio goes to `folder`."""

    def load_source(
        self, model: str, device: str | None = None, dtype: str | None = None, generate_kwargs: dict | None = None
    ) -> Any:
        """Source that carries the tasks out: a generator by default, see [`load_synthesizer`]."""
        return load_synthesizer(model, self.language, device, dtype, generate_kwargs)

    def produce(self, tasks: list[Task], source: Any) -> list[Any]:
        """Carries tasks out as a batch: speech by default."""
        return source.speak(tasks)

    def tables(self, records: list[Record]) -> list[Table]:
        """Tables of the report, of the records of utterances that did not fail."""
        return [metric_table("Results", self.metrics(), grouped(records))]

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        """Writes pictures to `folder`; returns their names and captions."""
        return []

    def options(self) -> dict[str, Any]:
        """The options as JSON has them."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def utterances(self) -> list[Utterance]:
        """
        The data.

        Raises:
            ValueError: if there is none, or a text has nothing to say.
        """
        language_name(self.language)
        if self.count is not None:
            check_number("count", self.count, 1, is_whole=True)
        utterances = list(self.data) if isinstance(self.data, list) else read_utterances(self.data)
        utterances = utterances[: self.count]
        check_utterances(utterances)
        for item in utterances:
            if self.needs_text and not units_of(item.text or "", self.language):
                raise ValueError(f"The utterance {item.id!r} has nothing to say: its text is {item.text!r}.")
        return utterances


@dataclass
class SpokenSuite(Suite):
    """
    A suite of texts that are spoken.

    Args:
        references (`list[str]`, *optional*):
            Recordings of voices, in turn for the utterances that have none of their own.
        reference_text (`str`, *optional*):
            Text that is said in `references`, where there is one recording.
        seed (`int`, *optional*, defaults to 0):
            Seed of the sampling.
    """

    references: list[str] | None = None
    reference_text: str | None = None
    seed: int = 0

    allowed_modes: ClassVar[tuple[str, ...]] = MODES

    def utterances(self) -> list[Utterance]:
        """
        The data, with references.

        Raises:
            ValueError: if there is none, a text has nothing to say, or a reference is missing.
        """
        utterances = super().utterances()
        if self.reference_text is not None and len(self.references or []) != 1:
            raise ValueError("`reference_text` is of one reference: give that one in `references`.")
        if not self.references:
            return utterances
        files = [Path(file) for file in self.references]
        utterances = [
            item
            if item.reference is not None
            else replace(item, reference=files[number % len(files)], reference_text=self.reference_text)
            for number, item in enumerate(utterances)
        ]
        check_utterances(utterances)
        return utterances

    def task(self, utterance: Utterance, mode: str, group: str, **options: Any) -> Task:
        """
        A task in a mode.

        Raises:
            ValueError: if the utterance lacks what the mode needs.
        """
        check_mode(utterance, mode, self.allowed_modes)
        suffix = "".join(f"-{name}{value}" for name, value in options.pop("named", {}).items())
        return Task(f"{utterance.id}-{mode}{suffix}", group, utterance, mode, **options)

    def error_metrics(self) -> tuple[Metric, ...]:
        """Word errors, as a mean over utterances and over all words, and the share of generations that did not end."""
        rate = rate_name(self.language)
        return (
            Metric("wer", f"{rate} %", scale=100, lower_is_better=True),
            Metric("errors", f"{rate} % of all", per="words", scale=100, lower_is_better=True),
            Metric("reached_limit", "not ended %", scale=100, digits=1, lower_is_better=True),
        )

    def score_speech(self, task: Task, speech: Speech, scorers: Scorers, folder: Path) -> Record:
        """Writes the audio and scores it: words, voice and quality, as far as there are scorers."""
        waveform = speech.for_scorers()
        record = {
            "id": task.id,
            "task": task.id,
            "group": task.group,
            "mode": task.mode,
            "text": task.utterance.text,
            "reference": _plain(task.utterance.reference),
            "audio": save_speech(speech, task.id, folder),
            "seconds": round(speech.seconds, 4),
            "frames": speech.frames,
            "reached_limit": speech.reached_limit,
            "seed": task.seed,
        }
        record |= scorers.words(waveform, task.utterance.text or "")
        record |= scorers.voice(waveform, task.utterance.reference)
        return record | scorers.quality(waveform)


SIM = Metric("sim", "SIM", digits=3, lower_is_better=False)
MOS = Metric("mos", "MOS", lower_is_better=False)


def check_mode(utterance: Utterance, mode: str, allowed: tuple[str, ...]) -> None:
    """
    Raises:
        ValueError: for an unknown mode, or if the utterance lacks a reference or its text.
    """
    if mode not in allowed:
        raise ValueError(f"A mode must be one of {', '.join(allowed)}, got {mode!r}.")
    if mode != "plain" and utterance.reference is None:
        raise ValueError(f"The utterance {utterance.id!r} has no reference: the mode {mode!r} needs one.")
    if mode == "continuation" and not utterance.reference_text:
        raise ValueError(
            f"The reference of {utterance.id!r} has no text: continuation needs to know what it says, give "
            "`reference_text`."
        )


def save_speech(speech: Speech, name: str, folder: Path) -> str | None:
    """Writes speech as a wav in `folder`, and returns its path from the folder above; `None` if there is no sample."""
    if speech.waveform.size == 0:
        return None
    save_audio(speech.waveform, folder / f"{name}.wav", speech.sampling_rate)
    return f"{folder.name}/{name}.wav"


def published_rows(others: Iterable[Published], metrics: Iterable[Metric]) -> list[tuple[str, dict[str, str]]]:
    """Rows of published numbers as [`metric_table`] takes them."""
    formats = {metric.key: metric.format_published for metric in metrics}
    return [
        (item.label, {key: formats[key](value) for key, value in item.values.items() if key in formats})
        for item in others
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Utterance):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Iterable) and not isinstance(value, str | dict):
        return [_plain(item) for item in value]
    return value


__all__ = ["SpokenSuite", "Suite"]
