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
"""Runs a suite and writes what came of it."""

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm.auto import tqdm
from transformers.utils import logging

from ...loading.checkpoints import model_fingerprint
from ...utils.record_files import write_file, write_object
from ..scorers import SpeakerBaselines
from ..suites import Suite
from .metrics import Estimate, Record, grouped, succeeded
from .packages import check_packages
from .report import render_report
from .run_folder import RECORDS, REPORT, SUMMARY, RunFolder
from .scoring import Scorers
from .synthesis import RecordedSpeech, Task
from .utterances import Utterance, by_speaker, read_utterances


logger = logging.get_logger(__name__)

DEFAULT_SCORERS = {"asr": "whisper-base", "speaker": "resemblyzer", "mos": None}


def evaluate(
    model: str | None,
    suite: Suite,
    output: str | Path,
    *,
    asr: str | None = DEFAULT_SCORERS["asr"],
    speaker: str | None = DEFAULT_SCORERS["speaker"],
    mos: str | None = DEFAULT_SCORERS["mos"],
    voices: str | Path | None = None,
    batch_size: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    generate_kwargs: dict[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """
    Evaluates a model on a suite. A run that was stopped goes on where it was when it is called again; an utterance that fails
    is reported and does not end the run.

    Args:
        model (`str`, *optional*):
            Folder or Hub id of a generator, or of a codec for the suite "codec". `None` scores the recordings of the data in
            the model's place.
        suite ([`Suite`]):
            What to evaluate, and on what.
        output (`str` or `Path`):
            Folder for `report.md` and its pictures, `summary.json` (means and intervals), `utterances.jsonl` (everything that
            was measured), `settings.json` and `audio/`.
        asr, speaker, mos (`str`, *optional*):
            Scorers by name, see [`load_scorer`]; `None` leaves the kind out.
        voices (`str` or `Path`, *optional*):
            jsonl of recordings (`audio`, `speaker`) to measure SIM of one voice and of two voices on; by default those of
            the data, where it says who speaks.
        batch_size (`int`, *optional*, defaults to 8):
            Utterances that are generated at once.
        device, dtype (`str`, *optional*):
            Device and precision of the model.
        generate_kwargs (`dict`, *optional*):
            Further arguments of the model's `generate`.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar.

    Returns:
        The summary: means and intervals by group and metric.

    Raises:
        ValueError: before anything is generated, if the data, an option, a scorer, the model or the output folder cannot be
            used.
        RuntimeError: if every utterance failed.
    """
    check_packages()
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    tasks = suite.tasks()
    if model is None:
        _check_recordings(suite, tasks)
    others = read_utterances(voices) if voices is not None else None
    if others is not None and len(by_speaker(others)) < 2:
        raise ValueError(f"`voices` must have recordings of two speakers or more, {str(voices)!r} has not.")
    names = {"asr": asr, "speaker": speaker, "mos": mos}
    names = {kind: names[kind] for kind in suite.scorer_kinds}
    scorers = Scorers(names, suite.language)
    run = RunFolder(output, _settings(model, suite, names, generate_kwargs))
    _check_same_data(run.records, tasks)
    missing = [task for task in tasks if task.id not in run.done]
    if missing:
        source = RecordedSpeech() if model is None else suite.load_source(model, device, dtype, generate_kwargs)
        run.begin(source.describe())
        _run_tasks(suite, tasks, source, scorers, run, batch_size, progress)
    records = _in_order(run.records, tasks)
    failures = [(record["id"], record["error"]) for record in records if "error" in record]
    good = succeeded(records)
    if not good:
        raise RuntimeError(f"All {len(failures)} utterances failed; the first: {failures[0][1]}")
    spoken = {task.utterance.id: task.utterance for task in tasks}
    baselines = scorers.baselines(spoken.values() if others is None else others)
    return _write_results(model, suite, run, good, failures, scorers, baselines)


def _check_same_data(records: list[Record], tasks: list[Task]) -> None:
    texts = {task.id: task.utterance.text for task in tasks}
    for record in records:
        if record["task"] not in texts or record.get("text", texts[record["task"]]) != texts[record["task"]]:
            raise ValueError(
                f"The output folder holds {record['id']!r} of other data: the data has changed, give another folder."
            )


def _check_recordings(suite: Suite, tasks: list[Task]) -> None:
    if not suite.takes_recordings:
        raise ValueError(f"The suite {suite.name!r} needs a model: it cannot score recordings in its place.")
    if lacking := [task.utterance.id for task in tasks if task.utterance.recording is None]:
        raise ValueError(f"There is no recording of {lacking[0]!r} to score ({len(lacking)} such utterances).")


def _settings(
    model: str | None, suite: Suite, names: dict[str, str | None], generate_kwargs: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "model": model,
        "weights": model_fingerprint(model) if model is not None else [],
        "options": suite.options(),
        "scorers": names,
        "generate_kwargs": generate_kwargs or {},
    }


def _batches(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    """Neighbours of one mode."""
    for _, group in itertools.groupby(tasks, key=lambda task: task.mode):
        alike = list(group)
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _run_tasks(
    suite: Suite, tasks: list[Task], source: Any, scorers: Scorers, run: RunFolder, batch_size: int, progress: bool
) -> None:
    size = min(batch_size, suite.max_batch_size or batch_size)
    done = run.done
    with tqdm(total=len(tasks), initial=len(done), desc=suite.name, disable=not progress, file=sys.stderr) as bar:
        for batch in _batches(tasks, size):
            # Each has a seed of its own, so that it is the same in another batch.
            batch = [task for task in batch if task.id not in done]
            if not batch:
                continue
            for task, product in zip(batch, _produce(suite, batch, source)):
                run.add(_score(suite, task, product, scorers, run.audio))
                bar.update()


def _produce(suite: Suite, batch: list[Task], source: Any) -> list[Any]:
    """The products of a batch, an exception in the place of each that failed."""
    try:
        return suite.produce(batch, source)
    except Exception as error:
        if len(batch) == 1:
            return [error]
    # One of them spoils it for all.
    return [product for task in batch for product in _produce(suite, [task], source)]


def _score(suite: Suite, task: Task, product: Any, scorers: Scorers, folder: Path) -> list[Record]:
    try:
        if isinstance(product, Exception):
            raise product
        records = suite.score(task, product, scorers, folder)
        # A number that is none would spoil every mean.
        json.dumps(records, allow_nan=False)
        return records
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        logger.warning(f"The utterance {task.id!r} failed: {reason}")
        return [{"id": task.id, "task": task.id, "group": task.group, "text": task.utterance.text, "error": reason}]


def _in_order(records: list[Record], tasks: list[Task]) -> list[Record]:
    order = {task.id: number for number, task in enumerate(tasks)}
    return sorted(records, key=lambda record: order[record["task"]])


def _write_results(
    model: str | None,
    suite: Suite,
    run: RunFolder,
    records: list[Record],
    failures: list[tuple[str, str]],
    scorers: Scorers,
    baselines: SpeakerBaselines | None,
) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    summary: dict[str, Any] = {
        "suite": suite.name,
        "model": model,
        "described": run.source,
        "versions": versions,
        "scorers": [list(scorer) for scorer in scorers.describe()],
        "speaker_levels": None if baselines is None else dataclasses.asdict(baselines),
        "utterances": len({record["task"] for record in records}),
        "failed": len(failures),
        "groups": {
            name: {metric.key: _as_dict(metric.estimate(group)) for metric in suite.metrics() if metric.of(group)}
            for name, group in grouped(records).items()
        },
    }
    pictures = suite.draw(records, baselines, run.path)
    facts = [
        ("model", f"{model or 'none'} ({summary['described']})"),
        ("data", _name_of_data(suite.data)),
        ("language", suite.language),
        *((name, str(value)) for name, value in suite.options().items() if name not in ("data", "language") and value),
        ("utterances", f"{summary['utterances']}, {len(failures)} failed"),
        ("every utterance", f"[{RECORDS}]({RECORDS}), with the audio beside it"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    title = f"{suite.name}: {Path(model).name if model else 'recordings'}"
    report = render_report(title, facts, suite.tables(records), pictures, scorers.describe(), baselines, failures)
    write_file(run.path / REPORT, report.encode())
    write_object(run.path / SUMMARY, summary)
    return summary


def _as_dict(estimate: Estimate | None) -> dict[str, float | int | None]:
    return {} if estimate is None else dataclasses.asdict(estimate)


def _name_of_data(data: str | Path | list[Utterance]) -> str:
    return f"{len(data)} utterances" if isinstance(data, list) else Path(data).name


__all__ = ["evaluate"]
