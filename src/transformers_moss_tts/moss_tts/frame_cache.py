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
"""Keys and values of the positions of one frame."""

import torch
from transformers.masking_utils import create_causal_mask

from ..modules.rotary import rotary_embedding
from ..utils.devices import mark_static


class FrameCache:
    """
    Keys and values of the positions of one frame, allocated once: a frame has few positions, and every frame begins anew.

    Args:
        num_layers (`int`): layers of the local transformer.
        max_length (`int`): positions of a frame.
    """

    def __init__(self, num_layers: int, max_length: int):
        self.max_length = max_length
        self.length = 0
        self.layers: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self._views: dict[tuple[int, int, int], tuple[torch.Tensor, ...]] = {}
        self._rotary: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def reset(self) -> None:
        """Begins the next frame."""
        self.length = 0

    def positions(self, count: int, device: torch.device) -> torch.LongTensor:
        """The next `count` positions, `(1, count)`."""
        return torch.arange(self.length, self.length + count, device=device)[None]

    def rotary(
        self, count: int, device: torch.device, head_dim: int, base: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary embedding of the next `count` positions, computed in the first frame."""
        place = (self.length, count)
        if place not in self._rotary:
            self._rotary[place] = rotary_embedding(self.positions(count, device), head_dim, base)
        return self._rotary[place]

    def mask(self, dtype: torch.dtype) -> torch.Tensor | None:
        """What a single position may not see of what [`update`] returns."""
        return None

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds keys and values `(batch_size, heads, positions, head_dim)` and returns those of the frame so far."""
        if self.layers[layer_idx] is None:
            shape = (*key.shape[:2], self.max_length, key.shape[3])
            self.layers[layer_idx] = (key.new_zeros(shape), value.new_zeros(shape))
        end = self.length + key.shape[2]
        new_keys, new_values, keys, values = self._views_of(layer_idx, self.length, end)
        new_keys.copy_(key)
        new_values.copy_(value)
        return keys, values

    def _views_of(self, layer_idx: int, start: int, end: int) -> tuple[torch.Tensor, ...]:
        # Kept, as every frame has the same: making four views takes as long as filling them.
        if (layer_idx, start, end) not in self._views:
            keys, values = (tensor[:, :, :end] for tensor in self.layers[layer_idx])
            self._views[layer_idx, start, end] = (keys[:, :, start:], values[:, :, start:], keys, values)
        return self._views[layer_idx, start, end]

    def advance(self, num_positions: int) -> None:
        """Counts positions, once all layers have added theirs."""
        self.length += num_positions


class StaticFrameCache:
    """
    As [`FrameCache`], in tensors of one shape for one position at a time, with the position on the device: all positions of a
    frame then run the same compiled step.

    Args:
        num_layers (`int`): layers of the local transformer.
        shape (`tuple[int, int, int, int]`): batch size, key-value heads, positions of a frame, width of a head.
    """

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device):
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        mark_static(self.position, *self.keys, *self.values)

    def reset(self) -> None:
        """Begins the next frame."""
        self.position.zero_()

    def positions(self, count: int, device: torch.device) -> torch.LongTensor:
        """The next position, `(1, 1)`."""
        return self.position[None]

    def rotary(
        self, count: int, device: torch.device, head_dim: int, base: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary embedding of the next position."""
        return rotary_embedding(self.positions(count, device), head_dim, base)

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask `(1, 1, 1, positions)` of the positions that are not there yet."""
        places = torch.arange(self.keys[0].shape[2], device=self.position.device)
        mask = torch.zeros(places.shape, dtype=dtype, device=places.device)
        return mask.masked_fill(places > self.position, torch.finfo(dtype).min)[None, None, None]

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds keys and values `(batch_size, heads, 1, head_dim)` and returns those of all positions."""
        self.keys[layer_idx].index_copy_(2, self.position, key)
        self.values[layer_idx].index_copy_(2, self.position, value)
        return self.keys[layer_idx], self.values[layer_idx]

    def advance(self, num_positions: int) -> None:
        """Counts positions, once all layers have added theirs."""
        self.position += num_positions


def frame_mask(
    config, hidden_states: torch.Tensor, cache: FrameCache | StaticFrameCache | None
) -> torch.Tensor | None:
    """Mask of the positions of a frame; `None` where each may see all."""
    if hidden_states.shape[1] > 1:
        return create_causal_mask(config, hidden_states, None, None)
    # A position that follows on a cache may see all that is in it.
    return None if cache is None else cache.mask(hidden_states.dtype)
