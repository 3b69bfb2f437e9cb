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
"""Files of tables, looked at before `datasets` and pyarrow read them: their errors name neither file nor line."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from ..utils.text_files import read_text


def has_examples(path: Path) -> bool:
    """
    Whether a jsonl, json, csv or parquet file has examples.

    Raises:
        ValueError: if the file is not what its suffix says.
    """
    if path.suffix == ".parquet":
        return _num_parquet_rows(path) > 0
    lines = _lines(path)
    if path.suffix == ".csv":
        return _has_records(path, lines)
    return _has_objects(path, lines)


def _num_parquet_rows(path: Path) -> int:
    try:
        return pyarrow.parquet.read_metadata(path).num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is no parquet file: {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers from 1, without its byte order mark."""
    number = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        while True:
            number += 1
            try:
                line = file.readline()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 ({error.reason} near line {number}): save it as UTF-8."
                ) from error
            if not line:
                return
            yield number, line


def _has_records(path: Path, lines: Iterator[tuple[int, str]]) -> bool:
    """Whether a csv file has records under its header. pandas takes the first fields of longer ones for an index."""
    records = csv.reader(line for _, line in lines)
    header, is_filled = None, False
    try:
        for record in records:
            if header is None or not record:
                header = header or record
                continue
            if len(record) > len(header):
                raise ValueError(
                    f"{path}, line {records.line_num}, has {len(record)} fields under a header of {len(header)}: texts with "
                    "commas need quotes."
                )
            is_filled = True
    except csv.Error as error:
        raise ValueError(f"{path}, line {records.line_num}, is no csv: {error}.") from error
    return is_filled


def _has_objects(path: Path, lines: Iterator[tuple[int, str]]) -> bool:
    """Whether a file has JSON objects, one a line or in one list."""
    is_filled = False
    for number, line in lines:
        if not line.strip():
            continue
        if not is_filled and line.lstrip().startswith("["):
            return _is_filled_list(path)
        try:
            value = json.loads(line, parse_int=_read_int)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, is no JSON ({error}): a table has an object a line.") from error
        if not isinstance(value, dict) or not value:
            shown = line.strip()[:80]
            raise ValueError(f"{path}, line {number}, must be an object with columns, got {shown}.")
        is_filled = True
    return is_filled


def _read_int(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"{digits[:20]}... has more than 64 bits")
    return value


def _is_filled_list(path: Path) -> bool:
    try:
        values = json.loads(read_text(path), parse_int=_read_int)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    for number, value in enumerate(values):
        if not isinstance(value, dict) or not value:
            raise ValueError(f"{path}, item {number}, must be an object with columns, got {str(value)[:80]}.")
    return bool(values)
