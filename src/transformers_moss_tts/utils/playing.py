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
"""Playing a file, with what the machine has."""

import os
import shutil
import subprocess


# Programs that play the file that they are given and end; those of macOS, PulseAudio, PipeWire, ALSA, ffmpeg and SoX.
_PLAYERS = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"),
    ("play", "-q"),
)


def play(path: str | os.PathLike) -> bool:
    """
    Plays a wav file where there is a program that can, and waits for its end.

    Returns:
        `bool`: whether a program played it.
    """
    for program, *options in _PLAYERS:
        found = shutil.which(program)
        if found is None:
            continue
        played = subprocess.run([found, *options, os.fspath(path)], stdin=subprocess.DEVNULL, capture_output=True)
        # A machine may have the program and no sound.
        if played.returncode == 0:
            return True
    return False


__all__ = ["play"]
