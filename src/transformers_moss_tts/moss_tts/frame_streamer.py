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
"""Frames of codes while they are generated."""

import math
import threading
from collections.abc import Iterator
from queue import Queue

import torch
from transformers.generation.streamers import BaseStreamer

from ..utils.checks import check_number
from .configuration_moss_tts import MossTTSConfig
from .frames import ends_span, frames_of_steps, last_index_of, split_audio_codes


class MossTTSFrameStreamer(BaseStreamer):
    """
    Streamer for `generate(streamer=...)` that yields each frame of codes once all its codebooks are there, no longer
    delayed: with the delay pattern `n_vq - 1` steps after its first one, else at once. For one sequence, as transformers' own text
    streamers; run `generate` in a thread and iterate over the streamer in another.

    Args:
        config ([`MossTTSDelayConfig`], [`MossTTSLocalV1Config`] or [`MossTTSLocalConfig`]): configuration of the model.
        timeout (`float`, *optional*): seconds to wait for a frame before `queue.Empty` is raised; for ever by default.
        skip_prompt (`bool`, *optional*, defaults to `True`): whether the frames that the prompt began the reply with are left out.
            A codec that decodes a continuation needs them first, as its context.

    Attributes:
        num_prompt_frames (`int`): number of the first frames that are the prompt's, once there is a frame; 0 where they are left
            out.

    Example:

    ```python
    >>> streamer = MossTTSFrameStreamer(model.config)
    >>> Thread(target=model.generate, kwargs=inputs | {"streamer": streamer}).start()
    >>> cache = codec.init_cache("decoder")
    >>> for codes in streamer:  # (1, n_vq)
    ...     audio = codec.decode(codes.T, cache=cache).audio
    ```
    """

    def __init__(self, config: MossTTSConfig, timeout: float | None = None, skip_prompt: bool = True):
        if not isinstance(config, MossTTSConfig):
            raise TypeError(f"`config` must be the configuration of a generator, got {type(config).__name__}.")
        if timeout is not None:
            check_number("timeout", timeout, math.ulp(0), threading.TIMEOUT_MAX, unit="seconds")
        self.config = config
        self.timeout = timeout
        self.skip_prompt = skip_prompt
        self.num_prompt_frames = 0
        # Frames of the prompt, which wait for the number of codebooks that are spoken.
        self.prompt_frames: torch.LongTensor | None = None
        # Codebooks of a frame; MossTTSLocal v1.0 can speak with the first of them alone.
        self.num_codebooks = config.n_vq
        self.frames: Queue[torch.LongTensor | BaseException | None] = Queue()
        # Steps of the span of audio that is open.
        self.steps: torch.LongTensor | None = None
        self.num_steps = self.num_prompt_steps = 0
        self.is_prompt = True

    def put(self, value: torch.LongTensor) -> None:
        """Takes the prompt `(1, length, 1 + n_vq)`, then steps `(1, 1 + n_vq)`; raises a `ValueError` for a batch of several."""
        if value.shape[0] != 1:
            raise ValueError(f"MossTTSFrameStreamer streams one sequence, got a batch of {value.shape[0]}.")
        if self.is_prompt:
            self.is_prompt = False
            self._open_prompt(value)
        else:
            self._put_prompt_frames()
            self._add(value)

    def end(self) -> None:
        """Ends the iteration."""
        self.frames.put(None)

    def fail(self, error: BaseException) -> None:
        """Ends the iteration with an error: `generate` calls it when it raises."""
        self.frames.put(error)

    def __iter__(self) -> Iterator[torch.LongTensor]:
        """
        Yields codes of shape `(1, n_vq)`.

        Raises:
            RuntimeError: if `generate` raised; its error is the cause.
        """
        while (frame := self.frames.get(timeout=self.timeout)) is not None:
            if isinstance(frame, BaseException):
                raise RuntimeError(f"The generation failed: {frame}") from frame
            yield frame

    @property
    def _steps_of_a_frame(self) -> int:
        return 1 + self.config.codebook_delay * (self.config.n_vq - 1)

    def _open_prompt(self, prompt: torch.LongTensor) -> None:
        last = int(prompt[0, -1, 0])
        start = int(last_index_of(prompt[..., 0], self.config.audio_start_token_id))
        if start >= 0 and last in (self.config.audio_start_token_id, self.config.audio_assistant_gen_slot_token_id):
            self.steps = prompt[0, start + 1 :]
            self.num_steps = self.num_prompt_steps = len(self.steps)
        if not self.skip_prompt:
            (self.prompt_frames,), _ = split_audio_codes(self.config, prompt, prompt.shape[1])
            num_incomplete = min(self.num_steps, self._steps_of_a_frame - 1)
            self.num_prompt_frames = len(self.prompt_frames) + num_incomplete

    def _put_prompt_frames(self) -> None:
        if self.prompt_frames is not None:
            for frame in self.prompt_frames:
                self.frames.put(frame[None, : self.num_codebooks])
            self.prompt_frames = None

    def _add(self, step: torch.LongTensor) -> None:
        if self.steps is None:
            if step[0, 0] == self.config.audio_start_token_id:
                self.steps = step[:0]
                self.num_steps = self.num_prompt_steps = 0
        elif ends_span(self.config, step[0]):
            self.steps = None
        else:
            self.num_steps += 1
            # What is older belongs to frames that are out.
            self.steps = torch.cat([self.steps, step])[-self._steps_of_a_frame :]
            first = self.num_prompt_steps if self.skip_prompt else 0
            if self.num_steps - self._steps_of_a_frame >= first:
                for frame in frames_of_steps(self.config, self.steps):
                    self.frames.put(frame[None, : self.num_codebooks])


__all__ = ["MossTTSFrameStreamer"]
