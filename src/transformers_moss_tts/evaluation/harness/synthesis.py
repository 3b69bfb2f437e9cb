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
"""Sources of an evaluation's audio: a generator, or the recordings of the data."""

import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...audio_io import load_audio
from ...loading.checkpoints import load_generator
from ...speech import Guards, expected_duration, speak, speak_long
from ..measures.text_errors import counts_characters, language_name
from ..scorers import RATE
from .utterances import Utterance


# Faults of speech that did not end by itself.
STOPPED_BY = ("silence", "repetition", "longest", "limit")


@dataclass(frozen=True)
class Task:
    """
    One generation.

    Args:
        id (`str`): name, unique in its suite, also of the audio file.
        group (`str`): name of the group whose numbers are averaged.
        utterance ([`Utterance`]): text and recordings of the task.
        mode (`str`): mode, "plain", "clone" or "continuation".
        tokens (`int`, *optional*): length to ask for, in frames.
        seed (`int`): seed of the sampling.
    """

    id: str
    group: str
    utterance: Utterance
    mode: str = "plain"
    tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Speech:
    """
    Speech and how its generation ended.

    Args:
        waveform (`np.ndarray`): samples, `(samples,)` or `(channels, samples)`; there may be none.
        sampling_rate (`int`): rate of the waveform, in Hz.
        frames (`int`, *optional*): frames of codes that were generated.
        reached_limit (`bool`, *optional*): whether the generation was cut because it did not end.
        fault (`str`, *optional*): name of the guard that acts on it, see [`~transformers_moss_tts.speech.Guards`].
        joins (`tuple[tuple[float, float], ...]`): where each piece that was generated ends and the next begins, in seconds.
    """

    waveform: np.ndarray
    sampling_rate: int
    frames: int | None = None
    reached_limit: bool | None = None
    fault: str | None = None
    joins: tuple[tuple[float, float], ...] = ()

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sampling_rate

    def for_scorers(self) -> np.ndarray:
        """The waveform `(samples,)`, mono at 16 kHz."""
        if self.waveform.size == 0:
            return np.zeros(0, dtype=np.float32)
        return load_audio(self.waveform, RATE, array_sampling_rate=self.sampling_rate)


class Synthesizer:
    """
    A generator that speaks tasks.

    Args:
        model, processor: generator and its processor, with a codec.
        language (`str`): code of the language.
        generate_kwargs (`dict`, *optional*): further arguments of `generate`.

    Raises:
        ValueError: if the processor has no codec.
    """

    def __init__(self, model, processor, language: str, generate_kwargs: dict[str, Any] | None = None):
        if processor.audio_tokenizer is None:
            raise ValueError("The generator has no codec: save one beside it, or name one that can be loaded.")
        self.model, self.processor, self.language = model, processor, language
        self.generate_kwargs = generate_kwargs or {}
        self.sampling_rate = processor.audio_tokenizer.config.sampling_rate

    def conversation(self, task: Task) -> list[dict[str, Any]]:
        """Messages of a task: a user's, and for a continuation the beginning of the reply."""
        item, build = task.utterance, self.processor.build_user_message
        text, reference = item.text, None
        if task.mode == "clone":
            reference = [str(item.reference)]
        if task.mode == "continuation":
            text = ("" if counts_characters(self.language) else " ").join([item.reference_text or "", item.text or ""])
        user = build(text=text, reference=reference, tokens=task.tokens, language=language_name(self.language))
        if task.mode != "continuation":
            return [user]
        return [user, self.processor.build_assistant_message([str(item.reference)])]

    def inputs(self, tasks: list[Task]):
        """Prompts of tasks of one mode, on the model's device."""
        mode = "continuation" if tasks[0].mode == "continuation" else "generation"
        return self.processor([self.conversation(task) for task in tasks], mode=mode).to(self.model.device)

    def generate(self, inputs, seed: int | list[int], **kwargs):
        """Output of the model's `generate`."""
        options = self.generate_kwargs | kwargs
        return self.model.generate(**inputs, seed=seed, return_dict_in_generate=True, **options)

    def speak(self, tasks: list[Task]) -> list[Speech]:
        """Speaks tasks of one mode as a batch, each with its seed."""
        outputs = self.generate(self.inputs(tasks), [task.seed for task in tasks])
        return [
            Speech(waveform.numpy(), self.sampling_rate, len(codes), bool(limit))
            for waveform, codes, limit in zip(
                self.processor.decode(outputs), outputs.audio_codes, outputs.reached_limit.tolist()
            )
        ]

    def find_faults(self, tasks: list[Task]) -> list[Speech]:
        """As [`speak`], without guards, and with the name of the one that would have acted."""
        outputs = self.generate(self.inputs(tasks), [task.seed for task in tasks])
        found = []
        for number, (task, waveform) in enumerate(zip(tasks, self.processor.decode(outputs))):
            codes, limit = outputs.audio_codes[number], bool(outputs.reached_limit[number])
            duration = expected_duration(task.utterance.text or "", language_name(self.language))
            watch = Guards().watch(self.processor.frame_rate, duration)
            waveform = waveform.numpy()
            watch.add(codes, np.atleast_2d(waveform))
            found.append(Speech(waveform, self.sampling_rate, len(codes), limit, watch.finish(limit)))
        return found

    def speak_guarded(self, task: Task) -> Speech:
        """Speaks a task with guards, and further takes where one acted, see [`~transformers_moss_tts.speech.speak`]."""
        spoken = speak(
            self.model,
            self.processor,
            seed=task.seed,
            conversations=[self.conversation(task)],
            generate_kwargs=self.generate_kwargs,
        )
        return Speech(spoken.audio, self.sampling_rate, len(spoken.codes), spoken.fault in STOPPED_BY, spoken.fault)

    def speak_long(self, task: Task, stretch_seconds: float) -> Speech:
        """Says a task piece by piece, see [`~transformers_moss_tts.speech.speak_long`]; its mode has "long-" before its name."""
        item, mode = task.utterance, task.mode.removeprefix("long-")
        reference = str(item.reference)
        with tempfile.TemporaryDirectory() as folder:
            output, timings = Path(folder, "speech.wav"), Path(folder, "speech.json")
            speak_long(
                self.model,
                self.processor,
                item.text or "",
                output,
                voice=(reference, item.reference_text) if item.reference_text else reference,
                mode=mode,
                language=language_name(self.language),
                stretch_seconds=stretch_seconds,
                timings=timings,
                seed=task.seed,
                generate_kwargs=self.generate_kwargs,
                progress=False,
            )
            channels = self.processor.audio_tokenizer.config.num_channels
            waveform = load_audio(output, self.sampling_rate, num_channels=channels)
            pieces = json.loads(timings.read_text(encoding="utf-8"))["stretches"]
        said = [piece for piece in pieces if piece["sentences"] and piece["end"] > piece["start"]]
        joins = tuple((one["end"], other["start"]) for one, other in itertools.pairwise(said))
        has_faults = any(piece["fault"] is not None for piece in pieces)
        return Speech(waveform, self.sampling_rate, reached_limit=has_faults, joins=joins)

    def describe(self) -> str:
        """Class, size, precision and device of the model."""
        return _describe(self.model)


