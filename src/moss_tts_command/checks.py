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
"""Checks of arguments before anything is imported that takes time: files, folders, options without effect."""

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .arguments import SUITE_OPTIONS


# As `transformers_moss_tts.audio_io.save_audio` writes.
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
VOICE_SUFFIX = ".safetensors"
TIMING_SUFFIXES = (".srt", ".vtt", ".json")
# Bytes of the name of a file that is named after a text.
_LONGEST_STEM = 40
_MOST_NAMES = 1000
_OWN_ADDRESSES = ("127.0.0.1", "localhost", "::1")
# Options of `evaluate` that a comparison has too.
_OF_COMPARISONS = {"command", "compare", "output", "quiet"}


def check(args: argparse.Namespace) -> None:
    """
    Checks the arguments of a subcommand.

    Raises:
        ValueError: if a file is missing, the output cannot be written, or an option would have no effect.
    """
    _CHECKS[args.command](args)


def _check_speak(args: argparse.Namespace) -> None:
    _check_text(args)
    _check_long(args)
    references = [name for name in args.reference or [] if not is_remote(name)]
    for name in references:
        _check_file(name, "--reference")
    # Without a name it is played.
    args.is_named = args.output is not None
    if args.raw and not (args.stream and _is_pipe(args)):
        raise ValueError("`--raw` is for samples on the standard output: give `--stream -o -` too.")
    if args.stream:
        _check_stream(args)
        if not args.is_named or _is_pipe(args):
            return
    elif _is_pipe(args):
        raise ValueError("`-o -` is for streams: give `--stream` too, or the name of a file.")
    if not args.is_named:
        args.output = _free_name(args)
    _check_output(args.output, AUDIO_SUFFIXES)
    if args.output.exists() and any(os.path.samefile(args.output, name) for name in references):
        raise ValueError(f"`--output` is the reference {str(args.output)!r}, which would be lost: give another name.")


def _check_long(args: argparse.Namespace) -> None:
    """Options of long texts."""
    for path in args.timings or []:
        _check_output(path, TIMING_SUFFIXES, "--timings")
    is_long = args.script is not None or args.mode or args.timings or args.restart
    if is_long and args.duration is not None:
        raise ValueError("`--duration` is of a short text: leave it out for a long one and for a script.")
    if args.script is None and args.mode and len(args.reference or []) > 1:
        raise ValueError("`--mode` is of one voice: give one `--reference`, or a `--script` of several speakers.")
    if args.script is not None and args.mode:
        raise ValueError("`--mode` is of a long text: leave it out for a script.")


def _is_pipe(args: argparse.Namespace) -> bool:
    return args.output is not None and str(args.output) == "-"


def _check_stream(args: argparse.Namespace) -> None:
    if unused := sorted(_given(args) & {"script", "mode", "timings", "restart"}):
        raise ValueError(f"`--stream` takes no {_names(unused)}: leave one of them out.")
    if args.quiet and not args.is_named:
        raise ValueError(
            "`--quiet` plays nothing: name a file with `--output`, or leave one of `--stream` and `--quiet` out."
        )
    if args.duration is not None and args.text is None and args.text_file in (None, "-"):
        raise ValueError(
            "`--duration` is of a whole text, and one on the standard input is spoken sentence by sentence: give the text as an "
            "argument, or leave it out."
        )


def _check_text(args: argparse.Namespace) -> None:
    if args.script is not None:
        _check_file(args.script, "--script")
        return
    if args.text_file not in (None, "-"):
        _check_file(args.text_file, "--text-file")
        return
    if args.text is None:
        if args.text_file is None and sys.stdin is not None and sys.stdin.isatty():
            raise ValueError(
                'There is nothing to say: give a text, such as moss-tts "Hello there.", or `--text-file`.'
            )
        return
    if not args.text.strip():
        raise ValueError("There is nothing to say: the text is empty.")
    if _is_file(args.text):
        raise ValueError(
            f"The text {args.text!r} is the name of a file: to speak what is in it, give `--text-file`; to speak the name, "
            "`echo NAME | moss-tts`."
        )


def _is_file(text: str) -> bool:
    # A text may be longer than a name can be.
    with contextlib.suppress(OSError, ValueError):
        return Path(text).is_file()
    return False


def _free_name(args: argparse.Namespace) -> Path:
    """A wav file in the present folder that is not there yet, named after the text or its file."""
    file = args.script or args.text_file
    words = re.findall(r"[^\W_]+", ((args.text or "") if file in (None, "-") else Path(file).stem).lower())
    stem = ""
    for word in words:
        if len(f"{stem}-{word}".encode()) > _LONGEST_STEM:
            break
        stem = f"{stem}-{word}" if stem else word
    stem = stem or "speech"
    path = Path(f"{stem}.wav")
    for number in range(2, _MOST_NAMES):
        if not path.exists():
            return path
        path = Path(f"{stem}-{number}.wav")
    raise ValueError(f"There are {_MOST_NAMES} files such as {str(path)!r} here already: name one with `--output`.")


def _check_evaluate(args: argparse.Namespace) -> None:
    if args.compare:
        if without_effect := sorted(_given(args) - _OF_COMPARISONS):
            raise ValueError(f"A comparison takes no {_names(without_effect)}: both evaluations are done already.")
    elif args.suite is None or args.output is None:
        raise ValueError("An evaluation needs `--suite` and `--output`.")
    else:
        _check_suite(args)
    if args.output is not None:
        if args.output.is_file():
            raise ValueError(f"`--output` is the file {str(args.output)!r}: give a folder.")
        _check_writable(args.output / "report.md")


