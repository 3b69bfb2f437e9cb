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
"""The code of a release, read from a folder that a user names: nothing of it is in this repository."""

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path


def import_reference(folder: Path, name: str) -> types.ModuleType:
    """
    Imports a module of a folder whose files import each other, as the repositories of the releases are. It runs the folder's code.

    Raises:
        ValueError: if the folder has no such module.
    """
    if not (folder / f"{name}.py").is_file():
        raise ValueError(f"{folder} has no {name}.py: name a folder with the code of the release.")
    if find_spec("torchaudio") is None:
        # The code imports it for recordings, of which a benchmark has none.
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
        sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
    package = sys.modules.setdefault("reference_code", types.ModuleType("reference_code"))
    package.__path__ = [str(folder)]
    return importlib.import_module(f"reference_code.{name}")


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Swallows the progress bars that the code of the releases writes."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