class RecordedSpeech:
    """The data's own recordings in the place of a model: what a perfect one would score."""

    sampling_rate = 24000  # Hz

    def speak(self, tasks: list[Task]) -> list[Speech]:
        """
        Raises:
            ValueError: if there is no recording of a text.
        """
        if lacking := [task.id for task in tasks if task.utterance.recording is None]:
            raise ValueError(f"There is no recording of {lacking[0]!r}.")
        paths = [task.utterance.recording for task in tasks if task.utterance.recording is not None]
        return [Speech(load_audio(path, self.sampling_rate), self.sampling_rate) for path in paths]

    def describe(self) -> str:
        return "the recordings of the data, no model"


class Codec:
    """A codec that encodes and decodes recordings."""

    def __init__(self, model):
        self.model = model

    def describe(self) -> str:
        """Class, size, precision and device of the model."""
        return _describe(self.model)


def load_synthesizer(
    name: str,
    language: str,
    device: str | None = None,
    dtype: str | None = None,
    generate_kwargs: dict[str, Any] | None = None,
) -> Synthesizer:
    """
    Loads a generator with its codec, see [`~transformers_moss_tts.loading.checkpoints.load_generator`].

    Args:
        name (`str`): folder, Hub id or name of a bundled model.
        language (`str`): code of the language.
        device (`str`, *optional*): the fastest there is by default.
        dtype (`str`, *optional*): such as "bfloat16"; the checkpoint's by default.
        generate_kwargs (`dict`, *optional*): further arguments of `generate`.

    Raises:
        ValueError: if there is no such generator.
        RuntimeError: if its checkpoint is damaged.
    """
    return Synthesizer(*load_generator(name, device, dtype), language, generate_kwargs)


def _describe(model) -> str:
    size = sum(parameter.numel() for parameter in model.parameters())
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)
    threads = f", {torch.get_num_threads()} threads" if model.device.type == "cpu" else ""
    return f"{type(model).__name__}, {size / 1e6:.1f} M parameters, {str(model.dtype).removeprefix('torch.')}, {device}{threads}"


__all__ = ["STOPPED_BY", "Codec", "RecordedSpeech", "Speech", "Synthesizer", "Task", "load_synthesizer"]
