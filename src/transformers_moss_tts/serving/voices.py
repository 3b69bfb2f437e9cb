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
"""The folder with the voices of a server."""

import re
from pathlib import Path

from ..moss_tts.voice import Voice
from ..moss_tts.voice_file import VOICE_SUFFIX
from .protocol import DEFAULT_VOICE


# No separators and no dots: a name is a file of the folder and no other.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_VOICES = 1000


class VoiceFolder:
    """
    Voices by their names, a file each. Files that others put there are found too.

    Args:
        folder (`Path`, *optional*): the folder, which is made when a voice is added; without one there are no voices.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._loaded: dict[str, tuple[tuple[int, int], Voice]] = {}

    def names(self) -> list[str]:
        """Names of all voices."""
        files = [] if self.folder is None else self.folder.glob(f"*{VOICE_SUFFIX}")
        return sorted(file.stem for file in files if _NAME.fullmatch(file.stem))[:_MOST_VOICES]

    def get(self, name: str) -> Voice:
        """
        Raises:
            KeyError: if there is no voice of this name.
            ValueError: if its file is damaged.
        """
        file = self._file(name)
        try:
            status = file.stat()
        except OSError as error:
            raise KeyError(name) from error
        # A file that was replaced is read again.
        state = (status.st_mtime_ns, status.st_size)
        if name not in self._loaded or self._loaded[name][0] != state:
            self._loaded[name] = (state, Voice.load(file))
        return self._loaded[name][1]

    def add(self, name: str, voice: Voice) -> None:
        """
        Raises:
            ValueError: if the name cannot be one of a voice, or is taken, or there are too many voices.
        """
        check_name(name)
        if self.folder is None:
            raise ValueError("This server keeps no voices: start it with `--voices FOLDER`.")
        names = self.names()
        if name in names:
            raise ValueError(f"There is a voice {name!r} already: delete it first, or take another name.")
        if len(names) >= _MOST_VOICES:
            raise ValueError(f"There are {_MOST_VOICES} voices already: delete one first.")
        self.folder.mkdir(parents=True, exist_ok=True)
        voice.save(self._file(name))

    def delete(self, name: str) -> None:
        """
        Raises:
            KeyError: if there is no voice of this name.
        """
        try:
            self._file(name).unlink()
        except OSError as error:
            raise KeyError(name) from error
        self._loaded.pop(name, None)

    def _file(self, name: str) -> Path:
        if self.folder is None or not _NAME.fullmatch(name):
            raise KeyError(name)
        return self.folder / f"{name}{VOICE_SUFFIX}"


def check_name(name: str) -> None:
    """
    Raises:
        ValueError: if a name cannot be one of a voice.
    """
    if not _NAME.fullmatch(name) or name == DEFAULT_VOICE:
        raise ValueError(
            f"The name of a voice has up to 64 letters, digits, - and _, and is not {DEFAULT_VOICE!r}; got {name!r:.80}."
        )


__all__ = ["VoiceFolder", "check_name"]
