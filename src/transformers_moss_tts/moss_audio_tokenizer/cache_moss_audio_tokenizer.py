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
from transformers.generation import CompileConfig

from ..utils.checks import check_number
from ..utils.compiling import compiled_on
from ..utils.devices import mark_static
from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig
from .stages_moss_audio_tokenizer import transformer_stages
from .windowed_attention import AttentionBlock, added_mask, attention_over_ring, plan_attention_blocks


# Far more than any machine holds.
_MOST_STREAMS = 2**20
# Longest chunk, in frames, whose keys and values are written in their places, and nothing else is moved. Room for more would be read
# with every chunk.
_FRAMES_IN_PLACE = 4


class ChunkPlaces:
    """
    Where the keys and values of a chunk go in the buffers of one stage's layers, which are rings: position `p` of a stream lies in
    slot `p` modulo their size.

    Args:
        window (`int`): positions that a query sees, itself included.
        size (`int`): number of slots.
        num_new (`int`): number of positions of the chunk.
        past_lengths (`torch.LongTensor` of shape `(batch_size,)`): positions that each stream has seen before.
        lengths (`torch.LongTensor` of shape `(batch_size,)`): positions of the chunk that each stream remembers.
        in_order (`bool`): whether attention needs the keys one after the other.

    Attributes:
        is_in_place (`bool`): whether queries look at the ring itself; else at `num_past` positions and the chunk, one after the
            other.
        num_past (`int`): the last `window - 1` positions that were seen before; fewer where the host knows that there are no more.
        is_real (`torch.BoolTensor` of shape `(batch_size, num_past + num_new)`, *optional*): of those one after the other, which
            there are; by default all.
    """

    def __init__(
        self,
        window: int,
        size: int,
        num_new: int,
        past_lengths: torch.Tensor,
        lengths: torch.Tensor | None,
        in_order: bool,
    ):
        self.window, self.size, self.num_new = window, size, num_new
        # What the positions of the chunk that are not remembered write over is out of every later query's sight.
        self.is_in_place = not in_order and num_new <= size - (window - 1)
        self.past_length, self.is_remembered = _known_lengths(past_lengths, lengths, num_new)
        self.num_past = window - 1 if self.past_length is None else min(window - 1, self.past_length)
        device = past_lengths.device
        if self.past_length is None:
            new = past_lengths[:, None] + torch.arange(num_new, device=device)
        else:
            # A row a stream would be one and the same.
            new = torch.arange(self.past_length, self.past_length + num_new, device=device)[None]
        self.slots = new % size
        if self.is_in_place:
            self._new = new
            return
        first = new[:, :1] - self.num_past
        self.order = (first + torch.arange(self.num_past, device=device)) % size
        self.is_real = None
        if self.past_length is None:
            self.is_real = first + torch.arange(self.num_past + num_new, device=device) >= 0
        if not self.is_remembered:
            last = past_lengths + (num_new if lengths is None else lengths) - 1
            # What is older than the window is not needed any more, so that anything may stand in its place.
            kept = _positions_in(torch.arange(size, device=device), last[:, None], size) - first
            self.kept = kept.clamp(min=0)

    def update(self, past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Writes the keys or values of a chunk to a ring, and returns what its queries look at."""
        if self.is_in_place:
            return self._write(past, new)
        full = torch.cat([_select(past, self.order), new], dim=2)
        if self.is_remembered:
            self._write(past, new.detach()[:, :, -self.size :])
        else:
            past.copy_(_select(full.detach(), self.kept))
        return full

    def _write(self, past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        slots = self.slots[:, -self.size :]
        if len(slots) == 1:
            return past.index_copy_(2, slots[0], new)
        return past.scatter_(2, slots[:, None, :, None].expand(new.shape), new)

    def attention_blocks(self, attn_implementation: str, dtype: torch.dtype) -> list[AttentionBlock]:
        """What the queries of the chunk attend to; `dtype` is the type of the keys."""
        device = self.slots.device
        if not self.is_in_place:
            return plan_attention_blocks(
                self.num_new, self.window, attn_implementation, dtype, device, self.num_past, self.is_real
            )
        if self.past_length is not None:
            last = self.past_length + self.num_new - 1
            return attention_over_ring(self.num_new, self.window, self.size, last, attn_implementation, dtype)
        positions = _positions_in(torch.arange(self.size, device=device), self._new[:, -1:], self.size)[:, None]
        new = self._new[..., None]
        is_seen = (positions >= 0) & (positions <= new) & (positions > new - self.window)
        mask = added_mask(is_seen[:, None], attn_implementation, dtype)
        return [AttentionBlock(slice(0, self.num_new), slice(0, self.size), mask)]


def _known_lengths(past_lengths: torch.Tensor, lengths: torch.Tensor | None, num_new: int) -> tuple[int | None, bool]:
    """
    The number of positions that all streams have seen before, if it is one and costs no wait for a device; and whether the whole
    chunk is then remembered.
    """
    if past_lengths.device.type != "cpu" or torch.compiler.is_compiling():
        return None, False
    past = set(past_lengths.tolist())
    if len(past) > 1:
        return None, False
    return past.pop(), lengths is None or set(lengths.tolist()) == {num_new}


def _positions_in(slots: torch.Tensor, last: torch.Tensor, size: int) -> torch.Tensor:
    """The latest position up to `last` that lies in each slot of a ring; below 0 where there was none."""
    return last - (last - slots) % size


def _select(states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Positions `(batch_size, positions)` of states `(batch_size, num_heads, length, head_dim)`."""
    if len(index) == 1:
        return states.index_select(2, index[0])
    return states.gather(2, index[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))


class MossAudioTokenizerCache:
    """
    What a batch of streams remembers between chunks: the last keys and values of every attention layer, at least `window - 1`, and
    the number of frames that each stream has seen. The caller holds it; the model keeps no state, so any number of streams
    can share one model. Buffers are rings that are allocated once and written in place, which moves nothing from chunk to chunk and
    keeps shapes and addresses static for `torch.compile`. (transformers' own sliding window layers count one length for the whole
    batch; here streams start and end at different times.)

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
        compile_config ([`~transformers.CompileConfig`], *optional*):
            Compile the model for chunks of one frame with it.

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
        compile_config: CompileConfig | None = None,
    ):
        if compile_config is not None and not isinstance(compile_config, CompileConfig):
            raise TypeError(f"`compile_config` must be a CompileConfig, got {type(compile_config).__name__}.")
        if not isinstance(part, str) or part not in ("encoder", "decoder"):
            raise ValueError(f"`part` must be 'encoder' or 'decoder', got {part!r:.80}.")
        check_number("batch_size", batch_size, 1, _MOST_STREAMS, is_whole=True)
        self.part = part
        self.batch_size = batch_size
        self._config = config
        self.layer_shapes = self.expected_layer_shapes(config, part)
        self.num_frames = torch.zeros(batch_size, dtype=torch.long, device=device)
        if compile_config is not None:
            compile_config = compiled_on(self.num_frames.device, compile_config)
        self.compile_config = compile_config
        self.keys = [
            torch.zeros(batch_size, heads, size, width, dtype=dtype, device=device)
            for heads, size, width in self.layer_shapes
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        mark_static(self.num_frames, *self.keys, *self.values)

    @staticmethod
    def expected_layer_shapes(config: MossAudioTokenizerConfig, part: str) -> list[tuple[int, int, int]]:
        """`(num_heads, positions, head_dim)` of the buffers of every attention layer of one half of the codec."""
        shapes = []
        for stage in transformer_stages(config, part):
            heads, width = stage["kwargs"]["num_heads"], stage["kwargs"]["d_model"]
            size = stage["window"] - 1 + _FRAMES_IN_PLACE * stage["steps_per_frame"]
            shapes += [(heads, size, width // heads)] * stage["kwargs"]["num_layers"]
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
        is_of_config = config is self._config or self.layer_shapes == self.expected_layer_shapes(config, part)
        if self.part != part or not is_of_config:
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

    def places(
        self,
        layer_idx: int,
        window: int,
        steps_per_frame: int,
        num_new: int,
        frame_lengths: torch.Tensor | None,
        in_order: bool,
    ) -> ChunkPlaces:
        """
        Where a chunk goes in the layers of a stage.

        Args:
            layer_idx (`int`): one of the layers.
            window (`int`): positions that their queries see.
            steps_per_frame (`int`): number of their positions that a frame has.
            num_new (`int`): number of positions of the chunk.
            frame_lengths (`torch.LongTensor` of shape `(batch_size,)`, *optional*): frames of the chunk that each stream remembers;
                all by default.
            in_order (`bool`): whether attention needs the keys one after the other.
        """
        lengths = None if frame_lengths is None else frame_lengths * steps_per_frame
        size = self.layer_shapes[layer_idx][1]
        return ChunkPlaces(window, size, num_new, self.num_frames * steps_per_frame, lengths, in_order)

    def update(
        self, layer_idx: int, keys: torch.Tensor, values: torch.Tensor, places: ChunkPlaces
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Remembers the keys and values of a chunk, shape `(batch_size, num_heads, chunk, head_dim)`, in their places, and returns
        those that its queries look at.
        """
        return places.update(self.keys[layer_idx], keys), places.update(self.values[layer_idx], values)

    def reset(self, streams: torch.Tensor | list[int] | None = None) -> None:
        """
        Forgets `streams` (indices or a boolean mask; all of them by default), so that new ones start.

        Raises:
            ValueError: for streams that the cache does not have.
            TypeError: for what are neither indices nor a mask.
        """
        # Keys need no clearing: a position is only seen once `num_frames` says that it is real.
        if streams is None:
            self.num_frames.zero_()
            return
        if not isinstance(streams, torch.Tensor | list):
            raise TypeError(f"`streams` must be a list of indices or a tensor, got {type(streams).__name__}.")
        if isinstance(streams, list) and not streams:
            return
        try:
            self.num_frames[torch.as_tensor(streams, device=self.device)] = 0
        except (IndexError, TypeError, ValueError, RuntimeError, OverflowError, NotImplementedError) as error:
            raise ValueError(
                f"`streams` must be indices below {self.batch_size}, or a mask of {self.batch_size}: {error}."
            ) from error


__all__ = ["ChunkPlaces", "MossAudioTokenizerCache"]
