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
"""A corpus that is read aloud: from lines of a table to files of audio."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..audio_io import is_remote, save_audio
from ..loading.checkpoints import GeneratorSettings, load_generator
from ..moss_tts.voice import as_voice
from ..speech import expected_duration, speak_long
from ..speech.engine import SpeechEngine, SpeechJob
from ..speech.narration import Narration
from ..speech.passages import derive_seed, with_voices
from ..speech.references import check_references
from ..speech.stretches import check_words, total_pause
from ..speech.takes import FAULTS
from ..utils.devices import use_threads


# Lines that are spoken as one batch.
BATCH_SIZE = 8
# Seconds of reading from which on a text is said piece by piece.
_LONG = 30.0
_RETRIES = 2
# Longest speech of a model that says nothing of it, in frames.
_MOST_FRAMES = 1500
_FOREVER = float("inf")
# A file of the folder and no other: no separators, and no dot at the beginning.
_ID = re.compile(r"[\w-][\w.-]{0,199}")
# Columns that say how a line is spoken, and those that are written.
_FIELDS = ("reference", "language", "instruction")
_MADE = ("audio", "duration", "fault")
_LINES = pa.schema(
    [("number", pa.int64()), ("seed", pa.int64()), ("text", pa.string()), *((name, pa.string()) for name in _FIELDS)]
)
_SPOKEN = pa.schema(
    [
        ("number", pa.int64()),
        ("audio", pa.large_binary()),
        ("duration", pa.float64()),
        ("fault", pa.string()),
        ("problem", pa.string()),
    ]
)


@dataclass(frozen=True)
class Line:
    """
    A line of the corpus.

    Args:
        number (`int`): its number in the table, from 0.
        fields (`dict`): its columns, with its `id` and its `seed`.
    """

    number: int
    fields: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """What a worker needs of it."""
        values = {name: self.fields.get(name) for name in _LINES.names[1:]}
        if values["reference"] is not None and not is_remote(values["reference"]):
            values["reference"] = os.path.abspath(values["reference"])
        return {"number": self.number} | values

    @property
    def id(self) -> str:
        return self.fields["id"]

    def is_that_of(self, record: dict[str, Any]) -> bool:
        """Whether a record of the table is that of this line as it is now."""
        return {name: value for name, value in record.items() if name not in _MADE} == self.fields


def read_lines(table: Any, settings: GeneratorSettings, seed: int) -> list[Line]:
    """
    Lines of a table, checked.

    Args:
        table (`Dataset`): with `text`, and maybe `id`, `reference`, `language`, `instruction` and `seed`.
        settings ([`GeneratorSettings`]): what the model was taught.
        seed (`int`): from which a line without a seed gets one of its own.

    Raises:
        ValueError: if a column is missing or of another kind, or a line cannot be spoken.
    """
    if "text" not in table.column_names:
        raise ValueError(f"The table has no column `text`; the columns are {', '.join(table.column_names)}.")
    if taken := [name for name in _MADE if name in table.column_names]:
        advice = "its recordings are encoded with `--encode`" if "audio" in taken else "rename it"
        raise ValueError(f"The table has a column `{taken[0]}`, which is written here: {advice}, or leave it out.")
    width = max(6, len(str(len(table))))
    lines, ids, problems = [], set(), []
    references: dict[str, str | None] = {}
    for number, row in enumerate(table):
        row = {name: value for name, value in row.items() if value is not None}
        name = str(row.get("id", f"{number:0{width}}"))
        fields = row | {"id": name, "seed": row.get("seed", _seed_of(seed, name))}
        problem = _problem_of(fields, settings, references)
        if problem is None and name.lower() in ids:
            problem = f"there is another line with the `id` {name!r:.80}."
        ids.add(name.lower())
        if problem is not None:
            problems.append(f"line {number + 1}: {problem}")
        lines.append(Line(number, fields))
    if problems:
        raise ValueError(f"{len(problems)} of {len(lines)} lines cannot be spoken, the first is {problems[0]}")
    return lines


def _problem_of(fields: dict[str, Any], settings: GeneratorSettings, references: dict[str, str | None]) -> str | None:
    text, reference, seed = fields.get("text"), fields.get("reference"), fields["seed"]
    if not isinstance(text, str) or not text.strip():
        return f"`text` must be a text, got {text!r:.80}."
    if not _ID.fullmatch(fields["id"]):
        return (
            f"`id` must be up to 200 letters, digits, -, _ and dots (none at the beginning), got {fields['id']!r:.80}."
        )
    if wrong := [name for name in _FIELDS if not isinstance(fields.get(name, ""), str)]:
        return f"`{wrong[0]}` must be a string, got {fields[wrong[0]]!r:.80}."
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        return f"`seed` must be a whole number from 0 to 2**63 - 1, got {seed!r:.80}."
    try:
        json.dumps(fields)
    except TypeError as error:
        return f"its columns must be texts and numbers: {error}."
    try:
        check_words(text)
        total_pause(text)
        settings.abilities.check(settings.name, text, fields.get("language"), int(reference is not None))
    except ValueError as error:
        return str(error)
    if reference is not None and reference not in references:
        references[reference] = _problem_of_reference(reference, settings.max_reference_duration)
    return None if reference is None else references[reference]


def _problem_of_reference(reference: str, max_duration: float) -> str | None:
    try:
        check_references([reference], max_duration)
    except (OSError, ValueError, TypeError) as error:
        return str(error)
    return None


def _seed_of(seed: int, name: str) -> int:
    """Seed of a line, which stays when lines are added before it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def blocks_of(lines: list[Line]) -> Iterator[pa.Table]:
    """Lines in blocks of a batch, those of like lengths together."""
    ordered = sorted(lines, key=lambda line: len(line.fields["text"]))
    for start in range(0, len(ordered), BATCH_SIZE):
        values = [line.values for line in ordered[start : start + BATCH_SIZE]]
        yield pa.Table.from_pylist(values, schema=_LINES)