def _check_suite(args: argparse.Namespace) -> None:
    if args.data is None and args.text is None:
        raise ValueError(f"The suite {args.suite!r} needs `--data` or `--text`.")
    options = {name for names in SUITE_OPTIONS.values() for name in names}
    if unknown := sorted(_given(args) & options - set(SUITE_OPTIONS[args.suite])):
        raise ValueError(f"{_names(unknown)} is no option of the suite {args.suite!r}.")
    if args.recordings and (unused := sorted(_given(args) & {"device", "dtype", "max_new_tokens"})):
        raise ValueError(f"{_names(unused)} is of a model: with `--recordings` there is none.")
    if args.voices is not None and args.speaker == "none":
        raise ValueError("`--voices` is for the scorer of speakers: leave it out, or `--speaker none`.")
    for data in (args.data, args.floor_recordings):
        if data is not None and not Path(data).exists():
            raise ValueError(f"There is no data at {data!r}: give a .lst, .txt, .jsonl or audio file, or a folder.")
    for name in args.reference or []:
        _check_file(name, "--reference")
    if args.voices is not None:
        _check_file(args.voices, "--voices")


def is_remote(name: str) -> bool:
    """Whether an audio is a URL or a data URI, and no file."""
    return name.lower().startswith(("http://", "https://", "data:"))


def _check_convert(args: argparse.Namespace) -> None:
    if args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise ValueError(f"{str(args.folder)!r} exists and is no empty folder: give the name of a new one.")
    _check_writable(args.folder)


def _check_upload(args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        raise ValueError(f"There is no folder {str(args.folder)!r} to upload.")


def _check_voice(args: argparse.Namespace) -> None:
    if args.action == "list" and not args.folder.is_dir():
        raise ValueError(f"There is no folder {str(args.folder)!r} of voices.")
    if args.action == "show":
        _check_file(str(args.voice), "voice show")
    if args.action != "create":
        return
    for name in args.recordings:
        if not is_remote(name):
            _check_file(name, "voice create")
    _check_output(args.output, (VOICE_SUFFIX,))
    if len(args.text or args.recordings) != len(args.recordings):
        raise ValueError(f"Give `--text` for each of the {len(args.recordings)} recordings, or for none.")


def _check_serve(args: argparse.Namespace) -> None:
    if args.host not in _OWN_ADDRESSES and not (args.api_key or os.environ.get("MOSS_TTS_API_KEY")):
        raise ValueError(f"Whoever reaches {args.host!r} could speak: set `--api-key`, or leave `--host` out.")
    if args.voices is not None and args.voices.exists() and not args.voices.is_dir():
        raise ValueError(f"`--voices` must be a folder, and {str(args.voices)!r} is a file.")


def _check_batch(args: argparse.Namespace) -> None:
    if not Path(args.table).is_dir():
        _check_file(args.table, "batch")
    _check_writable(args.output / "metadata.jsonl")
    if args.output.is_dir() and Path(args.table).is_dir() and args.output.samefile(args.table):
        raise ValueError(f"`--output` is the table's folder {args.table!r}: give another one.")
    of_speech = ("format", "seed", "max_new_tokens")
    if args.encode and (unused := [name for name in of_speech if getattr(args, name) is not None]):
        raise ValueError(f"{_names(unused)} is of speech: with `--encode` there is none.")


_CHECKS = {
    "speak": _check_speak,
    "evaluate": _check_evaluate,
    "batch": _check_batch,
    "convert": _check_convert,
    "serve": _check_serve,
    "upload": _check_upload,
    "voice": _check_voice,
}


def _given(args: argparse.Namespace) -> set[str]:
    return {name for name, value in vars(args).items() if value not in (None, False)}


def _names(options: Iterable[str]) -> str:
    return ", ".join("`model`" if name == "model" else f"`--{name.replace('_', '-')}`" for name in options)


def _check_file(name: str, option: str) -> None:
    path = Path(name)
    try:
        is_there, is_empty = path.is_file(), path.is_file() and path.stat().st_size == 0
        if is_there and not is_empty:
            with path.open("rb"):
                return
    except OSError as error:
        raise ValueError(f"The file of `{option}` cannot be read: {name!r} ({error.strerror}).") from error
    kind = "empty" if is_empty else "a folder, not a file" if path.is_dir() else "missing"
    raise ValueError(f"The file of `{option}` is {kind}: {name!r}.")


def _check_output(path: Path, suffixes: tuple[str, ...], option: str = "--output") -> None:
    _check_writable(path)
    if path.is_dir():
        raise ValueError(f"`{option}` is the folder {str(path)!r}: give the name of a file in it.")
    if path.suffix.lower() not in suffixes:
        one_of = "one of " if len(suffixes) > 1 else ""
        raise ValueError(f"`{option}` must end with {one_of}{', '.join(suffixes)}, got {str(path)!r}.")


def _check_writable(path: Path) -> None:
    """Checks that a file or folder can be made, in the nearest folder above it that exists."""
    try:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        if not existing.is_dir():
            raise ValueError(f"`--output` lies in {str(existing)!r}, which is a file.")
        path.exists()
        # Permissions do not say it all: a disk may be read-only, or hold no files.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ValueError(f"`--output` {str(path)!r} cannot be written: {error.strerror}.") from error


__all__ = ["AUDIO_SUFFIXES", "TIMING_SUFFIXES", "VOICE_SUFFIX", "check", "is_remote"]
