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
"""The output folder of a batch, written as it goes, so that a run can stop and go on."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..utils.atomic_files import replacing
from ..utils.text_files import decode_text, read_text


SETTINGS, TABLE, PROBLEMS = "batch.json", "metadata.jsonl", "problems.jsonl"


class BatchFolder:
    """
    Output folder of a batch.

    Args:
        path (`Path`): the folder; made by [`BatchFolder.begin`] if it is missing.
        settings (`dict`): what decides the results beside the table.

    Raises:
        ValueError: if the folder holds a batch with other settings, or something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.path, self.settings = path, json.loads(json.dumps(settings))
        if not path.exists():
            return
        if not path.is_dir():
            raise ValueError(f"`--output` {str(path)!r} is a file: give a folder.")
        if not (path / SETTINGS).is_file():
            if any(path.iterdir()):
                raise ValueError(f"The folder {str(path)!r} is not empty and holds no batch: give another one.")
            return
        known = _object(path / SETTINGS, read_text(path / SETTINGS))
        if changed := [name for name in known | self.settings if known.get(name) != self.settings.get(name)]:
            raise ValueError(
                f"The folder {str(path)!r} holds a batch with another {', '.join(changed)} ({known.get(changed[0])!r:.80}, not "
                f"{self.settings.get(changed[0])!r:.80}): give another folder, or remove it."
            )

    def begin(self) -> None:
        """Makes the folder. Of a line that was not written to its end nothing stays, and lines with problems get another chance."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.write(SETTINGS, json.dumps(self.settings, indent=1, ensure_ascii=False).encode() + b"\n")
        if records := self.records():
            self.write(TABLE, lines_of(records))
        (self.path / PROBLEMS).unlink(missing_ok=True)

    def records(self, name: str = TABLE) -> list[dict[str, Any]]:
        """Lines of a table so far; one that was not written to its end is not there."""
        path = self.path / name
        if not path.is_file():
            return []
        *lines, _ = path.read_bytes().split(b"\n")
        return [_object(path, decode_text(line, f"A line of {path}")) for line in lines]

    def add(self, records: Iterable[dict[str, Any]], name: str = TABLE) -> None:
        """
        Adds lines to a table.

        Raises:
            OSError: if they cannot be written; of a line that is not whole nothing stays.
        """
        path, content = self.path / name, lines_of(records)
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

    def write(self, name: str, content: bytes) -> None:
        """
        Writes a file, whole or not at all.

        Raises:
            OSError: if it cannot be written, as on a full disk.
        """
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        try:
            with replacing(path) as temporary:
                Path(temporary).write_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def lines_of(records: Iterable[dict[str, Any]]) -> bytes:
    """Records as JSON, one a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError):
        pass
    raise ValueError(f"{str(path)!r} is damaged: give another folder, or remove it.")


__all__ = ["PROBLEMS", "TABLE", "BatchFolder", "lines_of"]
