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
"""Files that appear whole or not at all."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


# What temporary files and folders are called, beside what they become.
_PREFIX = ".saving."
# For libraries that match paths in a folder with patterns.
TEMPORARY_PATTERNS = (f"{_PREFIX}*", f"*/{_PREFIX}*")
# Age in seconds from which what a killed process left is removed.
_STALE = 86400


def is_temporary(path: Path) -> bool:
    """Whether a file is one that was being written, or is in such a folder; a process that is killed leaves it."""
    return any(part.startswith(_PREFIX) for part in path.parts)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[str]:
    """Gives a temporary file name in the folder of `path`, which becomes `path` unless an error is raised."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{_PREFIX}{path.name[:100]}.")
    os.close(handle)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


# Weights of a model or an adapter and their index; the groups say whose, and of which variant.
_WEIGHTS = re.compile(r"(adapter_model|model)(?:\.([^.-]+))?(?:-\d{5}-of-\d{5})?\.safetensors")
_INDEX = re.compile(r"(adapter_model|model)\.safetensors\.index(?:\.([^.]+))?\.json")


def final_folder(folder: Path) -> Path:
    """The folder that files will be in: of the temporary folder of [`replacing_files`] the one that it is in."""
    return folder.parent if folder.name.startswith(_PREFIX) else folder


@contextlib.contextmanager
def replacing_files(folder: str | os.PathLike) -> Iterator[str]:
    """
    Gives an empty temporary folder inside of `folder`, which is made if it is missing. Unless an error is raised, its files
    then replace those of `folder`, one by one, and weights of an earlier save that would be read instead of them go.

    Raises:
        OSError: if the files cannot be written; libraries that write files raise errors of their own then.
    """
    folder = Path(folder)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file; files can be saved into a folder only.")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_PREFIX))
    try:
        try:
            yield str(temporary)
        except (OSError, ValueError, TypeError, RuntimeError, AttributeError, LookupError):
            raise
        except Exception as error:
            raise OSError(f"{folder} could not be written: {error}") from error
        _move_files(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    indices = [path.read_text(errors="replace") for path in folder.glob("*.index.json")]
    for path in folder.glob(f"{_PREFIX}*"):
        # A save that was killed may have left the only whole weights there.
        if any(path.name in index for index in indices):
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _move_files(source: Path, target: Path) -> None:
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    for file in files:
        if file.name.endswith(".index.json"):
            _place_shards(source, target, file)
    # An index after the shards that it names.
    for file in sorted(files, key=lambda file: file.name.endswith(".index.json")):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / file, target / file)
    written = {file.name for file in files}
    whose = {_whose(name) for name in written} - {None}
    for path in target.iterdir():
        if path.name not in written and _whose(path.name) in whose:
            path.unlink()


def _place_shards(source: Path, target: Path, index: Path) -> None:
    """
    Gives `target` the shards of an index of `source`, a folder in it. Shards of two saves have the same names, so the index that
    is read meanwhile names those in `source`.
    """
    content = json.loads((source / index).read_text())
    shards = sorted(set(content["weight_map"].values()))
    if not any((target / shard).exists() for shard in shards):
        return
    linked = source / f"{_PREFIX}shard"
    try:
        os.link(source / shards[0], linked)
    except OSError:
        # A file system without links: until the new index is there nothing loads, instead of shards of two saves as one.
        (target / index).unlink(missing_ok=True)
        return
    content["weight_map"] = {name: f"{source.name}/{shard}" for name, shard in content["weight_map"].items()}
    with replacing(target / index) as path:
        Path(path).write_text(json.dumps(content))
    for shard in shards:
        linked.unlink(missing_ok=True)
        os.link(source / shard, linked)
        os.replace(linked, target / shard)


def _whose(name: str) -> tuple[str | Any, ...] | None:
    match = _WEIGHTS.fullmatch(name) or _INDEX.fullmatch(name)
    return None if match is None else match.groups()


__all__ = ["TEMPORARY_PATTERNS", "final_folder", "is_temporary", "replacing", "replacing_files"]
