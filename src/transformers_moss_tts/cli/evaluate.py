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
"""`moss-tts evaluate`: measures a model, or compares two measurements."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from ..evaluation import SUITES, Suite, Utterance, compare, evaluate, scorer_names


_EXAMPLES = """\
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

exit codes:
  0  the report was written
  1  the model, the data or a scorer could not be used, or every utterance failed; the reason is on standard error
  2  wrong arguments
  130  interrupted
"""
# Options of suites, by their names here.
_SUITE_OPTIONS = {
    "language": "language",
    "count": "count",
    "seed": "seed",
    "reference": "references",
    "reference_text": "reference_text",
    "modes": "modes",
    "rates": "rates",
    "window": "window",
    "codebooks": "codebooks",
    "floor_recordings": "floor_recordings",
    "takes": "takes",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moss-tts evaluate",
        description="Measures a generator or a codec, or compares two measurements.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", nargs="?", help="folder or Hub id of a generator, or of a codec for the suite codec")
    what.add_argument("--recordings", action="store_true", help="score the recordings of the data in a model's place")
    what.add_argument("--compare", nargs=2, metavar=("A", "B"), help="output folders of two evaluations of one suite")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder for the report, the pictures, every number and the audio"
    )
    parser.add_argument("--suite", choices=list(SUITES))
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", help="see below")
    data.add_argument("--text", help="one text instead of data")
    options = parser.add_argument_group("options of suites")
    options.add_argument("--language", help="code of the language; en by default")
    options.add_argument("--count", type=int, help="the first utterances only")
    options.add_argument("--reference", nargs="+", help="voices, in turn for utterances that have none")
    options.add_argument("--reference-text", help="what the one reference says, for continuation")
    options.add_argument("--modes", nargs="+", help="plain, clone, continuation")
    options.add_argument("--seed", type=int, help="of the sampling; 0 by default")
    options.add_argument(
        "--rates", nargs="+", type=float, help="duration: times the natural length; 0.8 1 1.25 by default"
    )
    options.add_argument("--window", type=float, help="long-form: seconds of a window; 20 by default")
    options.add_argument("--codebooks", nargs="+", type=int, help="codec: numbers of codebooks")
    options.add_argument("--floor-recordings", help="codec: recordings to learn a k-means codec of, as a floor")
    options.add_argument("--takes", type=int, help="stability: how often each text is spoken; 20 by default")
    scorers = parser.add_argument_group("scorers", "by name, or none; asr and speaker also a folder or Hub id")
    scorers.add_argument("--asr", default="whisper-base", help=f"one of {', '.join(scorer_names('asr'))}")
    scorers.add_argument("--speaker", default="resemblyzer", help=f"one of {', '.join(scorer_names('speaker'))}")
    scorers.add_argument("--mos", default="none", help=f"one of {', '.join(scorer_names('mos'))}; none by default")
    scorers.add_argument(
        "--voices", help="jsonl of recordings with speakers, for the levels of SIM; the data by default"
    )
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=int, default=8)
    running.add_argument("--max-new-tokens", type=int, help="longest generation, in frames; the model's by default")
    running.add_argument("--device", help="for example cpu, cuda:1; the fastest there is by default")
    running.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="the checkpoint's by default")
    running.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(args: argparse.Namespace) -> None:
    """
    Evaluates or compares.

    Raises:
        OSError, ValueError, TypeError, RuntimeError: if an argument, the data, a scorer or the model cannot be used.
    """
    if args.compare:
        report, _ = compare(*args.compare, output=args.output)
        print(report)
        return
    if args.suite is None or args.output is None:
        raise ValueError("An evaluation needs `--suite` and `--output`.")
    suite = build_suite(args)
    evaluate(
        args.model,
        suite,
        args.output,
        **{kind: _name(getattr(args, kind)) for kind in ("asr", "speaker", "mos")},
        voices=args.voices,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        generate_kwargs=None if args.max_new_tokens is None else {"max_new_tokens": args.max_new_tokens},
        progress=not args.quiet,
    )
    print(args.output / "report.md")


def build_suite(args: argparse.Namespace) -> Suite:
    """
    Raises:
        ValueError: without data, or for an option that the suite does not have.
    """
    suite = SUITES[args.suite]
    if args.data is None and args.text is None:
        raise ValueError(f"The suite {suite.name!r} needs `--data` or `--text`.")
    given: dict[str, Any] = {name: getattr(args, name) for name in _SUITE_OPTIONS if getattr(args, name) is not None}
    known = {field.name for field in dataclasses.fields(suite)}
    for name in given:
        if _SUITE_OPTIONS[name] not in known:
            raise ValueError(f"`--{name.replace('_', '-')}` is no option of the suite {suite.name!r}.")
    data = args.data if args.text is None else [Utterance("text", args.text)]
    return suite(data, **{_SUITE_OPTIONS[name]: value for name, value in given.items()})


def _name(scorer: str) -> str | None:
    return None if scorer == "none" else scorer
