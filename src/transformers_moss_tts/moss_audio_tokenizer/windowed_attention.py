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
"""Causal attention over a sliding window, in memory that grows linearly with the sequence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from transformers.utils.generic import is_flash_attention_requested


@dataclass
class AttentionBlock:
    """Queries `query` attend to keys `key` under `mask`; shared by all layers of a stage."""

    query: slice
    key: slice
    mask: torch.Tensor | None


def plan_attention_blocks(
    num_queries: int,
    window: int,
    attn_implementation: str,
    dtype: torch.dtype,
    device: torch.device,
    num_past: int = 0,
    is_real: torch.Tensor | None = None,
) -> list[AttentionBlock]:
    """
    Cuts a causal attention, in which a query sees itself and the `window - 1` positions before it, into blocks of queries
    so that no mask is larger than a block times a window.

    Args:
        num_queries (`int`):
            Number of new positions.
        window (`int`):
            Positions that a query sees, itself included.
        attn_implementation (`str`):
            The model's attention implementation. Flash attention knows windows and takes everything as one block.
        num_past (`int`, *optional*, defaults to 0):
            Number of cached positions that the keys start with, at most `window - 1`.
        is_real (`torch.BoolTensor` of shape `(batch_size, num_past + num_queries)`, *optional*):
            Which positions there are; by default all.
    """
    if needs_keys_in_order(attn_implementation):
        return [AttentionBlock(slice(0, num_queries), slice(0, num_past + num_queries), is_real)]

    blocks, masks = [], {}
    # Half a window keeps the share of masked-out scores at one third.
    size = max(64, window // 2)
    for start in range(0, num_queries, size):
        stop = min(start + size, num_queries)
        key = slice(max(0, num_past + start - window + 1), num_past + stop)
        shape = (stop - start, key.stop - key.start)
        is_own = is_real is not None and key.start < num_past
        if is_own or shape not in masks:
            queries = torch.arange(num_past + start, num_past + stop, device=device)[:, None]
            distance = queries - torch.arange(key.start, key.stop, device=device)
            mask = ((distance >= 0) & (distance < window))[None, None]
            if is_own:
                mask = mask & is_real[:, None, None, key]
            if attn_implementation == "eager":
                mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)
            if is_own:
                blocks.append(AttentionBlock(slice(start, stop), key, mask))
                continue
            masks[shape] = mask
        blocks.append(AttentionBlock(slice(start, stop), key, masks[shape]))
    return blocks


def needs_keys_in_order(attn_implementation: str) -> bool:
    """Whether an implementation knows windows by the order of the keys alone, and takes no mask."""
    return is_flash_attention_requested(requested_attention_implementation=attn_implementation)


def attention_over_ring(
    num_queries: int, window: int, size: int, last: int, attn_implementation: str, dtype: torch.dtype
) -> list[AttentionBlock]:
    """
    One block of queries that look at the slots of a ring in which position `p` lies in slot `p` modulo its size, on a CPU.

    Args:
        num_queries (`int`): number of new positions, at most `size - window + 1`.
        window (`int`): positions that a query sees, itself included.
        size (`int`): number of slots.
        last (`int`): position of the last query, in all sequences.
        attn_implementation (`str`): the model's attention implementation, not flash attention.
        dtype (`torch.dtype`): type of the queries.
    """
    # Slots that nothing was written to are left out.
    num_slots, mask = min(size, last + 1), None
    if num_queries > 1 or last >= window:
        first = -last % size
        masks = _masks_by_place(num_queries, window, size, attn_implementation, dtype)
        mask = masks[..., first : first + num_slots]
    return [AttentionBlock(slice(0, num_queries), slice(0, num_slots), mask)]


@lru_cache(maxsize=64)
def _masks_by_place(
    num_queries: int, window: int, size: int, attn_implementation: str, dtype: torch.dtype
) -> torch.Tensor:
    """
    Masks of a ring for every place of the last query, `(1, 1, num_queries, 2 * size)`: where it is position `last`, those of slots 0,
    1 and so on are the columns from `-last % size` on.
    """
    age = -torch.arange(2 * size) % size
    distance = age - torch.arange(num_queries - 1, -1, -1)[:, None]
    return added_mask((distance >= 0) & (distance < window), attn_implementation, dtype)[None, None]


def added_mask(is_seen: torch.Tensor, attn_implementation: str, dtype: torch.dtype) -> torch.Tensor:
    """A mask as attention takes it; where it is added to the scores, it is so once here, and not in every layer."""
    if attn_implementation not in ("eager", "sdpa"):
        return is_seen
    least = torch.finfo(dtype).min if attn_implementation == "eager" else float("-inf")
    return torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device).masked_fill(~is_seen, least)


def windowed_attention(
    attend: Callable,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    blocks: list[AttentionBlock],
    window: int,
    scaling: float,
) -> torch.Tensor:
    """
    Attends block by block.

    Args:
        attend (`Callable`): an implementation from transformers' attention interface.
        query (`torch.Tensor` of shape `(batch_size, num_heads, num_queries, head_dim)`)
        key, value (`torch.Tensor` of shape `(batch_size, num_heads, num_past + num_queries, head_dim)`)
        blocks (`list[AttentionBlock]`): what [`plan_attention_blocks`] returned.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_queries, num_heads, head_dim)`.
    """
    outputs = [
        attend(
            module,
            query[:, :, block.query],
            key[:, :, block.key],
            value[:, :, block.key],
            block.mask,
            scaling=scaling,
            dropout=0.0,
            sliding_window=window,
        )[0]
        for block in blocks
    ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
