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
"""Arguments of the command `moss-tts`, with nothing imported but the standard library."""

import argparse
import difflib
import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar


DEFAULT_COMMAND = "speak"
# Seconds of speech that can be asked for: a frame and a bit, and an hour.
DURATIONS = (0.1, 3600.0)
_Number = TypeVar("_Number", int, float)
# Suites and scorers by their names in `transformers_moss_tts.evaluation`, with what each suite uses of the options.
_SPOKEN = ("language", "count", "seed", "reference", "reference_text")
_QUALITY = ("asr", "speaker", "mos", "voices")
_GENERATION = ("device", "dtype", "max_new_tokens")
SUITE_OPTIONS = {
    "seed-tts-eval": (*_SPOKEN, "modes", "recordings", "batch_size", *_QUALITY, *_GENERATION),
    "sentences": (*_SPOKEN, "modes", "recordings", "batch_size", *_QUALITY, *_GENERATION),
    "duration": (*_SPOKEN, "rates", "batch_size", *_GENERATION),
    "long-form": (
        *_SPOKEN,
        "modes",
        "stretch_seconds",
        "window",
        "recordings",
        "batch_size",
        "asr",
        "speaker",
        "voices",
        *_GENERATION,
    ),
    "codec": ("language", "count", "codebooks", "floor_recordings", *_QUALITY, "device", "dtype"),
    "speed": (*_SPOKEN, *_GENERATION),
    "stability": (*_SPOKEN, "takes", "guards", "batch_size", *_QUALITY, *_GENERATION),
}
SCORERS = {
    "asr": ("whisper-base", "whisper-base-short", "whisper-large-v3", "paraformer-zh"),
    "speaker": ("resemblyzer", "wavlm-base-plus-sv"),
    "mos": ("distillmos",),
}

_EXIT_CODES = """\
exit codes:
  0  done
  1  it failed; the reason is on standard error
  2  an argument, a file or a model that cannot be used; the reason is on standard error
  130  interrupted
"""
_EPILOG = f"""\
`moss-tts TEXT` is short for `moss-tts speak TEXT`.

examples:
  moss-tts "Hello there."
  moss-tts evaluate MODEL --suite sentences --data sentences.txt -o runs/sentences
  moss-tts upload runs/tts/model you/your-voice --dry-run

{_EXIT_CODES}"""
_SPEAK_EPILOG = f"""\
examples:
  moss-tts "Hello there."
  moss-tts "Hello there." -o hello.wav --reference voice.wav --duration 2
  moss-tts --text-file story.txt -o story.flac --model OpenMOSS-Team/MOSS-TTS --device cuda
  moss-tts --text-file book.txt -o book.mp3 --reference anna.safetensors --timings book.srt
  moss-tts --script play.txt -o play.mp3 --reference anna.wav --reference ben.wav
  echo "Hello there." | moss-tts -o hello.wav
  moss-tts --stream "Hello there."
  language-model | moss-tts --stream -o - | ffplay -nodisp -
  moss-tts speak "upload" -o upload.wav

{_EXIT_CODES}"""
_EVALUATE_EPILOG = f"""\
examples:
  moss-tts evaluate MODEL --suite seed-tts-eval --data seedtts_testset/en/meta.lst -o runs/seed-en --asr whisper-large-v3
  moss-tts evaluate MODEL --suite sentences --data sentences.txt --reference anna.wav bert.wav -o runs/sentences
  moss-tts evaluate --recordings --suite sentences --data metadata.jsonl -o runs/recordings
  moss-tts evaluate MODEL --suite long-form --data story.txt --reference anna.wav --reference-text "What she says." -o runs/story
  moss-tts evaluate CODEC --suite codec --data recordings/ -o runs/codec
  moss-tts evaluate --compare runs/before runs/after -o runs/change

data: a meta.lst of Seed-TTS-eval (id|prompt text|prompt wav|text), a .txt with a sentence a line, a .jsonl with `text`, `audio`,
`speaker`, `reference`, `reference_text`, or audio files.

A run that was stopped goes on where it was when the same command is given again.

{_EXIT_CODES}"""
_CONVERT_EPILOG = f"""\
examples:
  moss-tts convert OpenMOSS-Team/MOSS-TTS-Nano nano

Tensors and nothing else are read of the pickle.

{_EXIT_CODES}"""
_UPLOAD_EPILOG = f"""\
examples:
  moss-tts upload runs/tts/model you/your-voice --dry-run
  moss-tts upload runs/tts/model you/your-voice --private

The token is the one of `hf auth login`, or of the variable HF_TOKEN. Started again after a failure, it goes on where it was.

{_EXIT_CODES}"""
_VOICE_EPILOG = f"""\
examples:
  moss-tts voice create anna.wav -o anna.safetensors --text "What she says." --consent "Anna, by mail, 2026-05-01"
  moss-tts voice list voices/
  moss-tts voice show anna.safetensors
  moss-tts "Hello there." -o hello.wav --reference anna.safetensors

{_EXIT_CODES}"""
_SERVE_EPILOG = f"""\
examples:
  moss-tts serve
  moss-tts serve --model OpenMOSS-Team/MOSS-TTS --voices voices/ --device cuda --port 8000
  curl localhost:8000/v1/audio/speech -H 'Content-Type: application/json' -d '{{"input": "Hello there."}}' -o hello.mp3

It answers this machine alone: --host 0.0.0.0 answers others too, and then asks for --api-key.

{_EXIT_CODES}"""


