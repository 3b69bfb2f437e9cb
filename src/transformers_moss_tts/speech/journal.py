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
"""The state of a long speech: a line for each stretch that is in the audio file, from which a run that was killed goes on."""

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout


_FORMAT, _VERSION = "transformers-moss-tts long speech", 1
# A line of a minute of 32 codebooks has 64 kB.
_LONGEST_LINE = 2**22


@dataclass(frozen=True)
class Record:
    """
    A stretch that was said.

    Args:
        start, end (`int`): first sample of it, and the first behind it.
        num_samples (`int`): samples of the file, with the silence behind the stretch.
        cues (`list[list[float]]`): start and end of each sentence, in seconds.
        take (`int`): number of the take that was kept, from 0.
        fault (`str`, *optional*): guard that acted on it.
        similarity (`float`, *optional*): cosine of its voice to the one that was given.
        is_anchor (`bool`): whether it goes on from the voice alone, and not from what was said before.
        codes (`str`): its codes.
    """

    start: int
    end: int
    num_samples: int
    cues: list[list[float]]
    take: int
    fault: str | None
    similarity: float | None
    is_anchor: bool
    codes: str


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("start", "end", "num_samples", "take"), int),
    "cues": list,
    "fault": str | None,
    "similarity": float | None,
    "is_anchor": bool,
    "codes": str,
}


def journal_path(path: Path) -> Path:
    """Where the state of an audio file lies."""
    return path.with_name(f"{path.name}.state.jsonl")


class Journal:
    """
    The state of the audio file at `path`.

    Args:
        path (`Path`): audio file.
        digest (`str`): of everything that decides what the file will be.

    Raises:
        ValueError: if there is a state, and it is damaged, of a newer version, or of another speech.
    """

    def __init__(self, path: Path, digest: str):
        self.path = journal_path(path)
        self.digest = digest
        self.records: list[Record] = []
        self._size = 0
        if self.path.exists():
            self._read()

    def append(self, record: Record) -> None:
        """
        Writes a record; of one that cannot be written whole nothing stays.

        Raises:
            OSError: if it cannot be written.
        """
        lines = [json.dumps(asdict(record)).encode() + b"\n"]
        if not self.records:
            header = {"format": _FORMAT, "version": _VERSION, "digest": self.digest}
            lines.insert(0, json.dumps(header).encode() + b"\n")
        data = b"".join(lines)
        with self.path.open("r+b" if self._size else "wb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(data)
        self.records.append(record)
        self._size += len(data)

    def remove(self) -> None:
        """Removes the state."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        if not self.path.is_file():
            raise ValueError(
                f"{str(self.path)!r} is where the state of the speech is kept, and no file: move it away."
            )
        with self.path.open("rb") as file:
            for number, line in enumerate(self._lines(file), 1):
                try:
                    self._take(line, number)
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise ValueError(
                        f"The state {str(self.path)!r} of a speech that was begun cannot be gone on from: line {number} {error}. "
                        "Begin anew with `restart=True`."
                    ) from error
                self._size += len(line)

    def _lines(self, file: Any) -> Iterator[bytes]:
        """Whole lines: one that was cut when the run was killed is not there."""
        while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
            yield line
        if len(line) == _LONGEST_LINE:
            yield line

    def _take(self, line: bytes, number: int) -> None:
        try:
            values = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise ValueError("is damaged") from error
        if number == 1:
            self._check_header(values)
            return
        if not isinstance(values, dict) or values.keys() != {field.name for field in fields(Record)}:
            raise ValueError("is damaged")
        for name, kind in _KINDS.items():
            if not isinstance(values[name], kind) or (kind is int and isinstance(values[name], bool)):
                raise ValueError(f"is damaged: `{name}` is {values[name]!r:.40}")
        if not all(map(_is_cue, values["cues"])):
            raise ValueError(f"is damaged: `cues` is {values['cues']!r:.40}")
        record = Record(**values)
        before = self.records[-1].num_samples if self.records else 0
        if not before <= record.start <= record.end <= record.num_samples:
            raise ValueError("is damaged: its times are not behind those before")
        self.records.append(record)

    def _check_header(self, values: Any) -> None:
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError("is not that of such a state")
        if values.get("version") != _VERSION:
            raise ValueError(f"says version {values.get('version')!r}, and this package reads {_VERSION}")
        if values.get("digest") != self.digest:
            raise ValueError(
                "is of another text, voice, model or other settings than these. Give the same ones to go on"
            )


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _is_cue(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) in (int, float) for item in value)


def pack_codes(codes: torch.LongTensor) -> str:
    """Codes `(frames, n_vq)` as a text."""
    return f"{codes.shape[1]}:{base64.b64encode(codes.to(torch.int32).numpy().astype('<i4').tobytes()).decode()}"


def unpack_codes(text: str, codebook_size: int) -> torch.LongTensor:
    """
    What [`pack_codes`] packed.

    Raises:
        ValueError: if it is damaged.
    """
    width, _, data = text.partition(":")
    try:
        codes = np.frombuffer(base64.b64decode(data, validate=True), dtype="<i4").reshape(-1, int(width))
    except (ValueError, binascii.Error) as error:
        raise ValueError("The codes of the state are damaged: begin anew with `restart=True`.") from error
    if codes.size and not 0 <= codes.min() <= codes.max() < codebook_size:
        raise ValueError("The codes of the state are damaged: begin anew with `restart=True`.")
    return torch.from_numpy(codes.astype(np.int64))


@contextlib.contextmanager
def writing_alone(path: Path) -> Iterator[None]:
    """
    Holds the lock of an audio file, a file beside it. The system opens it again when a process ends, also one that is killed.

    Raises:
        ValueError: if another run holds it.
        OSError: if the file cannot be written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"Another run is writing {str(path)!r}: wait for its end, or give another name.") from error
    try:
        yield
    finally:
        # Windows removes no file that is open.
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def remove_state(path: str | os.PathLike) -> None:
    """Removes the state of an audio file."""
    journal_path(Path(path)).unlink(missing_ok=True)


__all__ = ["Journal", "Record", "journal_path", "pack_codes", "remove_state", "unpack_codes", "writing_alone"]
