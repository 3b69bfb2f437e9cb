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

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


# Measured in float32 on two cores with the layers of examples/benchmark_generation.py, in GB/s of weights: one row 8 to 13 as
# `nn.functional.linear` and 11 to 31 in blocks; 2 to 4 rows 4 to 10 and 11 to 30 the other way round; 8 rows 5 to 12, 7 to 15
# the other way round and 13 to 20 packed.
_FEW_ROWS = 8
# As many rows a plain product still reads the weight for at the memory's speed; more need the packed layout.
_UNPACKED_ROWS = 4
_NUM_BLOCKS = 8


class FewRowLinear(nn.Linear):
    """
    `nn.Linear` that, for up to eight rows of float32 on a CPU, takes the product that reads its weight fastest. As one call of
    `nn.functional.linear`, the matrix library of PyTorch's CPU builds reads the weight at a fraction of the memory's speed on
    many processors, and reading weights is what generation waits for. Everywhere else it is `nn.Linear`.
    """

    _packed: torch.Tensor | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        packed = self._packed
        if packed is not None and _num_rows(input) > _UNPACKED_ROWS and _pays(input, self.weight):
            return torch.ops.mkldnn._linear_pointwise(input, packed, self.bias, "none", [], "")
        return few_row_linear(input, self.weight, self.bias)


def few_row_linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`nn.functional.linear`, as [`FewRowLinear`] multiplies without a packed weight."""
    if not _pays(input, weight):
        return nn.functional.linear(input, weight, bias)
    if _num_rows(input) == 1:
        output = _one_row(input.reshape(1, -1), weight)
    else:
        # Row-major again: attention kernels refuse anything else.
        output = torch.mm(weight, input.flatten(0, -2).t()).t().contiguous()
    output = output.view(*input.shape[:-1], -1)
    return output if bias is None else output + bias


def _one_row(row: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    num_whole = weight.shape[0] // _NUM_BLOCKS * _NUM_BLOCKS
    blocks = weight[:num_whole].view(_NUM_BLOCKS, -1, weight.shape[1])
    # As a transposed row: the same numbers as a column take a path many times slower.
    output = torch.bmm(blocks, row.t().expand(_NUM_BLOCKS, -1, -1)).view(1, -1)
    if num_whole == weight.shape[0]:
        return output
    return torch.cat([output, nn.functional.linear(row, weight[num_whole:])], dim=1)


@contextmanager
def packed_weights(module: nn.Module, num_rows: int) -> Iterator[None]:
    """
    Holds a copy of the weights of all [`FewRowLinear`] in `module` in the layout that oneDNN multiplies `num_rows` rows in,
    where that is faster: for weights that are read many times, as the copies cost their memory once more.
    """
    linears = [
        child for child in module.modules() if isinstance(child, FewRowLinear) and _can_pack(child.weight, num_rows)
    ]
    try:
        for linear in linears:
            linear._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), num_rows)
        yield
    finally:
        for linear in linears:
            linear._packed = None


def _can_pack(weight: torch.Tensor, num_rows: int) -> bool:
    # PyTorch itself calls these operations for compiled graphs alone; some builds lack them.
    has_operations = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and torch.backends.mkldnn.is_available()
    return has_operations and _UNPACKED_ROWS < num_rows <= _FEW_ROWS and _is_plain(weight)


def _num_rows(input: torch.Tensor) -> int:
    return input.shape[:-1].numel()


def _is_plain(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and type(weight) is nn.Parameter


def _pays(input: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        input.dtype == torch.float32
        and 1 <= _num_rows(input) <= _FEW_ROWS
        and weight.shape[0] >= _NUM_BLOCKS
        and _is_plain(weight)
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
