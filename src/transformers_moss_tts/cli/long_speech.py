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
"""Long texts and dialogues of the subcommand `speak`."""

import time
from argparse import Namespace
from typing import Any

from ..speech import expected_duration, speak_dialogue, speak_long
from ..speech.stretches import has_pauses
from ..utils.speed import describe_speed
from ..utils.text_files import read_text


# Seconds of reading from which on a text is said piece by piece.
_LONG = 30.0


def is_long(args: Namespace, text: str) -> bool:
    """Whether a text is one that is said piece by piece: by its length, its pauses, or an option."""
    if args.script is not None or args.mode or args.timings or args.restart:
        return True
    is_dialogue = len(args.reference or []) > 1 or "[S1]" in text
    if args.duration is not None or is_dialogue:
        return False
    return has_pauses(text) or expected_duration(text, args.language) > _LONG


def run_long(args: Namespace, text: str, model: Any, processor: Any) -> None:
    """
    Says a text or a script piece by piece.

    Raises:
        OSError, ValueError: if the text, a voice or a file cannot be used.
        RuntimeError: if nothing was spoken, or a guard acted and `allow_cut` is not set; in the last case the audio is written.
    """
    for path in (args.output, *(args.timings or ())):
        path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "language": args.language,
        "timings": args.timings or (),
        "seed": 0 if args.seed is None else args.seed,
        "generate_kwargs": {} if args.max_new_tokens is None else {"max_new_tokens": args.max_new_tokens},
        "progress": not args.quiet,
        "restart": args.restart,
    }
    start = time.perf_counter()
    references = args.reference or []
    if args.script is not None:
        speech = speak_dialogue(model, processor, read_text(args.script), references, args.output, **options)
    else:
        voice = references[0] if references else None
        mode = args.mode or "clone"
        speech = speak_long(model, processor, text, args.output, voice=voice, mode=mode, **options)
    took = time.perf_counter() - start
    print(
        f"{args.output}: {speech.seconds:.2f} s of audio in {took:.2f} s, {describe_speed(speech.seconds, took)}",
        flush=True,
    )
    for path in args.timings or ():
        print(path)
    if speech.faults and not args.allow_cut:
        said, fault = speech.faults[0]
        raise RuntimeError(
            f"{len(speech.faults)} pieces of the text in {str(args.output)!r} are not right in any take, the first ({fault}) is "
            f"{said[:60]!r}: try another `--seed`, or accept them with `--allow-cut`."
        )
