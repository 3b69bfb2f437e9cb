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
"""State of MossAudioTokenizer streams."""

from typing import Literal

import torch

from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig
from .stages_moss_audio_tokenizer import transformer_stages


class MossAudioTokenizerCache:
    """
    What a batch of streams remembers between chunks: the last `window - 1` keys and values of every attention layer and
    the number of frames that each stream has seen. The caller holds it; the model keeps no state, so any number of streams
    can share one model. Buffers are allocated once and written in place, which keeps shapes and addresses static for
    `torch.compile`. (transformers' own sliding window layers count one length for the whole batch; here streams start
    and end at different times.)

    Args:
        config ([`MossAudioTokenizerConfig`]):
            Configuration of the model that will use the cache.
        part (`str`):
            `"encoder"` or `"decoder"`.
        batch_size (`int`):
            Number of streams.
        device (`torch.device`, *optional*):
            Where the model is.
        dtype (`torch.dtype`, *optional*):
            What the model computes in.

    Attributes:
        num_frames (`torch.LongTensor` of shape `(batch_size,)`): frames that each stream has seen.
    """

    def __init__(
        self,
        config: MossAudioTokenizerConfig,
        part: Literal["encoder", "decoder"],
        batch_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        if part not in ("encoder", "decoder"):
            raise ValueError(f"`part` must be 'encoder' or 'decoder', got {part!r}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.part = part
        self.batch_size = batch_size
        self.layer_shapes = self.expected_layer_shapes(config, part)
        self.num_frames = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.keys = [torch.zeros(batch_size, *shape, dtype=dtype, device=device) for shape in self.layer_shapes]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    @staticmethod
    def expected_layer_shapes(config: MossAudioTokenizerConfig, part: str) -> list[tuple[int, int, int]]:
        """`(num_heads, window - 1, head_dim)` of every attention layer of one half of the codec."""
        shapes = []
        for stage in transformer_stages(config, part):
            heads, width = stage["kwargs"]["num_heads"], stage["kwargs"]["d_model"]
            shapes += [(heads, stage["window"] - 1, width // heads)] * stage["kwargs"]["num_layers"]
        return shapes

    @property
    def device(self) -> torch.device:
        return self.num_frames.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keys[0].dtype

    def check(
        self, config: MossAudioTokenizerConfig, part: str, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Raises a `ValueError` unless the cache was made for this model, half of the codec and number of sequences."""
        if self.part != part or self.layer_shapes != self.expected_layer_shapes(config, part):
            raise ValueError(
                f"This cache belongs to another model or to the other half of the codec ({self.part}, "
                f"{len(self.layer_shapes)} layers). Make one with `model.init_cache({part!r}, batch_size={batch_size})`."
            )
        if self.batch_size != batch_size:
            raise ValueError(
                f"This cache holds {self.batch_size} streams but the batch has {batch_size} sequences: pass those of all "
                "streams and mark the ones without new frames in `padding_mask`, or make another cache."
            )
        if self.dtype != dtype or self.device != device:
            raise ValueError(
                f"This cache is {self.dtype} on {self.device}, the model computes in {dtype} on {device}: call "
                "`model.init_cache` after moving the model."
            )

    def update(
        self, layer_idx: int, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Appends the keys and values of a chunk, shape `(batch_size, num_heads, chunk, head_dim)`, and returns the cached
        ones followed by them. Of stream `i` only the first `lengths[i]` new positions are remembered (`None`: all).
        """
        return self._append(self.keys[layer_idx], keys, lengths), self._append(self.values[layer_idx], values, lengths)

    @staticmethod
    def _append(past: torch.Tensor, new: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        full = torch.cat([past, new], dim=2)
        if lengths is None:
            past.copy_(full[:, :, new.shape[2] :].detach())
            return full
        kept = lengths[:, None] + torch.arange(past.shape[2], device=past.device)
        past.copy_(full.detach().gather(2, kept[:, None, :, None].expand(past.shape)))
        return full

    def reset(self, streams: torch.Tensor | list[int] | None = None) -> None:
        """Forgets `streams` (indices or a boolean mask; all of them by default), so that new ones start."""
        # Keys need no clearing: a position is only seen once `num_frames` says that it is real.
        self.num_frames[slice(None) if streams is None else streams] = 0


__all__ = ["MossAudioTokenizerCache"]
