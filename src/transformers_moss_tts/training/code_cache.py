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
"""Codes of recordings on the disk, by what the recordings contain and the codec that encoded them."""

import os
from pathlib import Path

import numpy as np

from ..utils.atomic_files import replacing


class CodeCache:
    """
    A folder of codes, one file a recording, which appears whole or not at all: any number of processes may fill it, and what was
    interrupted goes on.

    Args:
        folder (`str` or `os.PathLike`): of the codec and the number of codebooks; made when something is stored.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def load(self, digest: str) -> np.ndarray | None:
        """Codes `(frames, n_vq)` of the recording with this digest, if there are any."""
        path = self._path(digest)
        return np.load(path) if path.exists() else None

    def store(self, digest: str, codes: np.ndarray) -> None:
        """Keeps codes `(frames, n_vq)`."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, codes)

    def _path(self, digest: str) -> Path:
        # A folder of millions of files is slow.
        return self.folder / digest[:2] / f"{digest}.npy"
