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

from argparse import Namespace
from dataclasses import fields
from typing import Any

from transformers.utils import logging

from ..evaluation import SUITES, Suite, Utterance, compare, evaluate


_ARGUMENTS = ("asr", "speaker", "mos", "voices", "batch_size", "device", "dtype")


def run(args: Namespace) -> None:
    """
    Evaluates or compares.

    Raises:
        OSError, ValueError, TypeError, RuntimeError: if an argument, the data, a scorer or the model cannot be used.
    """
    if args.compare:
        first, second = args.compare
        report, _ = compare(first, second, output=args.output)
        print(report)
        return
    # The bar of the suite is the one to watch.
    logging.disable_progress_bar()
    given: dict[str, Any] = {name: getattr(args, name) for name in _ARGUMENTS if getattr(args, name) is not None}
    given |= {name: None for name in ("asr", "speaker", "mos") if given.get(name) == "none"}
    if args.max_new_tokens is not None:
        given["generate_kwargs"] = {"max_new_tokens": args.max_new_tokens}
    evaluate(args.model, build_suite(args), args.output, progress=not args.quiet, **given)
    print(args.output / "report.md")


def build_suite(args: Namespace) -> Suite:
    """The suite with the options that were given; the others keep its defaults."""
    suite = SUITES[args.suite]
    options = {field.name: getattr(args, _OPTIONS.get(field.name, field.name)) for field in fields(suite)}
    options["data"] = args.data if args.text is None else [Utterance("text", args.text)]
    return suite(**{name: value for name, value in options.items() if value is not None})


# Options of suites that the command calls otherwise.
_OPTIONS = {"references": "reference"}
