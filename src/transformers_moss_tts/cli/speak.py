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

"""`moss-tts TEXT`: speaks a text."""

import argparse
import sys
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import pipeline
from transformers.generation.streamers import BaseStreamer

from ..audio_io import save_audio
from ..bundled_models import bundled_model


_EXAMPLES = """\
examples:
  moss-tts "Hello there." -o hello.wav
  moss-tts "Hello there." -o hello.wav --reference voice.wav --duration 2
  moss-tts --text-file story.txt -o story.flac --model OpenMOSS-Team/MOSS-TTS --device cuda
  echo "Hello there." | moss-tts -o hello.wav

other commands, each with --help:
  moss-tts evaluate   measures a model or codec
  moss-tts upload     uploads a model, codec or adapter to the Hub
A text that is the name of a command follows this one's: moss-tts speak "upload"

exit codes:
  0  the audio was written
  1  the model, the reference or the text could not be used; the reason is on standard error
  2  wrong arguments
  130  interrupted
"""


class _FrameBar(BaseStreamer):
    """Counts the steps of a generation, each a frame but for the few that open and end a span."""

    def __init__(self, bar: tqdm):
        self.bar = bar
        self.is_prompt = True

    def put(self, value: torch.LongTensor) -> None:
        if not self.is_prompt:
            self.bar.update()
        self.is_prompt = False

    def end(self) -> None:
        self.bar.refresh()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moss-tts",
        description="Speaks a text.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    said = parser.add_mutually_exclusive_group()
    said.add_argument("text", nargs="?", help="what to say; standard input if neither this nor --text-file is given")
    said.add_argument("--text-file", help="file with what to say, - for standard input")
    parser.add_argument("-o", "--output", type=Path, required=True, help="wav, flac, mp3, ogg or opus file")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--reference", help="recording of the voice to clone, file or URL")
    parser.add_argument("--language", help='name of the language, for example "English"')
    parser.add_argument("--duration", type=_seconds, help="length wanted, in seconds")
    parser.add_argument("--seed", type=int, help="of the sampling; drawn anew by default")
    parser.add_argument("--device", help="for example cpu, cuda, cuda:1; the fastest there is by default")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0 seconds, got {value}")
    return seconds


def read_text(args: argparse.Namespace) -> str:
    """
    Raises:
        OSError: if the file cannot be read.
        ValueError: if there is nothing to say, or the file is no UTF-8 text.
    """
    if args.text is not None:
        text = args.text
    elif args.text_file is None or args.text_file == "-":
        text = sys.stdin.read()
    else:
        text = Path(args.text_file).read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError("There is nothing to say: the text is empty.")
    return text.strip()


def _load(model: str, device: str | None):
    try:
        return pipeline("text-to-speech", model=model, device=device)
    except (OSError, ValueError) as error:
        raise ValueError(f"The model {model!r} could not be loaded: {error}") from error


def run(args: argparse.Namespace) -> None:
    """
    Speaks and writes what the arguments ask for.

    Raises:
        OSError, ValueError, TypeError, RuntimeError: if the text, the reference or the model cannot be used.
    """
    text = read_text(args)
    speak = _load(args.model or str(bundled_model()), args.device)
    content = [{"type": "text", "text": text}]
    if args.reference is not None:
        content.insert(0, {"type": "audio", "audio": args.reference})
    message = {
        "role": "user",
        "content": content,
        "language": args.language,
        "duration_seconds": args.duration,
    }
    frames = None if args.duration is None else round(args.duration * speak.processor.frame_rate)
    start = time.perf_counter()
    with tqdm(total=frames, unit=" frames", desc="speaking", disable=args.quiet, file=sys.stderr) as bar:
        options = {"streamer": _FrameBar(bar)}
        if args.seed is not None:
            options["seed"] = args.seed
        speech = speak([message], generate_kwargs=options)
    took = time.perf_counter() - start
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_audio(speech["audio"], args.output, speech["sampling_rate"])
    seconds = speech["audio"].shape[-1] / speech["sampling_rate"]
    print(f"{args.output}: {seconds:.2f} s of audio in {took:.2f} s, {seconds / took:.1f} times faster than real time")
