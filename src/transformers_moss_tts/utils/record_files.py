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
"""Tables of records as JSON, one a line, that grow while a run goes on, and the files beside them."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .atomic_files import replacing
from .text_files import decode_text, read_text


Record = dict[str, Any]


def lines_of(records: Iterable[Record]) -> bytes:
    """Records as JSON, one a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def read_records(path: Path) -> tuple[list[Record], bool]:
    """
    Records of a table so far, none where there is no file, and whether the last line was written to its end; one that was not is
    left out.

    Raises:
        ValueError: if a line is not a record.
    """
    if not path.is_file():
        return [], True
    *lines, rest = path.read_bytes().split(b"\n")
    return [_object(path, decode_text(line, f"A line of {path}")) for line in lines], not rest


def read_object(path: Path) -> Record:
    """
    The JSON object of a file.

    Raises:
        ValueError: if it holds something else.
    """
    return _object(path, read_text(path))


def append_records(path: Path, records: Iterable[Record]) -> None:
    """
    Adds lines to a table.

    Raises:
        OSError: if they cannot be written; of a line that is not whole nothing stays.
    """
    content = lines_of(records)
    if not content:
        return
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError:
        with contextlib.suppress(OSError), path.open("r+b") as file:
            file.truncate(size)
        raise


def write_file(path: Path, content: bytes) -> None:
    """
    Writes a file, whole or not at all.

    Raises:
        OSError: if it cannot be written, as on a full disk.
    """
    path.parent.mkdir(exist_ok=True)
    try:
        with replacing(path) as temporary:
            Path(temporary).write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_object(path: Path, value: Record) -> None:
    """Writes a JSON object, whole or not at all."""
    write_file(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def _object(path: Path, text: str) -> Record:
    reason = "it is not JSON"
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
        reason = f"it holds {value!r:.80}"
    except (ValueError, RecursionError):
        pass
    raise ValueError(f"{str(path)!r} is damaged, {reason}: give another folder, or remove it.")


__all__ = ["Record", "append_records", "lines_of", "read_object", "read_records", "write_file", "write_object"]
