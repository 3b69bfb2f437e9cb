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

import io
import os
from pathlib import Path

import numpy as np
from transformers.utils import logging

from ..utils.atomic_files import replacing


logger = logging.get_logger(__name__)


class CodeCache:
    """
    Folder of codes, one file a recording, which appears whole or not at all. Any number of processes may fill it, and a
    preparation that was interrupted goes on.

    Args:
        folder (`str` or `os.PathLike`): folder of the codec and the number of codebooks; made when something is stored.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def load(self, digest: str) -> np.ndarray | None:
        """Codes `(frames, n_vq)` of the recording with this digest; None if there are none, or their file is damaged."""
        path = self._path(digest)
        try:
            codes = np.load(path)
        except FileNotFoundError:
            return None
        # NumPy raises these for files that are empty, cut off, of another kind or not readable.
        except (OSError, ValueError, EOFError, MemoryError) as error:
            logger.warning(f"{path} is damaged ({error}): its recording is encoded again.")
            return None
        is_codes = isinstance(codes, np.ndarray) and codes.ndim == 2 and codes.dtype == np.int16 and len(codes) > 0
        if not is_codes:
            logger.warning(f"{path} holds no codes: its recording is encoded again.")
            return None
        return codes

    def store(self, digest: str, codes: np.ndarray) -> None:
        """
        Keeps codes `(frames, n_vq)`.

        Raises:
            OSError: if the disk is full or the folder cannot be written to; no file is left then.
        """
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        # `np.save` into an open file loses the error of its last write.
        content = io.BytesIO()
        np.save(content, codes.astype(np.int16))
        with replacing(path) as temporary:
            Path(temporary).write_bytes(content.getbuffer())

    def _path(self, digest: str) -> Path:
        # A folder of millions of files is slow.
        return self.folder / digest[:2] / f"{digest}.npy"
