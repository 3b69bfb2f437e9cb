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
"""Utterances of many callers, spoken in batches on one model."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.generation import StoppingCriteria
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from .guards import Guards
from .mailbox import Mailbox
from .narration import Narration
from .passages import Passage, PassageDecoder, derive_seed
from .threads import end_at_exit


logger = logging.get_logger(__name__)

# Numbers of frames of the chunks, one after the other, the last one again and again. They follow from nothing else, so that the same
# speech has the same bytes whatever else is spoken.
STREAMED_CHUNKS = (1, 2, 4, 8, 16, 25)
WHOLE_CHUNKS = (25,)
# Seconds that an idle engine waits for further utterances after the first.
_GATHERING = 0.01
_FIRST_GUESS = 5.0


class EngineFullError(RuntimeError):
    """
    There is no place in the queue.

    Args:
        retry_after (`int`): seconds after which a place is likely.
    """

    def __init__(self, retry_after: int):
        super().__init__(f"All places are taken: try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(eq=False)
class SpeechJob:
    """
    An utterance that waits for its turn and is spoken, passage by passage. `for` and `async for` over `audio` yield its chunks, float32
    arrays `(channels, samples)`; they raise what went wrong.

    Args:
        narration ([`Narration`]): what is said.
        seed (`int`): seed of the sampling, from which that of each passage is derived.
        options (`dict`): further arguments of `generate`. Jobs with the same ones are spoken together.
        max_new_tokens (`int`): longest generation in steps, of all passages together.
        is_streamed (`bool`): whether the first chunks are short.
        timeout (`float`): longest time from the call to the end, in seconds.
        on_end (`Callable`, *optional*): called with the job once it has ended.

    Attributes:
        finish_reason (`str`, *optional*): why it ended: "stop", "length", "timeout", "cancelled" or the name of the guard that acted
            first.
        num_frames (`int`): number of frames that were spoken.
        num_prompt_tokens (`int`): number of steps of the prompts.

    Raises:
        ValueError: if a passage cannot be built, see [`Narration`].
    """

    narration: Narration
    seed: int
    options: Mapping[str, Any]
    max_new_tokens: int
    is_streamed: bool
    timeout: float
    on_end: Callable[["SpeechJob"], None] = lambda job: None
    audio: Mailbox = field(default_factory=Mailbox)
    finish_reason: str | None = None
    num_frames: int = 0
    num_prompt_tokens: int = 0
    is_cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)
    first_audio: float | None = None
    ended: float | None = None

    def __post_init__(self):
        self.num_passages = self.num_steps = 0
        self._parts: Iterator[Passage | float] = iter(self.narration)
        self._silence = 0.0
        self._fault: str | None = None
        self.next_passage()

    @property
    def passage_seed(self) -> int:
        return derive_seed(self.seed, self.num_passages - 1)

    @property
    def is_between(self) -> bool:
        """Whether a passage is over and another one comes."""
        return self.finish_reason is None and self.is_said

    def next_passage(self) -> None:
        """Takes the next passage; the silence before it is heard with its first sound."""
        for part in self._parts:
            if not isinstance(part, float):
                self.passage = part
                self.num_passages += 1
                self.num_prompt_tokens += part.inputs["input_ids"].shape[1]
                self.is_heard = self.is_said = False
                return
            self._silence += part

    def cancel(self) -> None:
        """Gives the place back: the next step is the last one."""
        self.is_cancelled = True
        self.audio.clear()

    def is_late(self) -> bool:
        return time.monotonic() - self.arrived > self.timeout

    def emit(self, audio: np.ndarray) -> None:
        self.is_heard = True
        self._emit_silence()
        self._emit(audio)

    def end_passage(self, reason: str) -> None:
        """Ends a passage: the last one, and one that was stopped, with the job."""
        self.is_said = True
        if reason not in ("stop", "length", "timeout", "cancelled"):
            self._fault = self._fault or reason
        if reason in ("timeout", "cancelled"):
            self.end(reason, TimeoutError("The utterance took too long.") if reason == "timeout" else None)
            return
        is_last = self.num_passages == self.narration.num_passages
        is_spent = self.num_steps >= self.max_new_tokens
        if is_last:
            # What is left is silence.
            self.next_passage()
            self._emit_silence()
        if is_last or is_spent:
            self.end(self._fault or (reason if is_last else "length"))

    def end(self, finish_reason: str, error: BaseException | None = None) -> None:
        if self.finish_reason is None:
            self.finish_reason, self.ended = finish_reason, time.monotonic()
            self.audio.end(error)
            self.on_end(self)

    def _emit_silence(self) -> None:
        seconds, self._silence = self._silence, 0.0
        for audio in self.narration.silence(seconds):
            self._emit(audio)

    def _emit(self, audio: np.ndarray) -> None:
        if self.first_audio is None:
            self.first_audio = time.monotonic()
        self.audio.put(audio)


class SpeechEngine:
    """
    Speaks utterances in the order of their arrival, those that wait together as one batch. With its seed an utterance is spoken as it
    would be alone.

    Args:
        model, processor: generator and its processor, with a codec.
        max_batch_size (`int`, *optional*, defaults to 8): most utterances that are spoken at once.
        max_waiting (`int`, *optional*, defaults to 128): most utterances that wait.
        guards ([`Guards`], *optional*): what ends a generation that is no speech any more; `None` for nothing.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        max_batch_size: int = 8,
        max_waiting: int = 128,
        guards: Guards | None = Guards(),
    ):
        self.model, self.processor, self.guards = model, processor, guards
        self.max_batch_size, self.max_waiting = max_batch_size, max_waiting
        self._waiting: deque[SpeechJob] = deque()
        self._speaking: list[SpeechJob] = []
        self._changed = threading.Condition()
        self._is_closed = False
        # Mean time that a batch took, in seconds.
        self._batch_seconds = _FIRST_GUESS
        self._thread = threading.Thread(target=self._run, name="moss-tts engine", daemon=True)
        end_at_exit(self._thread, self.close)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_speaking(self) -> int:
        return sum(job.finish_reason is None for job in self._speaking)

    @property
    def is_alive(self) -> bool:
        """Whether it takes utterances."""
        return self._thread.is_alive() and not self._is_closed

    def check_place(self) -> None:
        """
        Raises:
            EngineFullError: if there is no place in the queue.
        """
        if len(self._waiting) >= self.max_waiting:
            num_batches = 1 + len(self._waiting) / self.max_batch_size
            raise EngineFullError(max(1, math.ceil(self._batch_seconds * num_batches / 2)))

    def submit(self, job: SpeechJob) -> None:
        """
        Puts an utterance into the queue.

        Raises:
            EngineFullError: if there is no place in the queue.
            RuntimeError: if the engine is closed.
        """
        with self._changed:
            if not self.is_alive:
                raise RuntimeError("The engine is closed.")
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.is_cancelled)
            self.check_place()
            self._waiting.append(job)
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all utterances at their next step and the thread with them."""
        with self._changed:
            self._is_closed = True
            for job in (*self._waiting, *self._speaking):
                job.is_cancelled = True
            for job in self._waiting:
                job.end("cancelled", RuntimeError("The server is closing."))
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            start = time.monotonic()
            self._speaking = batch
            self._speak(batch)
            self._speaking = []
            self._batch_seconds += 0.2 * (time.monotonic() - start - self._batch_seconds)

    def _next_batch(self) -> list[SpeechJob]:
        """The first utterance that waits, and those behind it that can be spoken with it; nothing once the engine is closed."""
        with self._changed:
            if not self._waiting:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self.max_batch_size or self._is_closed, timeout=_GATHERING
                )
            batch: list[SpeechJob] = []
            kept: deque[SpeechJob] = deque()
            for job in self._waiting:
                if job.is_cancelled or job.is_late():
                    reason = "cancelled" if job.is_cancelled else "timeout"
                    job.end(reason, TimeoutError("The utterance waited too long for its turn."))
                elif len(batch) < self.max_batch_size and (not batch or job.options == batch[0].options):
                    batch.append(job)
                else:
                    kept.append(job)
            self._waiting = kept
        return batch or ([] if self._is_closed else self._next_batch())

    def _speak(self, batch: list[SpeechJob]) -> None:
        try:
            self._generate(batch)
        except BaseException as error:
            # Neither text nor audio goes into the log: messages quote them.
            logger.error(f"A batch of {len(batch)} utterances failed with {type(error).__name__}.")
            left = [job for job in batch if job.finish_reason is None and not job.is_said]
            again = [job for job in left if len(batch) > 1 and not job.is_heard]
            for job in left:
                if job not in again:
                    job.end("error", error)
            # One of them may be the reason: the others are spoken alone.
            for job in again:
                self._speak([job])
        self._go_on([job for job in batch if job.is_between])

    def _go_on(self, jobs: list[SpeechJob]) -> None:
        """Puts utterances before those that wait, with their next passages."""
        for job in reversed(jobs):
            try:
                job.next_passage()
            except Exception as error:
                job.end("error", error)
                continue
            with self._changed:
                self._waiting.appendleft(job)

    def _generate(self, batch: list[SpeechJob]) -> None:
        streamer = _BatchStreamer(self, batch)
        prompts = [job.passage.inputs for job in batch]
        try:
            self.model.generate(
                **_collate(prompts, self.model.device),
                **batch[0].options,
                seed=[job.passage_seed for job in batch],
                max_new_tokens=max(job.max_new_tokens - job.num_steps for job in batch),
                streamer=streamer,
                stopping_criteria=[_StopEach(streamer)],
                return_dict_in_generate=True,
            )
        finally:
            # Each has the state of a codec, which in a circle would wait for the garbage collector.
            streamer.speakers.clear()


class _Speaker:
    """A passage of an utterance of a batch, from its steps to its audio."""

    def __init__(self, engine: SpeechEngine, job: SpeechJob):
        self.job = job
        self.prompt_length = job.passage.inputs["input_ids"].shape[1]
        self.watch = job.passage.watch(engine.guards, engine.processor.frame_rate)
        self._is_guarded = engine.guards is not None
        chunks = _Chunks(job)
        self._decoder = PassageDecoder(engine.model, engine.processor, self.watch, chunks.emit, chunks.num_wanted)
        self._decoder.counts_prompt = job.passage.includes_prompt

    @property
    def is_over(self) -> bool:
        return self.job.is_said or self.job.finish_reason is not None

    @property
    def reason_to_stop(self) -> str | None:
        job = self.job
        if job.is_cancelled:
            return "cancelled"
        if self.watch.fault is not None:
            return self.watch.fault
        if job.is_late():
            return "timeout"
        return "length" if job.num_steps >= job.max_new_tokens else None

    def put(self, value: torch.LongTensor) -> None:
        self._decoder.put(value)

    def end(self, reason: str) -> None:
        if self.is_over:
            return
        if reason != "cancelled":
            self._decoder.end()
            fault = self.watch.finish(reason == "length")
            if reason != "timeout" and fault not in (None, "limit"):
                reason = fault
        self.job.num_frames += self.watch.num_frames
        self.job.narration.keep(self._decoder, self._is_guarded)
        self.job.end_passage(reason)


class _Chunks:
    """The chunks of an utterance, apart from what decodes them."""

    def __init__(self, job: SpeechJob):
        self.job = job
        self._lengths = STREAMED_CHUNKS if job.is_streamed else WHOLE_CHUNKS
        self._number = 0

    def num_wanted(self) -> int:
        return self._lengths[min(self._number, len(self._lengths) - 1)]

    def emit(self, audio: np.ndarray) -> None:
        self._number += 1
        self.job.emit(audio)


class _BatchStreamer(BaseStreamer):
    """Hands the steps of a batch to its utterances."""

    def __init__(self, engine: SpeechEngine, batch: list[SpeechJob]):
        self.speakers = [_Speaker(engine, job) for job in batch]
        ends = engine.model.generation_config.eos_token_id
        self._end_tokens = set(ends if isinstance(ends, list) else [ends])
        self._is_prompt = True

    def put(self, value: torch.LongTensor) -> None:
        """Takes the prompts `(batch_size, length, 1 + n_vq)`, then steps `(batch_size, 1 + n_vq)`."""
        for index, speaker in enumerate(self.speakers):
            if self._is_prompt:
                speaker.put(value[index : index + 1, -speaker.prompt_length :])
            elif not speaker.is_over:
                self._take(speaker, value[index : index + 1])
        self._is_prompt = False

    def _take(self, speaker: _Speaker, step: torch.LongTensor) -> None:
        speaker.job.num_steps += 1
        speaker.put(step)
        if int(step[0, 0]) in self._end_tokens:
            speaker.end("stop")
        elif (reason := speaker.reason_to_stop) is not None:
            speaker.end(reason)

    def end(self) -> None:
        for speaker in self.speakers:
            speaker.end(speaker.reason_to_stop or "length")

    def fail(self, error: BaseException) -> None:
        """Nothing: the engine knows what to do with the utterances of a batch that failed."""


class _StopEach(StoppingCriteria):
    """Stops each utterance of a batch by itself."""

    def __init__(self, streamer: _BatchStreamer):
        self._speakers = streamer.speakers

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs) -> torch.BoolTensor:
        is_over = [speaker.is_over or speaker.job.is_cancelled for speaker in self._speakers]
        return torch.tensor(is_over, device=input_ids.device)


def _collate(prompts: list[Mapping[str, torch.Tensor]], device: torch.device) -> dict[str, torch.Tensor]:
    """Prompts of one sequence each, padded on the left; `generate` puts the right pads there."""
    length = max(prompt["input_ids"].shape[1] for prompt in prompts)
    padded = {}
    for name in ("input_ids", "attention_mask"):
        tensors = [prompt[name][0] for prompt in prompts]
        batch = tensors[0].new_zeros(len(tensors), length, *tensors[0].shape[1:])
        for index, tensor in enumerate(tensors):
            batch[index, length - len(tensor) :] = tensor
        padded[name] = batch.to(device)
    return padded


__all__ = ["EngineFullError", "SpeechEngine", "SpeechJob"]
