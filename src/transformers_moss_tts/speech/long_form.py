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
"""Hours in one voice: long texts and dialogues, said into a file that grows."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..moss_tts.voice import language_of
from .durations import expected_duration
from .growing_audio import check_output, spool_path
from .guards import Guards
from .journal import Journal, Record, remove_state, writing_alone
from .modes import MODES, GivenVoice, identity_of
from .passages import check_codec, check_generate_kwargs
from .reader import Reader
from .script import Turn, assign_voices, read_script, text_of
from .stretches import Stretch, plan_stretches
from .timings import check_timings, write_timings


_MOST_TAKES = 16


@dataclass(frozen=True)
class LongSpeech:
    """
    What was said.

    Args:
        path (`Path`): audio file.
        sampling_rate (`int`): its rate, in Hz.
        seconds (`float`): its length.
        faults (`list[tuple[str, str]]`): texts at which a guard acted in all takes, or that have no sound, and the guard.
    """

    path: Path
    sampling_rate: int
    seconds: float
    faults: list[tuple[str, str]]


def speak_long(
    model: Any,
    processor: Any,
    text: str | os.PathLike,
    output: str | os.PathLike,
    *,
    voice: Any = None,
    mode: str = "clone",
    language: str | None = None,
    stretch_seconds: float = 12.0,
    sentence_pause: float = 0.25,
    paragraph_pause: float = 0.7,
    timings: str | os.PathLike | Sequence[str | os.PathLike] = (),
    seed: int = 0,
    guards: Guards | None = Guards(),
    retries: int = 2,
    best_of: int = 1,
    speaker_encoder: Any = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    progress: bool = True,
    restart: bool = False,
) -> LongSpeech:
    r"""
    Says a long text in one voice. The audio is written while it is made, and memory does not grow with it. A run that was stopped
    or killed goes on where it was when it is called again with the same arguments, and gives the same file; until then its state
    lies beside the file.

    Args:
        model, processor:
            Generator and its processor, with a codec.
        text (`str` or `os.PathLike`):
            Text, or the path of a UTF-8 file. Empty lines part paragraphs; `[pause 1.5s]` is a silence.
        output (`str` or `os.PathLike`):
            File; its suffix says the format: wav, flac, mp3, ogg or opus.
        voice (audio, `Voice` or `tuple`, *optional*):
            Voice: what a reference is, a [`Voice`], or a pair of a recording and its words. Without one the first stretch makes the
            voice of all.
        mode (`str`, *optional*, defaults to `"clone"`):
            How a stretch keeps the voice. `"clone"`: the reference alone. `"continuation"`: what was said last begins the reply, at
            first the voice's recording where its words are known. `"anchored"`: the reference, and the reply begins with what
            was said first and last.
        language (`str`, *optional*):
            Name of the language; the voice's by default.
        stretch_seconds (`float`, *optional*, defaults to 12.0):
            How long what is generated at once may take. Sentences are grouped up to it.
        sentence_pause, paragraph_pause (`float`, *optional*, default to 0.25 and 0.7):
            Seconds of silence behind a group of sentences and behind a paragraph.
        timings (path or `list`, *optional*):
            Files of what is said when: `.srt`, `.vtt`, `.json`.
        seed (`int`, *optional*, defaults to 0):
            Seed of the sampling, from which each stretch and take has one of its own.
        guards ([`Guards`], *optional*):
            What ends a generation that is no speech any more; `None` for nothing.
        retries (`int`, *optional*, defaults to 2):
            Further takes of a stretch at which a guard acted.
        best_of (`int`, *optional*, defaults to 1):
            Number of takes of each stretch, of which the one with the likest voice is kept; more than one needs a `speaker_encoder`.
        speaker_encoder (*optional*):
            Encoder with `embed(waveform)`, such as `load_scorer("speaker", "resemblyzer")` of the evaluation. With it a stretch whose
            voice has drifted is not gone on from.
        generate_kwargs (`dict`, *optional*):
            Further arguments of `generate`.
        progress (`bool`, *optional*, defaults to `True`):
            Show a bar with the time left.
        restart (`bool`, *optional*, defaults to `False`):
            Begin anew where there is the state of an earlier run.

    Raises:
        ValueError: a text with nothing to say, a voice of another codec, an output that cannot be written or that another run is
            writing, or the state of another speech beside it.
        OSError: if a file cannot be written, as on a full disk; what was said before is whole.
        RuntimeError: if no stretch has a sound.

    Example:

    ```python
    >>> speak_long(model, processor, "book.txt", "book.mp3", voice="anna.safetensors", timings="book.srt")
    ```
    """
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
    check_codec(processor)
    _check_seconds(stretch_seconds=stretch_seconds, sentence_pause=sentence_pause, paragraph_pause=paragraph_pause)
    _check_takes(retries, best_of)
    if best_of > 1 and speaker_encoder is None:
        raise ValueError("`best_of` takes needs a `speaker_encoder`, which says whose voice is the likest.")
    voices = {} if voice is None else {None: GivenVoice.of(voice, processor)}
    language = language or language_of(item.kept for item in voices.values())
    said = text_of(text)
    processor.abilities.check(processor.model_name, said, language, len(voices))
    stretches = plan_stretches(said, stretch_seconds, sentence_pause, paragraph_pause, language)
    reader = Reader(
        model,
        processor,
        stretches,
        voices,
        mode,
        language,
        seed,
        guards,
        retries,
        best_of,
        speaker_encoder,
        check_generate_kwargs(generate_kwargs),
    )
    return _read(reader, output, timings, [text, voice], progress, restart)


def speak_dialogue(
    model: Any,
    processor: Any,
    script: str | os.PathLike,
    voices: Mapping[str, Any] | Sequence[Any],
    output: str | os.PathLike,
    *,
    language: str | None = None,
    stretch_seconds: float = 30.0,
    turn_pause: float = 0.3,
    timings: str | os.PathLike | Sequence[str | os.PathLike] = (),
    seed: int = 0,
    guards: Guards | None = Guards(),
    retries: int = 2,
    generate_kwargs: Mapping[str, Any] | None = None,
    progress: bool = True,
    restart: bool = False,
) -> LongSpeech:
    """
    Says a dialogue, as [`speak_long`] says a text. MOSS-TTSD says several turns at once, going on from the voices where the words of
    all are known; the other models say turn by turn, each cloning the voice of its speaker.

    Args:
        model, processor:
            Generator and its processor, with a codec.
        script (`str` or `os.PathLike`):
            Script, or the path of its file: `[S1] ... [S2] ...`, or lines of `name: text`. `[pause 1.5s]` is a silence.
        voices (`Mapping` or `Sequence`):
            Voices by speaker (`{"S1": ..., "Anna": ...}`) or in their order, each as in [`speak_long`].
        output (`str` or `os.PathLike`):
            File; its suffix says the format: wav, flac, mp3, ogg or opus.
        stretch_seconds (`float`, *optional*, defaults to 30.0):
            How long what is generated at once may take.
        turn_pause (`float`, *optional*, defaults to 0.3):
            Seconds of silence between what is generated at once.
        language, timings, seed, guards, retries, generate_kwargs, progress, restart (*optional*):
            As in [`speak_long`].

    Raises:
        ValueError: a speaker nobody gave a voice for, a voice of nobody who speaks; and see [`speak_long`].
        OSError, RuntimeError: see [`speak_long`].
    """
    check_codec(processor)
    _check_seconds(stretch_seconds=stretch_seconds, turn_pause=turn_pause)
    _check_takes(retries, 1)
    turns = read_script(script)
    assigned = assign_voices(turns, voices)
    processor.abilities.check(processor.model_name, " ".join(turn.text for turn in turns), language, 1)
    given: dict[str | None, GivenVoice] = {name: GivenVoice.of(voice, processor) for name, voice in assigned.items()}
    stretches = [
        stretch
        for turn in turns
        for stretch in _stretches_of(
            turn, stretch_seconds, turn_pause, language or language_of([given[turn.speaker].kept])
        )
    ]
    if processor.variant.has_dialogues:
        stretches = _grouped(stretches, stretch_seconds, turn_pause, language)
    reader = Reader(
        model,
        processor,
        stretches,
        given,
        "script" if processor.variant.has_dialogues else "clone",
        language,
        seed,
        guards,
        retries,
        1,
        None,
        check_generate_kwargs(generate_kwargs),
    )
    return _read(reader, output, timings, [script, *assigned.values()], progress, restart)


def _read(
    reader: Reader,
    output: str | os.PathLike,
    timings: str | os.PathLike | Sequence[str | os.PathLike],
    sources: Sequence[Any],
    progress: bool,
    restart: bool,
) -> LongSpeech:
    path = Path(output)
    files = [Path(item) for item in ([timings] if isinstance(timings, str | os.PathLike) else timings)]
    check_output(path, reader.sampling_rate)
    for file in files:
        check_timings(file)
    _check_sources([path, *files], sources)
    with writing_alone(path):
        return _read_alone(reader, path, files, progress, restart)


def _read_alone(reader: Reader, path: Path, files: Sequence[Path], progress: bool, restart: bool) -> LongSpeech:
    if restart:
        remove_state(path)
        spool_path(path).unlink(missing_ok=True)
    journal = Journal(path, _digest(reader))
    reader.read(path, journal, progress)
    records = journal.records
    facts = {
        "audio": path.name,
        "seconds": round(records[-1].num_samples / reader.sampling_rate, 3),
        "mode": reader.mode,
    }
    for file in files:
        write_timings(file, reader.stretches, records, reader.sampling_rate, facts)
    journal.remove()
    faults = [
        (stretch.text, record.fault) for stretch, record in zip(reader.stretches, records) if record.fault is not None
    ]
    if not any(record.end > record.start for record in records):
        path.unlink()
        raise RuntimeError(f"The model made no sound of {len(records)} stretches of the text: {faults[0][1]}.")
    return LongSpeech(path, reader.sampling_rate, facts["seconds"], faults)


def _stretches_of(turn: Turn, seconds: float, pause: float, language: str | None) -> list[Stretch]:
    return plan_stretches(turn.text, seconds, pause, pause, language, turn.speaker)


def _grouped(stretches: list[Stretch], seconds: float, pause: float, language: str | None) -> list[Stretch]:
    """Turns together, up to so many seconds or a pause that was asked for."""
    groups: list[Stretch] = []
    filled = 0.0
    for stretch in stretches:
        duration = expected_duration(stretch.text, language)
        joins = groups and groups[-1].sentences and stretch.sentences and groups[-1].pause == pause
        if joins and filled + duration <= seconds:
            last = groups.pop()
            stretch = Stretch(last.sentences + (stretch.text,), stretch.pause, last.speakers + stretch.speakers[:1])
            filled += duration
        else:
            stretch = dataclasses.replace(
                stretch, sentences=(stretch.text,) if stretch.sentences else (), speakers=stretch.speakers[:1]
            )
            filled = duration
        groups.append(stretch)
    return groups


def _digest(reader: Reader) -> str:
    """Of everything that decides what is said, but for the weights of the model."""
    model, processor = reader.model, reader.processor
    facts = {
        "model": [type(model).__name__, sum(parameter.numel() for parameter in model.parameters())],
        "codec": identity_of(processor),
        "stretches": [dataclasses.astuple(stretch) for stretch in reader.stretches],
        "voices": {str(name): voice.codes.tolist() for name, voice in reader.voices.items()},
        "settings": {
            str(name): [voice.said and voice.said.text, voice.kept and [voice.kept.settings, voice.kept.language]]
            for name, voice in reader.voices.items()
        },
        "mode": [reader.mode, reader.language, reader.seed, reader.retries, reader.best_of],
        "encoder": reader.speaker_encoder is not None,
        "guards": None if reader.guards is None else dataclasses.asdict(reader.guards),
        "generate": dict(reader.generate_kwargs),
        "variant": processor.variant.name,
    }
    text = json.dumps(facts, sort_keys=True, default=lambda item: type(item).__name__)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_seconds(**values: float) -> None:
    for name, value in values.items():
        lowest = 1.0 if name == "stretch_seconds" else 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= 600:
            raise ValueError(f"`{name}` must be {lowest:g} to 600 seconds, got {value!r}.")


def _check_takes(retries: int, best_of: int) -> None:
    for name, value, lowest in (("retries", retries, 0), ("best_of", best_of, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= _MOST_TAKES:
            raise ValueError(f"`{name}` must be a whole number from {lowest} to {_MOST_TAKES}, got {value!r}.")


def _check_sources(files: Sequence[Path], sources: Sequence[Any]) -> None:
    """Raises a `ValueError` for a file that would be written over what it is made of, or over another one."""
    names = [item[0] if isinstance(item, tuple) else item for item in sources]
    paths = [
        Path(item) for item in names if isinstance(item, os.PathLike) or (isinstance(item, str) and len(item) < 256)
    ]
    existing = [path for path in paths if "\0" not in str(path) and path.is_file()]
    for file in files:
        if file.exists() and any(os.path.samefile(file, path) for path in existing):
            raise ValueError(f"{str(file)!r} is read here and would be lost: give another name.")
    if len({os.path.abspath(file) for file in files}) < len(files):
        raise ValueError("Two of the files that are written have the same name.")


__all__ = ["LongSpeech", "Record", "speak_dialogue", "speak_long"]
