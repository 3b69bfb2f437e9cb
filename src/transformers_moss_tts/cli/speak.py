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
"""`moss-tts speak`: speaks a text."""

import codecs
import contextlib
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from ..audio_io import save_audio
from ..bundled_models import bundled_model
from ..loading.checkpoints import GeneratorSettings, load_generator, read_settings
from ..moss_tts.audio_codes import FRAME_RATE
from ..moss_tts.voice import Voice, language_of, settings_of
from ..speech import speak
from ..speech.references import check_references
from ..speech.stretches import check_words, has_pauses, total_pause
from ..utils.devices import find_device, use_threads
from ..utils.playing import play
from ..utils.speed import describe_speed
from ..utils.text_files import decode_text, read_text
from .long_speech import is_long, run_long
from .stream import speak_streaming


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


def run(args: Namespace) -> None:
    """
    Speaks a text and writes the audio.

    Raises:
        OSError, ValueError, TypeError: if the text, a reference, the model or the output cannot be used.
        RuntimeError: if the checkpoint is damaged, nothing was spoken, or the speech was cut and `allow_cut` is not set; in
            the last case the audio is written.
    """
    # The bar of the frames is the one to watch.
    logging.disable_progress_bar()
    name = args.model or bundled_model()
    text: Any = _written_text() if args.stream and args.text is None and args.text_file in (None, "-") else _text(args)
    # All mistakes are known before the model is loaded, which may take minutes.
    if isinstance(text, str):
        check_words(text)
        total_pause(text)
    find_device(args.device)
    settings = read_settings(name)
    voices = check_references(args.reference or [], settings.max_reference_duration)
    language = args.language or language_of(voices)
    # The turns of a script are said one by one where a model knows no dialogue.
    num_references = len(args.reference or []) if args.script is None else 0
    said = text if isinstance(text, str) and args.script is None else None
    settings.abilities.check(settings.name, said, language, num_references)
    _check_duration(args, settings)
    model, processor = load_generator(name, args.device)
    use_threads(model, args.threads)
    fields = {"reference": args.reference, "language": language, "duration_seconds": args.duration}
    if args.stream:
        if isinstance(text, str) and is_long(args, text):
            text = iter([text])
        _stream(model, processor, text, args, voices, fields)
        return
    if isinstance(text, str) and is_long(args, text):
        run_long(args, text, model, processor)
        return
    start = time.perf_counter()
    say = _speak_passages if has_pauses(text) else _speak_once
    waveform, cut_after = say(model, processor, text, args, _options(args, voices), fields)
    took = time.perf_counter() - start
    rate = processor.audio_tokenizer.config.sampling_rate
    if waveform.shape[-1] == 0:
        raise RuntimeError(
            "The model ended without a sound."
            if cut_after is None
            else f"No sound was spoken within {cut_after} steps: raise `--max-new-tokens`."
        )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_audio(waveform, args.output, rate)
    seconds = waveform.shape[-1] / rate
    print(f"{args.output}: {seconds:.2f} s of audio in {took:.2f} s, {describe_speed(seconds, took)}", flush=True)
    if not args.is_named and not args.quiet:
        play(args.output)
    if cut_after is not None and not args.allow_cut:
        raise RuntimeError(
            f"The speech in {str(args.output)!r} did not end within {cut_after} steps and was cut: raise `--max-new-tokens`, or accept it "
            "with `--allow-cut`."
        )


def _speak_once(
    model: Any, processor: Any, text: str, args: Namespace, options: dict[str, Any], fields: dict[str, Any]
) -> tuple[torch.Tensor, int | None]:
    """The audio of a text, and the number of steps after which it was cut, if it was."""
    inputs = processor(text=text, **fields)
    frames = None if args.duration is None else round(args.duration * processor.frame_rate)
    with tqdm(total=frames, unit=" frames", desc="speaking", disable=args.quiet, file=sys.stderr) as bar, _quiet():
        outputs = model.generate(
            **inputs.to(model.device), streamer=_FrameBar(bar), return_dict_in_generate=True, **options
        )
    num_steps = len(outputs.sequences[0]) - inputs["input_ids"].shape[1]
    return processor.decode(outputs)[0], num_steps if outputs.reached_limit.any() else None


def _speak_passages(
    model: Any, processor: Any, text: str, args: Namespace, options: dict[str, Any], fields: dict[str, Any]
) -> tuple[torch.Tensor, int | None]:
    """As [`_speak_once`], of a text with pauses."""
    seed = options.pop("seed", None)
    with _quiet():
        spoken = speak(model, processor, text, seed=seed, guards=None, retries=0, generate_kwargs=options, **fields)
    num_steps = len(spoken.codes)
    # Pauses alone are no speech.
    return torch.from_numpy(spoken.audio[:, : spoken.audio.shape[1] * bool(num_steps)]), (
        num_steps if spoken.fault == "limit" else None
    )


def _options(args: Namespace, voices: list[Voice]) -> dict[str, Any]:
    """Arguments of `generate`."""
    given = {name: value for name in ("seed", "max_new_tokens") if (value := getattr(args, name)) is not None}
    return settings_of(voices, given)


def _stream(
    model: Any, processor: Any, text: str | Iterator[str], args: Namespace, voices: list[Voice], fields: dict[str, Any]
) -> None:
    start = time.perf_counter()
    with _quiet():
        stream = speak_streaming(model, processor, text, args, _options(args, voices), fields)
    # What is piped has the standard output to itself.
    if args.quiet and str(args.output) == "-":
        return
    took = time.perf_counter() - start
    where = "played" if not args.is_named else "piped" if str(args.output) == "-" else str(args.output)
    print(
        f"{where}: {stream.seconds:.2f} s of audio in {took:.2f} s, {describe_speed(stream.seconds, took)}, the first after "
        f"{stream.first_audio:.2f} s, {stream.lead:+.2f} s ahead at the end",
        file=sys.stderr,
        flush=True,
    )


def _written_text() -> Iterator[str]:
    """The standard input, in pieces as they come."""
    is_empty = True
    for piece in _pieces_of_input():
        is_empty = is_empty and not piece.strip()
        yield piece
    if is_empty:
        raise ValueError("There is nothing to say: the text is empty.")


def _pieces_of_input() -> Iterator[str]:
    source = getattr(sys.stdin, "buffer", None)
    if source is None:
        yield from sys.stdin
        return
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while data := source.read1():
            yield decoder.decode(data)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError("The standard input is not UTF-8: convert it first.") from error


def _check_duration(args: Namespace, settings: GeneratorSettings) -> None:
    limit = args.max_new_tokens or settings.max_new_tokens
    if args.duration is None or limit is None or args.allow_cut:
        return
    if args.duration * FRAME_RATE > limit:
        raise ValueError(
            f"`--duration {args.duration:g}` is longer than {limit} frames ({limit / FRAME_RATE:.0f} s), where the speech would be "
            "cut: raise `--max-new-tokens`, or ask for less."
        )


def _text(args: Namespace) -> str:
    if args.text is not None:
        text = args.text
    elif (file := args.script or args.text_file) not in (None, "-"):
        text = read_text(file)
    else:
        # Bytes where there are some: in the C locale Python takes any for text.
        stream = getattr(sys.stdin, "buffer", None)
        text = sys.stdin.read() if stream is None else decode_text(stream.read(), "The standard input")
    if not text.strip():
        raise ValueError("There is nothing to say: the text is empty.")
    if not text.isascii():
        # Arguments that are no UTF-8 come as lone surrogates.
        decode_text(text.encode("utf-8", "surrogatepass"), "The text")
    return text.strip()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the warning of a speech that was cut from those who are told by the command."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
