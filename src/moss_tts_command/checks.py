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
import os
from collections.abc import Iterable
from pathlib import Path

from .arguments import SUITE_OPTIONS


# As `transformers_moss_tts.audio_io.save_audio` writes.
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
VOICE_SUFFIX = ".safetensors"
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
    if args.text_file not in (None, "-"):
        _check_file(args.text_file, "--text-file")
    if args.text is not None and not args.text.strip():
        raise ValueError("There is nothing to say: the text is empty.")
    references = [name for name in args.reference or [] if not is_remote(name)]
    for name in references:
        _check_file(name, "--reference")
    if args.output.suffix.lower() not in AUDIO_SUFFIXES:
        raise ValueError(f"`--output` must end with one of {', '.join(AUDIO_SUFFIXES)}, got {str(args.output)!r}.")
    if args.output.is_dir():
        raise ValueError(f"`--output` is the folder {str(args.output)!r}: give the name of a file in it.")
    if args.output.exists() and any(os.path.samefile(args.output, name) for name in references):
        raise ValueError(f"`--output` is the reference {str(args.output)!r}, which would be lost: give another name.")
    _check_writable(args.output.parent)


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
        _check_writable(args.output)


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
    if args.output.suffix.lower() != VOICE_SUFFIX:
        raise ValueError(f"`--output` must end with {VOICE_SUFFIX}, got {str(args.output)!r}.")
    if args.output.is_dir():
        raise ValueError(f"`--output` is the folder {str(args.output)!r}: give the name of a file in it.")
    if len(args.text or args.recordings) != len(args.recordings):
        raise ValueError(f"Give `--text` for each of the {len(args.recordings)} recordings, or for none.")
    _check_writable(args.output.parent)


_CHECKS = {
    "speak": _check_speak,
    "evaluate": _check_evaluate,
    "convert": _check_convert,
    "upload": _check_upload,
    "voice": _check_voice,
}


def _given(args: argparse.Namespace) -> set[str]:
    return {name for name, value in vars(args).items() if value not in (None, False)}


def _names(options: Iterable[str]) -> str:
    return ", ".join("`model`" if name == "model" else f"`--{name.replace('_', '-')}`" for name in options)


def _check_file(name: str, option: str) -> None:
    if not Path(name).is_file():
        kind = "a folder, not a file" if Path(name).is_dir() else "missing"
        raise ValueError(f"The file of `{option}` is {kind}: {name!r}.")


def _check_writable(folder: Path) -> None:
    """Checks the folder, or the nearest one above it in which it will be made."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"`--output` lies in {str(existing)!r}, which is a file.")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"`--output` lies in {str(existing)!r}, where you may not write.")


__all__ = ["AUDIO_SUFFIXES", "VOICE_SUFFIX", "check", "is_remote"]
