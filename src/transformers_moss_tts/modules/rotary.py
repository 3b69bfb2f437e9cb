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
"""Rotary position embedding of neighbouring pairs of features (the interleaved layout)."""

import math

import torch


def rotary_embedding(positions: torch.Tensor, head_dim: int, max_period: float) -> tuple[torch.Tensor, ...]:
    """
    What [`apply_rotary_embedding`] takes for positions `(batch_size, positions)`: cosine and sine of shape `(batch_size, 1,
    positions, head_dim / 2)` in float32, or both as one complex tensor.
    """
    dims = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[:, None, :, None] * torch.exp(dims * (-math.log(max_period) * 2 / head_dim))
    cos, sin = angles.cos(), angles.sin()
    # On a CPU one complex product is faster than the calls of many small ones.
    is_complex = positions.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_grad_enabled()
    return (torch.complex(cos, sin),) if is_complex else (cos, sin)


def apply_rotary_embedding(states: torch.Tensor, *embedding: torch.Tensor) -> torch.Tensor:
    """Rotates neighbouring pairs of features (the interleaved layout) in float32, by what [`rotary_embedding`] returned."""
    pairs = states.float().unflatten(-1, (-1, 2))
    if len(embedding) == 1:
        return torch.view_as_real(torch.view_as_complex(pairs) * embedding[0]).flatten(-2).to(states.dtype)
    cos, sin = embedding
    real, imaginary = pairs.unbind(-1)
    rotated = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return rotated.flatten(-2).to(states.dtype)
