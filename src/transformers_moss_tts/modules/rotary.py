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


def rotary_embedding(positions: torch.Tensor, head_dim: int, max_period: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of shape `(batch_size, 1, positions, head_dim / 2)` in float32 for positions `(batch_size, positions)`."""
    dims = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[:, None, :, None] * torch.exp(dims * (-math.log(max_period) * 2 / head_dim))
    return angles.cos(), angles.sin()


def apply_rotary_embedding(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates neighbouring pairs of features (the interleaved layout) in float32."""
    if states.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_grad_enabled():
        # The same as one product, where the calls of many small ones would take the time.
        pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(states.dtype)
    real, imaginary = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return rotated.flatten(-2).to(states.dtype)
