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
"""Batches from their table to their folder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from tqdm.auto import tqdm

from ..loading.checkpoints import read_settings
from ..utils.record_files import lines_of
from .encoding import LINES_OF_A_FILE, EncodingWorker, check_table, digest_of, file_name
from .encoding import blocks_of as blocks_of_recordings
from .folder import PROBLEMS, TABLE, BatchFolder
from .speaking import Line, SpeakingWorker, blocks_of, read_lines


# Takes blocks, the class of the workers and its arguments; gives the results.
Workers = Callable[[Iterable[pa.Table], type, dict[str, Any]], Iterator[pa.Table]]


@dataclass(frozen=True)
class Outcome:
    """
    What a batch has come to.

    Args:
        summary (`str`): what is finished.
        problems (`list[str]`): lines without a result, and why.
    """

    summary: str
    problems: list[str]


class Reading:
    """
    A corpus that is read aloud.

    Args:
        table (`Dataset`): its lines.
        output (`Path`): folder for the audio and the table of it.
        model (`str`): name of the generator.
        suffix (`str`): format of the audio, such as ".wav".
        seed (`int`): seed of the sampling.
        max_new_tokens (`int`, *optional*): longest speech, in frames.
        settings (`dict`): what else decides the results.

    Raises:
        ValueError: if a line cannot be spoken, or the folder holds something else.
    """

    def __init__(
        self,
        table: Dataset,
        output: Path,
        model: str,
        suffix: str,
        seed: int,
        max_new_tokens: int | None,
        settings: dict[str, Any],
    ):
        options = {"seed": seed, "format": suffix, "max_new_tokens": max_new_tokens}
        self.folder = BatchFolder(output, {"task": "speak"} | settings | options)
        self.lines = read_lines(table, read_settings(model), seed)
        self.options = {"model": model, "suffix": suffix, "max_new_tokens": max_new_tokens}
        self._suffix = suffix

    def run(self, workers: Workers, quiet: bool) -> Outcome:
        """Speaks what is left."""
        known = {record.get("id"): record for record in self.folder.records()}
        done = {line.number: known[line.id] for line in self.lines if self._is_done(line, known.get(line.id))}
        left = [line for line in self.lines if line.number not in done]
        problems: list[str] = []
        self.folder.begin()
        with tqdm(total=len(self.lines), initial=len(done), unit=" lines", disable=quiet) as bar:
            for block in workers(blocks_of(left), SpeakingWorker, self.options) if left else ():
                spoken = [self._keep(self.lines[result["number"]], result, problems) for result in block.to_pylist()]
                self.folder.add(fields for _, fields in filter(None, spoken))
                done |= dict(filter(None, spoken))
                bar.update(block.num_rows)
        # As they come is good enough to go on from; who reads the table wants them in order.
        records = [done[number] for number in sorted(done)]
        self.folder.write(TABLE, lines_of(records))
        seconds, faults = sum(record["duration"] for record in records), [r["fault"] for r in records if r["fault"]]
        noted = f", {len(faults)} with a `fault`" if faults else ""
        return Outcome(f"{len(records)} lines, {seconds:.1f} s of audio{noted}", problems)

    def _is_done(self, line: Line, record: dict[str, Any] | None) -> bool:
        return record is not None and line.is_that_of(record) and (self.folder.path / self._file_of(line)).is_file()

    def _file_of(self, line: Line) -> str:
        return f"audio/{line.id}{self._suffix}"

    def _keep(self, line: Line, result: dict[str, Any], problems: list[str]) -> tuple[int, dict[str, Any]] | None:
        if result["problem"] is not None:
            problems.append(f"line {line.number + 1}: {result['problem']}")
            self.folder.add([{"line": line.number + 1, "id": line.id, "problem": result["problem"]}], PROBLEMS)
            return None
        self.folder.write(self._file_of(line), result["audio"])
        made = {"audio": self._file_of(line), "duration": result["duration"], "fault": result["fault"]}
        return line.number, line.fields | made


class Encoding:
    """
    A table whose recordings are encoded.

    Args:
        table (`Dataset`): its lines.
        output (`Path`): folder for the files of codes.
        model (`str`): name of the generator whose codec encodes.
        settings (`dict`): what else decides the results.

    Raises:
        ValueError: if a line cannot be encoded, or the folder holds something else.
    """

    def __init__(self, table: Dataset, output: Path, model: str, settings: dict[str, Any]):
        self.folder = BatchFolder(output, {"task": "encode"} | settings | {"table": digest_of(table)})
        check_table(table)
        self.table = table
        self.options = {"model": model, "features": table.features.to_dict()}

    def run(self, workers: Workers, quiet: bool) -> Outcome:
        """Encodes what is left."""
        # Files that lack lines get another chance, in which codes that are kept are not made again.
        for record in self.folder.records(PROBLEMS):
            (self.folder.path / file_name(record["file"])).unlink(missing_ok=True)
        self.folder.begin()
        num_files = -(-len(self.table) // LINES_OF_A_FILE)
        done = {number for number in range(num_files) if (self.folder.path / file_name(number)).is_file()}
        problems: list[str] = []
        with tqdm(total=num_files, initial=len(done), unit=" files", disable=quiet) as bar:
            blocks = blocks_of_recordings(self.table, done)
            for block in workers(blocks, EncodingWorker, self.options) if len(done) < num_files else ():
                for result in block.to_pylist():
                    # First, so that a run that is killed between them does not take the file for whole.
                    self.folder.add(({"file": result["number"], "problem": p} for p in result["problems"]), PROBLEMS)
                    self.folder.write(file_name(result["number"]), result["content"])
                    problems += result["problems"]
                bar.update(block.num_rows)
        return Outcome(f"{len(self.table) - len(problems)} lines encoded", problems)


__all__ = ["Encoding", "Outcome", "Reading"]
