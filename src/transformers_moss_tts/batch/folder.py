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

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..utils.record_files import (
    Record,
    append_records,
    lines_of,
    read_object,
    read_records,
    write_file,
    write_object,
)


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
        known = read_object(path / SETTINGS)
        if changed := [name for name in known | self.settings if known.get(name) != self.settings.get(name)]:
            raise ValueError(
                f"The folder {str(path)!r} holds a batch with another {', '.join(changed)} ({known.get(changed[0])!r:.80}, not "
                f"{self.settings.get(changed[0])!r:.80}): give another folder, or remove it."
            )

    def begin(self) -> None:
        """Makes the folder. Of a line that was not written to its end nothing stays, and lines with problems get another chance."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_object(self.path / SETTINGS, self.settings)
        if records := self.records():
            self.write(TABLE, lines_of(records))
        (self.path / PROBLEMS).unlink(missing_ok=True)

    def records(self, name: str = TABLE) -> list[Record]:
        """Lines of a table so far; one that was not written to its end is not there."""
        return read_records(self.path / name)[0]

    def add(self, records: Iterable[Record], name: str = TABLE) -> None:
        """Adds lines to a table; raises an OSError if they cannot be written."""
        append_records(self.path / name, records)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all; raises an OSError if it cannot be written."""
        write_file(self.path / name, content)


__all__ = ["PROBLEMS", "TABLE", "BatchFolder"]
