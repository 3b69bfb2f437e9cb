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
"""A key/value cache that grows by doubling, for generations of thousands of steps."""

import torch
from transformers.cache_utils import Cache, DynamicLayer


# Room for the first steps of speech, in positions.
_MIN_ROOM = 256


class GrowingLayer(DynamicLayer):
    """
    A [`~transformers.cache_utils.DynamicLayer`] whose keys and values are views of buffers with room to spare: a step writes
    its own position instead of copying the whole history, which for an hour of speech is most of the work. With gradients it
    copies as its base does.
    """

    _buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        states, new_states = (self.keys, self.values), (key_states, value_states)
        if torch.is_grad_enabled() or not all(map(_follows_on, new_states, states)):
            # A buffer would be written over what gradients need, and would take what `cat` refuses or promotes.
            return super().update(key_states, value_states, *args, **kwargs)
        past = self.keys.shape[2]
        length = past + key_states.shape[2]
        if self._buffers is None or not all(
            _can_hold(buffer, old, length) for buffer, old in zip(self._buffers, states)
        ):
            room = max(2 * length, _MIN_ROOM)
            self._buffers = tuple(_with_room(old, room) for old in states)
        for buffer, new in zip(self._buffers, new_states):
            buffer[:, :, past:length] = new
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values

    def reset(self) -> None:
        super().reset()
        self._buffers = None

    def offload(self) -> None:
        super().offload()
        self._buffers = None


def _follows_on(new: torch.Tensor, states: torch.Tensor) -> bool:
    return (new.dtype, new.device, new.shape[:2], new.shape[3:]) == (
        states.dtype,
        states.device,
        states.shape[:2],
        states.shape[3:],
    )


def _can_hold(buffer: torch.Tensor, states: torch.Tensor, length: int) -> bool:
    # Cropping keeps the view; selecting or repeating sequences, or moving to another device, replaces the tensors.
    is_view = states.data_ptr() == buffer.data_ptr() and states.stride() == buffer.stride()
    is_whole = states.shape[:2] == buffer.shape[:2] and states.shape[3] == buffer.shape[3]
    is_writable = torch.is_inference_mode_enabled() or not buffer.is_inference()
    return is_view and is_whole and is_writable and buffer.shape[2] >= length


def _with_room(states: torch.Tensor, room: int) -> torch.Tensor:
    buffer = states.new_empty(*states.shape[:2], room, states.shape[3])
    buffer[:, :, : states.shape[2]] = states
    return buffer


def let_grow(cache: Cache) -> Cache:
    """Replaces the plain dynamic layers of a fresh cache by growing ones."""
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
