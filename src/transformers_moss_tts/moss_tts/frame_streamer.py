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

from collections.abc import Iterator
from queue import Queue

import torch
from transformers.configuration_utils import PreTrainedConfig
from transformers.generation.streamers import BaseStreamer

from ..moss_tts_delay.delay_pattern import last_index_of


class MossTTSFrameStreamer(BaseStreamer):
    """
    Streamer for `generate(streamer=...)` that yields each frame of codes once all its codebooks are there, no longer
    delayed: with the delay pattern `n_vq - 1` steps after its first one, else at once. Frames of the prompt are not
    yielded. For one row, as transformers' own text streamers; run `generate` in a thread and iterate over the streamer in
    another.

    Args:
        config ([`MossTTSDelayConfig`], [`MossTTSLocalV1Config`] or [`MossTTSLocalConfig`]): configuration of the model.
        timeout (`float`, *optional*): seconds to wait for a frame before `queue.Empty` is raised; for ever by default.

    Example:

    ```python
    >>> streamer = MossTTSFrameStreamer(model.config)
    >>> Thread(target=model.generate, kwargs=inputs | {"streamer": streamer}).start()
    >>> cache = codec.init_cache("decoder")
    >>> for codes in streamer:  # (1, n_vq)
    ...     audio = codec.decode(codes.T, cache=cache).audio
    ```
    """

    def __init__(self, config: PreTrainedConfig, timeout: float | None = None):
        self.config = config
        self.slots = {config.audio_assistant_gen_slot_token_id}
        if config.codebook_delay:
            self.slots.add(config.audio_assistant_delay_slot_token_id)
        self.timeout = timeout
        self.frames: Queue[torch.LongTensor | None] = Queue()
        self.rows: list[torch.LongTensor] | None = None
        self.is_prompt = True

    def put(self, value: torch.LongTensor) -> None:
        """Takes the prompt `(1, length, 1 + n_vq)`, then rows `(1, 1 + n_vq)`."""
        if value.shape[0] != 1:
            raise ValueError(f"MossTTSFrameStreamer streams one row, got a batch of {value.shape[0]}.")
        if self.is_prompt:
            self.is_prompt = False
            self._open_prompt(value)
        else:
            self._add(value[0])

    def end(self) -> None:
        """Ends the iteration."""
        self.frames.put(None)

    def __iter__(self) -> Iterator[torch.LongTensor]:
        while (frame := self.frames.get(timeout=self.timeout)) is not None:
            yield frame

    def _open_prompt(self, prompt: torch.LongTensor) -> None:
        last = int(prompt[0, -1, 0])
        if last not in (self.config.audio_start_token_id, self.config.audio_assistant_gen_slot_token_id):
            return
        start = int(last_index_of(prompt[..., 0], self.config.audio_start_token_id))
        self.rows = list(prompt[0, start + 1 :, 1:])
        self.num_prompt_rows = self.num_gen_slots = len(self.rows)

    def _add(self, row: torch.LongTensor) -> None:
        token = int(row[0])
        if token == self.config.audio_start_token_id:
            self.rows, self.num_prompt_rows, self.num_gen_slots = [], 0, 0
        elif token not in self.slots:
            self.rows = None
        elif self.rows is not None:
            self.rows.append(row[1:])
            self.num_gen_slots += token == self.config.audio_assistant_gen_slot_token_id
            n_vq, delay = self.config.n_vq, self.config.codebook_delay
            first = len(self.rows) - 1 - delay * (n_vq - 1)
            if self.num_prompt_rows <= first < self.num_gen_slots:
                self.frames.put(torch.stack([self.rows[first + delay * k][k] for k in range(n_vq)])[None])


__all__ = ["MossTTSFrameStreamer"]
