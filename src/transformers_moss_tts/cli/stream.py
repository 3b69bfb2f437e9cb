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
"""What `moss-tts speak --stream` does: speech is played, piped or written while it is generated."""

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..speech.growing_audio import GrowingAudio, spool_path, wave_header
from ..speech.streaming import SpeechStream, stream_speech
from ..utils.playing import open_player


class PipedAudio:
    """
    Samples of 16 bit on the standard output.

    Args:
        stream ([`SpeechStream`]): what is piped.
        is_raw (`bool`): samples alone (little endian, channels interleaved); else behind the header of a wav file of unknown length.
    """

    def __init__(self, stream: SpeechStream, is_raw: bool):
        self.file = sys.stdout.buffer
        if not is_raw:
            header = bytearray(wave_header(stream.sampling_rate, stream.num_channels, 0))
            # The sizes of a stream, which nobody knows yet.
            header[4:8] = header[-4:] = b"\xff" * 4
            self.file.write(header)
            self.file.flush()

    def append(self, audio: np.ndarray) -> None:
        """Writes audio `(channels, samples)`."""
        self.file.write(pcm_of(audio))
        self.file.flush()


def pcm_of(audio: np.ndarray) -> bytes:
    """Samples of 16 bit of audio `(channels, samples)`, floats in -1 to 1 (clipped outside)."""
    return np.round(np.clip(audio, -1, 1).T * 32767).astype("<i2").tobytes()


def speak_streaming(
    model: Any, processor: Any, text: Any, args: Namespace, options: dict, fields: dict
) -> SpeechStream:
    """
    Speaks to a player, a pipe or a file.

    Args:
        model, processor: generator and its processor.
        text (`str` or `Iterable[str]`): what to say, as [`stream_speech`] takes it.
        args (`Namespace`): arguments of the command.
        options (`dict`): arguments of `generate`.
        fields (`dict`): arguments of the processor's call.

    Raises:
        BrokenPipeError: if whoever listens is gone.
        OSError: if a file cannot be written; what was written before is whole.
        RuntimeError: if there was no sound, or a guard ended the speech.
        ValueError: if there is no player.
    """
    seed = options.pop("seed", None)
    with stream_speech(model, processor, text, seed=seed, generate_kwargs=options, **fields) as stream:
        with contextlib.ExitStack() as stack:
            # A file of the same name, and whoever reads the pipe, are left alone until there is a sound. A player may be missing.
            write = None if args.is_named else stack.enter_context(_sink(stream, args))
            for audio in stream:
                write = write or stack.enter_context(_sink(stream, args))
                write(np.asarray(audio))
                if not args.quiet:
                    _show(stream)
    if not args.quiet:
        print(file=sys.stderr)
    if stream.seconds == 0:
        raise RuntimeError("The model ended without a sound.")
    if stream.faults and not args.allow_cut:
        raise RuntimeError(
            f"The speech went wrong ({', '.join(stream.faults)}): try another `--seed`, or accept it with `--allow-cut`."
        )
    return stream


@contextlib.contextmanager
def _sink(stream: SpeechStream, args: Namespace) -> Iterator[Callable[[np.ndarray], None]]:
    if not args.is_named:
        with open_player(stream.sampling_rate, stream.num_channels) as player:
            yield lambda audio: _feed(player, pcm_of(audio))
        return
    if os.fspath(args.output) == "-":
        yield PipedAudio(stream, args.raw).append
        return
    args.output.parent.mkdir(parents=True, exist_ok=True)
    file = GrowingAudio(args.output, stream.sampling_rate, stream.num_channels)
    try:
        yield file.append
    finally:
        try:
            file.finish()
        finally:
            file.close()
            # Nobody goes on with a stream.
            spool_path(args.output).unlink(missing_ok=True)


def _feed(player: Any, samples: bytes) -> None:
    player.stdin.write(samples)
    player.stdin.flush()


def _show(stream: SpeechStream) -> None:
    state = f"first audio after {stream.first_audio:.2f} s, {stream.seconds:.1f} s made, {stream.lead:+.1f} s ahead"
    # A line that is written over on a terminal.
    if sys.stderr.isatty():
        print(f"\r{state:<70}", end="", file=sys.stderr, flush=True)


__all__ = ["PipedAudio", "pcm_of", "speak_streaming"]
