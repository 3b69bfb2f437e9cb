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
"""Linear layers that read their weights at full speed when a step has only a few rows to multiply."""

import torch
from torch import nn


# Measured in float32 on two AMD cores with the layers of examples/benchmark_generation.py: the same products take 0.35 times
# as long for one row, 0.5 times for four, as long for eight; one tall head for eight rows still takes half as long.
_FEW_ROWS = 8
# Any number from 2 to 32 was equally fast.
_NUM_BLOCKS = 8


class FewRowLinear(nn.Linear):
    """
    `nn.Linear` that, for a few rows of float32 on a CPU, multiplies its weight block by block in one batched product. As one
    product, the matrix library of PyTorch's CPU builds reads the weight at a fraction of the memory's speed on many
    processors, and reading weights is what generation waits for. Everywhere else it is `nn.Linear`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) if self.bias is not None else few_row_linear(input, self.weight)


def few_row_linear(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`nn.functional.linear` without a bias, as [`FewRowLinear`] multiplies."""
    if not _pays(input, weight):
        return nn.functional.linear(input, weight)
    blocks = weight.view(_NUM_BLOCKS, -1, weight.shape[1])
    if input.numel() == weight.shape[1]:
        # As a transposed row: the same numbers as a column take a path many times slower.
        column = input.reshape(1, 1, -1).transpose(1, 2)
        output = torch.bmm(blocks, column.expand(_NUM_BLOCKS, -1, -1))
        return output.view(*input.shape[:-1], -1)
    rows = input.flatten(0, -2)
    output = torch.bmm(blocks, rows.t().expand(_NUM_BLOCKS, -1, -1)).flatten(0, 1)
    # Row-major again: attention kernels refuse anything else.
    return output.t().contiguous().view(*input.shape[:-1], -1)


def _pays(input: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        input.dtype == torch.float32
        and input.device.type == "cpu"
        and input.shape[:-1].numel() <= _FEW_ROWS
        and weight.shape[0] % _NUM_BLOCKS == 0
        and weight.dtype == torch.float32
        and type(weight) is nn.Parameter
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def use_few_row_linears(module: nn.Module) -> None:
    """Turns the plain linear layers of a model that is built elsewhere into [`FewRowLinear`]; parameters stay as they are."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = FewRowLinear


def has_plain_weight(module: nn.Module) -> bool:
    """Whether the rows of `module.weight` are its outputs: not so once an adapter or a quantizer has replaced it."""
    return type(module) in (nn.Linear, FewRowLinear) and type(module.weight) is nn.Parameter
