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
"""The subcommand `voice`."""

from argparse import Namespace

from transformers.utils import logging

from ..bundled_models import bundled_model
from ..loading.checkpoints import load_generator
from ..moss_tts.voice import Voice
from ..moss_tts.voice_file import VOICE_SUFFIX


def run(args: Namespace) -> None:
    """
    Keeps the voice of recordings, lists the voices of a folder, or shows one.

    Raises:
        OSError, ValueError, TypeError: if a recording, a voice, the model or the output cannot be used.
    """
    {"create": _create, "list": _list, "show": _show}[args.action](args)


def _create(args: Namespace) -> None:
    logging.disable_progress_bar()
    _, processor = load_generator(args.model or bundled_model(), args.device)
    voice = Voice.from_recording(
        args.recordings,
        processor,
        text=args.text,
        name=args.name,
        language=args.language,
        settings=dict(args.setting or []),
        licence=args.licence,
        consent=args.consent,
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    voice.save(args.output)
    print(f"{args.output}: {_summary(voice)}")
    if not voice.consent:
        print("It says nothing of consent: add whose voice it is and that they agree, with --consent.")


def _list(args: Namespace) -> None:
    for path in sorted(args.folder.glob(f"*{VOICE_SUFFIX}")):
        try:
            print(f"{path.name}: {_summary(Voice.load(path))}")
        except ValueError as error:
            print(f"{path.name}: cannot be used. {error}")


def _show(args: Namespace) -> None:
    voice = Voice.load(args.voice)
    print(f"name: {voice.name}")
    print(f"codec: {voice.codec}")
    for number, (codes, text) in enumerate(zip(voice.codes, voice.texts), 1):
        print(f"recording {number}: {len(codes) / voice.codec.frame_rate:.2f} s, {text or 'its text is not known'}")
    for name in ("language", "licence", "consent"):
        print(f"{name}: {getattr(voice, name) or 'none'}")
    print(f"settings: {', '.join(f'{name}={value:g}' for name, value in voice.settings.items()) or 'none'}")


def _summary(voice: Voice) -> str:
    count = "1 recording" if len(voice.codes) == 1 else f"{len(voice.codes)} recordings"
    described = [voice.language or "language unknown", "with text" if voice.text else "without text"]
    return f"{voice.name}, {count} of {voice.duration:.1f} s, {', '.join(described)}, codec {voice.codec.name}"


__all__: list[str] = []