class SpeakingWorker:
    """
    A copy of the model that speaks blocks of lines.

    Args:
        model (`str`): name of the generator.
        suffix (`str`): format of the audio, such as ".wav".
        max_new_tokens (`int`, *optional*): longest speech in frames; the model's limit by default.
        device (`str`, *optional*): place of the model, the fastest there is by default.
    """

    def __init__(self, model: str, suffix: str, max_new_tokens: int | None = None, device: str | None = None):
        self.model, self.processor = load_generator(model, device)
        use_threads(self.model)
        self.suffix = suffix
        self.max_new_tokens = max_new_tokens or self.model.generation_config.max_new_tokens or _MOST_FRAMES
        self.engine = SpeechEngine(self.model, self.processor, max_batch_size=BATCH_SIZE)

    def __call__(self, block: pa.Table) -> pa.Table:
        lines = block.to_pylist()
        is_long = {line["number"]: expected_duration(line["text"], line["language"]) > _LONG for line in lines}
        results = self._speak([line for line in lines if not is_long[line["number"]]])
        results += [self._speak_long(line) for line in lines if is_long[line["number"]]]
        return pa.Table.from_pylist(results, schema=_SPOKEN)

    def _speak(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Speaks lines as a batch, and again those with a fault."""
        results: dict[int, dict[str, Any]] = {}
        for number in range(1 + _RETRIES):
            jobs = {line["number"]: self._submitted(line, number) for line in lines}
            for line in lines:
                result = self._result(line["number"], jobs[line["number"]])
                results[line["number"]] = min(results.get(line["number"], result), result, key=_cost)
            lines = [line for line in lines if results[line["number"]]["fault"] is not None]
        return list(results.values())

    def _submitted(self, line: dict[str, Any], number: int) -> SpeechJob | str:
        """The job of a line in the engine's queue, or what is wrong with the line."""
        fields = {name: line[name] for name in _FIELDS if line[name] is not None}
        if (voice := as_voice(line["reference"])) is not None:
            fields["reference"] = voice
        text, fields, options = with_voices(line["text"], fields, {})
        seed = derive_seed(line["seed"], number)
        try:
            narration = Narration(self.processor, text, fields)
            job = SpeechJob(narration, seed, options, self.max_new_tokens, is_streamed=False, timeout=_FOREVER)
        except (OSError, ValueError, TypeError) as error:
            return str(error)
        self.engine.submit(job)
        return job

    def _result(self, number: int, job: SpeechJob | str) -> dict[str, Any]:
        if isinstance(job, str):
            return {"number": number, "fault": None, "problem": job}
        try:
            chunks = list(job.audio)
        except Exception as error:
            # Whatever a generation ends in is said of its line, and the others go on.
            return {"number": number, "fault": None, "problem": f"{type(error).__name__}: {error}"}
        if not chunks:
            return {"number": number, "fault": "empty", "problem": "nothing was spoken."}
        audio = np.concatenate(chunks, axis=1)
        rate = self.processor.audio_tokenizer.config.sampling_rate
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"speech{self.suffix}")
            save_audio(audio, path, rate)
            content = path.read_bytes()
        fault = {"stop": None, "length": "limit"}.get(str(job.finish_reason), job.finish_reason)
        return {"number": number, "audio": content, "duration": audio.shape[1] / rate, "fault": fault}

    def _speak_long(self, line: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"speech{self.suffix}")
            try:
                speech = speak_long(
                    self.model,
                    self.processor,
                    line["text"],
                    path,
                    voice=line["reference"],
                    language=line["language"],
                    seed=line["seed"],
                    generate_kwargs={"max_new_tokens": self.max_new_tokens},
                    progress=False,
                )
            except Exception as error:
                return {"number": line["number"], "fault": None, "problem": f"{type(error).__name__}: {error}"}
            fault = speech.faults[0][1] if speech.faults else None
            return {
                "number": line["number"],
                "audio": path.read_bytes(),
                "duration": speech.seconds,
                "fault": fault,
            }


def _cost(result: dict[str, Any]) -> tuple[bool, int]:
    return result.get("problem") is not None, FAULTS.index(result["fault"])


__all__ = ["BATCH_SIZE", "Line", "SpeakingWorker", "blocks_of", "read_lines"]
