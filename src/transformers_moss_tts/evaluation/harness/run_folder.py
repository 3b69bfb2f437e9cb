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
"""The output folder of an evaluation: what is written there as it goes, so that a run can stop and go on."""

import json
from pathlib import Path
from typing import Any

from ...utils.record_files import append_records, lines_of, read_object, read_records, write_file, write_object
from .metrics import Record


SETTINGS, RECORDS, SUMMARY, REPORT, AUDIO = "settings.json", "utterances.jsonl", "summary.json", "report.md", "audio"
_SOURCE = "source"  # the one setting that may change: a run can go on on another device


class RunFolder:
    """
    Output folder of a run.

    Args:
        path (`str` or `Path`): the folder; made by [`RunFolder.begin`] if it is missing.
        settings (`dict`): options that determine the numbers. A folder with records under other settings is refused.

    Raises:
        ValueError: if the folder holds records of other settings, or files of something else.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]):
        self.path = Path(path)
        self.settings = settings
        self.records: list[Record] = []
        self.source: str | None = None
        if self.path.exists():
            self._read()

    def begin(self, source: str) -> None:
        """Makes the folder, and remembers what its audio comes from, for reports."""
        self.source = source
        self.audio.mkdir(parents=True, exist_ok=True)
        settings = self.settings | {_SOURCE: source}
        write_object(self.path / SETTINGS, settings)
        write_file(self.path / RECORDS, lines_of(self.records))

    @property
    def audio(self) -> Path:
        return self.path / AUDIO

    @property
    def done(self) -> set[str]:
        """Ids of the tasks that have records."""
        return {record["task"] for record in self.records}

    def add(self, records: list[Record]) -> None:
        """Keeps all records of a task, or, if the process dies or the disk is full, none."""
        append_records(self.path / RECORDS, records)
        self.records += records

    def _read(self) -> None:
        if not self.path.is_dir():
            raise ValueError(f"The output {str(self.path)!r} is a file: give a folder.")
        if not (self.path / SETTINGS).is_file():
            if any(self.path.iterdir()):
                raise ValueError(
                    f"The folder {str(self.path)!r} is not empty and holds no evaluation: give another one."
                )
            return
        # Failed utterances get another chance.
        self.records = [record for record in read_run(self.path) if "error" not in record]
        known = read_settings(self.path)
        self.source = known.pop(_SOURCE, None)
        plain = json.loads(json.dumps(self.settings))
        changed = [name for name in known | plain if known.get(name) != plain.get(name)]
        if changed and self.records:
            raise ValueError(
                f"The folder {str(self.path)!r} holds an evaluation with another {', '.join(changed)} "
                f"({known.get(changed[0])!r}, not {plain.get(changed[0])!r}): give another folder, or remove it."
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """Settings of a run."""
    return read_object(folder / SETTINGS)


def read_run(folder: Path) -> list[Record]:
    """Records of a run. Where the last line was not written to its end, those of its task are left out."""
    records, is_whole = read_records(folder / RECORDS)
    if is_whole or not records:
        return records
    return [record for record in records if record["task"] != records[-1]["task"]]


__all__ = ["RunFolder", "read_run", "read_settings"]
