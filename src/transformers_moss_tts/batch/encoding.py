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
"""A table of recordings that is encoded: from its lines to parquet files of codes."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features
from transformers.utils import logging

from ..loading.checkpoints import load_processor
from ..training.example_encoding import (
    ExampleEncoder,
    problem_of_recordings,
    problem_of_text,
    recordings_of,
)
from ..training.recording_encoding import encoded_features


# Lines of a file of codes, and recordings of a forward pass.
LINES_OF_A_FILE = 128
_BATCH_SIZE = 16
_AUDIO = "audio"
_ENCODED = pa.schema([("number", pa.int64()), ("content", pa.large_binary()), ("problems", pa.list_(pa.string()))])


def check_table(table: Dataset) -> None:
    """
    Checks what shows without decoding.

    Raises:
        ValueError: if there is no column of recordings, or a line cannot be encoded.
    """
    if _AUDIO not in table.column_names:
        raise ValueError(f"The table has no column `{_AUDIO}`; the columns are {', '.join(table.column_names)}.")
    problems = []
    for number, row in enumerate(table):
        problem = problem_of_text(row) or problem_of_recordings(recordings_of(row, _AUDIO))
        if problem is None and row[_AUDIO] is None:
            problem = f"there is nothing in `{_AUDIO}`."
        if problem is not None:
            problems.append(f"line {number + 1}: {problem}")
    if problems:
        raise ValueError(f"{len(problems)} of {len(table)} lines cannot be encoded, the first is {problems[0]}")


def digest_of(table: Dataset) -> str:
    """Digest of the lines of a table."""
    digest = hashlib.sha256()
    for row in table:
        digest.update(repr(row).encode())
    return digest.hexdigest()[:32]


def file_name(number: int) -> str:
    """Name of a file of codes, as `load_table` finds it."""
    return f"metadata-{number:06}.parquet"


def blocks_of(table: Dataset, done: set[int]) -> Iterator[pa.Table]:
    """Blocks of a file each, with the number of the file; those that are done are left out."""
    arrow = table.with_format("arrow")
    for number, start in enumerate(range(0, len(table), LINES_OF_A_FILE)):
        if number not in done:
            block = arrow[start : start + LINES_OF_A_FILE]
            yield pa.table({"number": [number], "lines": [_written(block)]})


def _written(table: pa.Table) -> bytes:
    """A table as it travels: Ray and `datasets` have each types of their own."""
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue().to_pybytes()


class EncodingWorker:
    """
    A copy of the codec that encodes blocks of lines.

    Args:
        model (`str`): name of the generator whose codec encodes.
        features (`dict`): columns of the table, as `Features.to_dict` gives them.
        device (`str`, *optional*): place of the codec, the fastest there is by default.
    """

    def __init__(self, model: str, features: dict[str, Any], device: str | None = None):
        logging.set_verbosity_error()
        self.features = Features.from_dict(features)
        self.encoder = ExampleEncoder(load_processor(model, device), _AUDIO, _BATCH_SIZE, None, is_worker=False)

    def __call__(self, block: pa.Table) -> pa.Table:
        results = [
            self._encode(row["number"], pa.ipc.open_stream(row["lines"]).read_all()) for row in block.to_pylist()
        ]
        return pa.Table.from_pylist(results, schema=_ENCODED)

    def _encode(self, number: int, lines: pa.Table) -> dict[str, Any]:
        table = Dataset(lines.replace_schema_metadata(), info=None).cast(self.features)
        columns = table.to_dict()
        encoded = self.encoder.encode_batch(columns)
        faults = [problem or broken for problem, broken in zip(encoded.pop("problem"), encoded.pop("broken"))]
        kept = {name: values for name, values in columns.items() if name not in self.encoder.consumed}
        features = encoded_features(self.features, self.encoder)
        good = {
            name: [value for value, fault in zip(values, faults) if fault is None]
            for name, values in (kept | encoded).items()
        }
        content = io.BytesIO()
        Dataset.from_dict(good, Features({name: features[name] for name in good})).to_parquet(content)
        first = number * LINES_OF_A_FILE
        problems = [f"line {first + index + 1}: {fault}" for index, fault in enumerate(faults) if fault is not None]
        return {"number": number, "content": content.getvalue(), "problems": problems}


__all__ = ["LINES_OF_A_FILE", "EncodingWorker", "blocks_of", "check_table", "digest_of", "file_name"]