_BATCH_EPILOG = f"""\
examples:
  moss-tts batch sentences.jsonl -o speech/
  moss-tts batch recordings.jsonl -o codes/ --encode
  moss-tts batch sentences.jsonl -o speech/ --model OpenMOSS-Team/MOSS-TTS --address auto --workers 8

A line of the table has `text`, and maybe `id`, `reference`, `language`, `instruction` and `seed`; with --encode `audio` and `text`, as
for training. A run that was stopped goes on where it was when the same command is given again.

{_EXIT_CODES}"""


def complete(arguments: list[str]) -> list[str]:
    """
    Arguments with the name of the subcommand, which is `speak` where none is given.

    Raises:
        ValueError: if the first argument is nearly the name of a subcommand.
    """
    if not arguments or arguments[0] in COMMANDS or arguments[0] in ("-h", "--help", "--version"):
        return arguments or [DEFAULT_COMMAND]
    if meant := difflib.get_close_matches(arguments[0].lower(), COMMANDS, n=1, cutoff=0.75):
        raise ValueError(
            f"There is no command {arguments[0]!r}: did you mean `moss-tts {meant[0]}`? To speak the word: "
            f"moss-tts speak {arguments[0]!r}."
        )
    return [DEFAULT_COMMAND, *arguments]


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command; its results have the name of the subcommand as `command`."""
    parser = _Parser(
        prog="moss-tts",
        description="Speaks with MOSS-TTS models, measures them and shares them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, (summary, epilog, add_arguments) in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(subparser)
    return parser


def one_line(text: str) -> str:
    """Text that stays on one line of a terminal and cannot steer it: other characters than printable ones are escaped."""
    words = " ".join(text.split())
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in words
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


class _ShowVersion(argparse.Action):
    def __call__(self, parser, *_):
        try:
            installed = version("transformers-moss-tts")
        except PackageNotFoundError:
            # A checkout on the path has no metadata.
            from transformers_moss_tts import __version__ as installed
        print(f"transformers-moss-tts {installed}")
        parser.exit()


def _add_speak(parser: argparse.ArgumentParser) -> None:
    said = parser.add_mutually_exclusive_group()
    said.add_argument("text", nargs="?", help="what to say; standard input if neither this nor --text-file is given")
    said.add_argument(
        "--text-file", help="file with what to say, - for standard input; a long one is said piece by piece"
    )
    said.add_argument(
        "--script",
        help="file of a dialogue, [S1] ... [S2] ... or lines of `name: text`; a --reference for each speaker",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="wav, flac, mp3, ogg or opus file; without it a wav file named after the text, which is played too",
    )
    parser.add_argument(
        "--model", help="folder or Hub id of a generator, or name of a bundled one, which is the default"
    )
    parser.add_argument(
        "--reference",
        action="append",
        help="recording of the voice to clone, file or URL, or file of a voice; given again for the further speakers of a dialogue",
    )
    parser.add_argument(
        "--mode",
        choices=("clone", "continuation", "anchored"),
        help="how a long text keeps the voice; clone by default",
    )
    parser.add_argument(
        "--timings", action="append", type=Path, help="srt, vtt or json file of what is said when in a long text"
    )
    parser.add_argument("--restart", action="store_true", help="begin a long text anew that another run began")
    parser.add_argument("--language", help='name of the language, for example "English"')
    parser.add_argument("--duration", type=_duration, help="length wanted, in seconds")
    parser.add_argument("--seed", type=_seed, help="seed of the sampling; another one each time by default")
    parser.add_argument(
        "--max-new-tokens", type=_count, help="longest speech, in frames of the model; the model's limit by default"
    )
    parser.add_argument(
        "--allow-cut", action="store_true", help="exit with 0 where the speech did not end within the limit"
    )
    parser.add_argument("--device", help="for example cpu, cuda, cuda:1; the fastest there is by default")
    parser.add_argument(
        "--threads",
        type=_threads,
        help="threads of the CPU; by default one for small models, and torch's choice for others",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="play while it is generated; with -o write to the file meanwhile, with `-o -` to the standard output as wav",
    )
    parser.add_argument("--raw", action="store_true", help="with `--stream -o -`: samples of 16 bit without a header")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and nothing is played")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", nargs="?", help="folder or Hub id of a generator, or of a codec for the suite codec")
    what.add_argument("--recordings", action="store_true", help="score the recordings of the data in a model's place")
    what.add_argument("--compare", nargs=2, metavar=("A", "B"), help="output folders of two evaluations of one suite")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder for the report, the pictures, every number and the audio"
    )
    parser.add_argument("--suite", choices=list(SUITE_OPTIONS))
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", help="what to evaluate on, see below")
    data.add_argument("--text", help="one text instead of data")
    options = parser.add_argument_group("options of suites")
    options.add_argument("--language", help="code of the language; en by default")
    options.add_argument("--count", type=_count, help="number of utterances to take, from the first; all by default")
    options.add_argument("--reference", nargs="+", help="recordings of voices, in turn for utterances that have none")
    options.add_argument("--reference-text", help="text of the one reference, for continuation")
    options.add_argument("--modes", nargs="+", help="plain, clone, continuation; long-form also long-clone, ...")
    options.add_argument("--seed", type=_seed, help="seed of the sampling; 0 by default")
    options.add_argument(
        "--rates", nargs="+", type=_positive, help="duration: factors of the natural length; 0.8 1 1.25 by default"
    )
    options.add_argument("--stretch-seconds", type=_positive, help="long-form: seconds of a piece; 12 by default")
    options.add_argument("--window", type=_positive, help="long-form: seconds of a window; 20 by default")
    options.add_argument("--codebooks", nargs="+", type=_count, help="codec: numbers of codebooks")
    options.add_argument("--floor-recordings", help="codec: recordings to learn a k-means codec of, as a floor")
    options.add_argument("--takes", type=_count, help="stability: number of samples of each text; 20 by default")
    options.add_argument(
        "--guards",
        action="store_true",
        default=None,
        help="stability: say again what a guard ends, for a table of both",
    )
    scorers = parser.add_argument_group("scorers", "by name, or none; asr and speaker also a folder or Hub id")
    for kind, default in (("asr", "whisper-base"), ("speaker", "resemblyzer"), ("mos", "none")):
        scorers.add_argument(f"--{kind}", help=f"one of {', '.join(SCORERS[kind])}; {default} by default")
    scorers.add_argument(
        "--voices", help="jsonl of recordings with speakers, for the baselines of SIM; the data by default"
    )
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=_count, help="number of utterances generated at once; 8 by default")
    running.add_argument("--max-new-tokens", type=_count, help="longest generation, in frames; the model's by default")
    running.add_argument("--device", help="for example cpu, cuda:1; the fastest there is by default")
    running.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="the checkpoint's by default")
    running.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="what save_pretrained wrote, with its model card")
    parser.add_argument("repository", help="namespace/name; made if there is none")
    parser.add_argument("--dry-run", action="store_true", help="list the files and their sizes, upload nothing")
    parser.add_argument("--private", action="store_true", default=None, help="make the repository private")
    parser.add_argument("--revision", help="branch to upload to, made if there is none")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request")
    parser.add_argument("--message", help="summary of the commit")


def _add_voice(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    create = actions.add_parser("create", help="keeps the voice of recordings in a file")
    create.add_argument("recordings", nargs="+", metavar="RECORDING", help="file or URL; several of one speaker")
    create.add_argument("-o", "--output", type=Path, required=True, help="file that ends with .safetensors")
    create.add_argument("--name", help="name of the voice; that of the first file by default")
    create.add_argument("--text", action="append", help="what the recording says, for several given again for each")
    create.add_argument("--language", help='name of the language, for example "English"')
    create.add_argument("--licence", help="licence of the recordings")
    create.add_argument("--consent", help="note on whose voice it is and that they agree")
    create.add_argument(
        "--setting", action="append", type=_setting, metavar="NAME=NUMBER", help="sampling that suits the voice"
    )
    create.add_argument("--model", help="generator whose codec encodes; the bundled one by default")
    create.add_argument("--device", help="for example cpu, cuda, cuda:1; the fastest there is by default")
    shown = actions.add_parser("list", help="lists the voices of a folder")
    shown.add_argument("folder", nargs="?", type=Path, default=Path("."), help="the present one by default")
    show = actions.add_parser("show", help="shows what is kept of a voice")
    show.add_argument("voice", type=Path, help="file of a voice")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help="folder or Hub id of a generator, or name of a bundled one, which is the default"
    )
    parser.add_argument("--model-name", help="name of the model in requests; the last part of --model by default")
    parser.add_argument("--voices", type=Path, help="folder of kept voices, to which requests may add")
    parser.add_argument("--host", default="127.0.0.1", help="address to answer on; 127.0.0.1 by default")
    parser.add_argument("--port", type=_port, default=8000, help="8000 by default; 0 for one that is free")
    parser.add_argument(
        "--api-key",
        help="key that requests must send; the variable MOSS_TTS_API_KEY by default, which others do not see",
    )
    parser.add_argument(
        "--allow-reference-urls", action="store_true", help="load references from URLs with public addresses"
    )
    parser.add_argument("--max-batch-size", type=_count, default=8, help="utterances spoken at once; 8 by default")
    parser.add_argument("--max-waiting", type=_count, default=128, help="utterances that wait; 128 by default")
    parser.add_argument("--threads", type=_threads, help="threads of the CPU; by default as `speak`")
    parser.add_argument("--device", help="for example cpu, cuda, cuda:1; the fastest there is by default")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", help="jsonl, csv or parquet file, or a folder, of lines to speak or recordings to encode"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--encode", action="store_true", help="encode the recordings of the table for training")
    parser.add_argument(
        "--model", help="folder or Hub id of a generator, or name of a bundled one, which is the default"
    )
    parser.add_argument("--format", choices=("wav", "flac", "mp3", "ogg", "opus"), help="of the audio; wav by default")
    parser.add_argument("--seed", type=_seed, help="seed of the sampling; 0 by default")
    parser.add_argument(
        "--max-new-tokens", type=_count, help="longest speech, in frames of the model; the model's limit by default"
    )
    parser.add_argument("--address", help="address of a cluster of Ray, or auto; this machine alone by default")
    parser.add_argument("--workers", type=_count, help="copies of the model; one for each GPU by default, or one")
    parser.add_argument(
        "--threads", type=_threads, help="CPUs of a worker; by default all for the workers of this machine, or one"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="the fastest there is by default")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _port(value: str) -> int:
    return _number(value, int, lambda number: 0 <= number < 2**16, f"from 0 to {2**16 - 1}")


def _setting(value: str) -> tuple[str, float]:
    name, _, number = value.partition("=")
    return name, _number(number, float, lambda _: True, "NAME=NUMBER, such as audio_temperature=0.8")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub id whose weights are pytorch_model.bin alone")
    parser.add_argument("folder", type=Path, help="new folder for safetensors, configuration, tokenizer and processor")


def _positive(value: str) -> float:
    return _number(value, float, lambda number: 0 < number < math.inf, "a number above 0")


def _duration(value: str) -> float:
    least, most = DURATIONS
    return _number(value, float, lambda number: least <= number <= most, f"from {least:g} to {most:g} seconds")


def _count(value: str) -> int:
    return _number(value, int, lambda number: number >= 1, "a whole number of at least 1")


def _threads(value: str) -> int:
    return _number(value, int, lambda number: 1 <= number <= 1024, "a whole number from 1 to 1024")


def _seed(value: str) -> int:
    # What torch.Generator takes on every device.
    return _number(value, int, lambda number: 0 <= number < 2**63, "a whole number from 0 to 2**63 - 1")


def _number(
    value: str, kind: Callable[[str], _Number], is_allowed: Callable[[_Number], bool], allowed: str
) -> _Number:
    try:
        number = kind(value)
        if is_allowed(number):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be {allowed}, got {value!r}")


# Summary, epilog of the help, and arguments of each subcommand; `transformers_moss_tts.cli` has a module of its name.
COMMANDS = {
    "speak": ("speaks a text", _SPEAK_EPILOG, _add_speak),
    "evaluate": ("measures a generator or a codec, or compares two measurements", _EVALUATE_EPILOG, _add_evaluate),
    "batch": ("reads a table aloud, or encodes its recordings, with many workers", _BATCH_EPILOG, _add_batch),
    "convert": ("writes the weights of MOSS-TTS-Nano's release as safetensors", _CONVERT_EPILOG, _add_convert),
    "serve": ("serves a generator over HTTP", _SERVE_EPILOG, _add_serve),
    "upload": ("uploads a folder to a model repository of the Hub", _UPLOAD_EPILOG, _add_upload),
    "voice": ("keeps voices in files, lists and shows them", _VOICE_EPILOG, _add_voice),
}

__all__ = ["COMMANDS", "SCORERS", "SUITE_OPTIONS", "build_parser", "complete", "one_line"]
