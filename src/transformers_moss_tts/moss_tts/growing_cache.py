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
    its own position instead of copying the whole history, which for an hour of speech is most of the work.
    """

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        past = self.keys.shape[2]
        length = past + key_states.shape[2]
        if self._buffers is None or self._buffers[0].shape[2] < length or not self._is_view():
            room = max(2 * length, _MIN_ROOM)
            self._buffers = tuple(
                _with_room(states, new, room) for states, new in ((self.keys, key_states), (self.values, value_states))
            )
        for buffer, states in zip(self._buffers, (key_states, value_states)):
            buffer[:, :, past:length] = states
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values

    def _is_view(self) -> bool:
        # Cropping keeps the view; selecting or repeating sequences, or moving to another device, replaces the tensors.
        return self.keys.data_ptr() == self._buffers[0].data_ptr() and self.keys.shape[0] == self._buffers[0].shape[0]


def _with_room(states: torch.Tensor, new: torch.Tensor, room: int) -> torch.Tensor:
    buffer = new.new_empty(*new.shape[:2], room, new.shape[3])
    buffer[:, :, : states.shape[2]] = states
    return buffer


def let_grow(cache: Cache) -> Cache:
    """Replaces the plain dynamic layers of a fresh cache by growing ones."""
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
