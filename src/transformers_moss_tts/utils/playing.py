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

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any


# Programs that play the file that they are given and end; those of macOS, PulseAudio, PipeWire, ALSA, ffmpeg and SoX.
_PLAYERS = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"),
    ("play", "-q"),
)


# Programs that play samples from their standard input.
_STREAM_PLAYERS = (
    ("pw-cat", "--playback", "--raw", "--rate", "{rate}", "--channels", "{channels}", "--format", "s16", "-"),
    ("pacat", "--playback", "--raw", "--rate={rate}", "--channels={channels}", "--format=s16le"),
    ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", "{rate}", "-c", "{channels}"),
    (
        "ffplay",
        "-nodisp",
        "-autoexit",
        "-loglevel",
        "quiet",
        "-f",
        "s16le",
        "-ar",
        "{rate}",
        "-ch_layout",
        "{channels}c",
        "-",
    ),
    ("play", "-q", "-t", "raw", "-e", "signed", "-b", "16", "-r", "{rate}", "-c", "{channels}", "-"),
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


@contextlib.contextmanager
def open_player(sampling_rate: int, num_channels: int) -> Iterator[subprocess.Popen]:
    """
    A program that plays what is written to its `stdin`, samples of 16 bit (little endian, channels interleaved), while they come. At
    the end it plays what it has; where the block fails it is stopped.

    Raises:
        ValueError: if there is none.
    """
    for program, *options in _STREAM_PLAYERS:
        found = shutil.which(program)
        if found is not None:
            break
    else:
        programs = ", ".join(program for program, *_ in _STREAM_PLAYERS)
        raise ValueError(f"There is no program that plays streams ({programs}): give `-o FILE`, or `-o -` for a pipe.")
    options = [option.format(rate=sampling_rate, channels=num_channels) for option in options]
    player = subprocess.Popen([found, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    written: Any = player.stdin
    try:
        yield player
        written.close()
        player.wait()
    finally:
        with contextlib.suppress(BrokenPipeError):
            written.close()
        player.kill()
        player.wait()


__all__ = ["open_player", "play"]
