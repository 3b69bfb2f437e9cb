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

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import ClassVar

import torch
from torch import nn


# Measured in float32 on two cores with the layers of examples/benchmarks/benchmark_generation.py, in GB/s of weights that no cache holds:
# one row 8 to 13 as `nn.functional.linear`, 18 to 31 in blocks; 2 rows 15 the other way round, 12 to 16 packed; 4 rows 11 and
# 13 to 20; 8 rows 6 to 11 the other way round, 7 to 13 as an operation of oneDNN, 12 to 22 packed.
_FEW_ROWS = 8
# As many rows a plain product still reads the weight for as fast as from the packed layout.
_UNPACKED_ROWS = 2
# As many rows the product the other way round still is the fastest of a plain weight for.
_TURNED_ROWS = 4
_NUM_BLOCKS = 8


class FewRowModule:
    """Marks modules that multiply by their `weight` with [`few_row_linear`]."""


class FewRowLinear(FewRowModule, nn.Linear):
    """
    `nn.Linear` that, for up to eight rows of float32 on a CPU, takes the product that reads its weight fastest. As one call of
    `nn.functional.linear`, the matrix library of PyTorch's CPU builds reads the weight at a fraction of the memory's speed on
    many processors, and reading weights is what generation waits for. Everywhere else it is `nn.Linear`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return few_row_linear(input, self.weight, self.bias)


class JoinedLinears:
    """Mixin of modules that multiply one input by several layers without biases: as one product, inside [`ready_weights`]."""

    joined_linears: ClassVar[tuple[str, ...]]
    _joined_weight: torch.Tensor | None = None

    def multiply_joined(self, input: torch.Tensor) -> Sequence[torch.Tensor]:
        """Outputs of all layers."""
        layers = [getattr(self, name) for name in self.joined_linears]
        weight = self._joined_weight
        if weight is None or not _pays(input, weight):
            return [layer(input) for layer in layers]
        sizes = [layer.out_features for layer in layers]
        return few_row_linear(input, weight).split(sizes, dim=-1)


def few_row_linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`nn.functional.linear`, as [`FewRowLinear`] multiplies."""
    if not _pays(input, weight):
        return nn.functional.linear(input, weight, bias)
    if not torch.compiler.is_compiling():
        return _multiply(input, weight, bias)
    if _num_rows(input) > 1:
        return torch.ops.transformers_moss_tts.few_row_linear(input, weight, bias)
    # A reduction that the compiler joins with what is around it.
    output = (weight * input.flatten()).sum(-1).view(*input.shape[:-1], -1)
    return output if bias is None else output + bias


def _multiply(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    num_rows = _num_rows(input)
    packed = getattr(weight, "_packed", None)
    is_for_onednn = packed is not None or num_rows > _TURNED_ROWS
    # oneDNN's operation has no gradient.
    if is_for_onednn and _has_onednn() and not torch.is_grad_enabled():
        return torch.ops.mkldnn._linear_pointwise(input, weight if packed is None else packed, bias, "none", [], "")
    if num_rows == 1:
        output = _one_row(input.reshape(1, -1), weight)
    else:
        # Row-major again: attention kernels refuse anything else.
        output = torch.mm(weight, input.flatten(0, -2).t()).t().contiguous()
    output = output.view(*input.shape[:-1], -1)
    return output if bias is None else output + bias


_LIBRARY = torch.library.Library("transformers_moss_tts", "DEF")
_LIBRARY.define("few_row_linear(Tensor input, Tensor weight, Tensor? bias) -> Tensor")
_LIBRARY.impl("few_row_linear", _multiply, "CPU")


@torch.library.register_fake("transformers_moss_tts::few_row_linear")
def _(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return input.new_empty(*input.shape[:-1], weight.shape[0])


def _one_row(row: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    num_whole = weight.shape[0] // _NUM_BLOCKS * _NUM_BLOCKS
    blocks = weight[:num_whole].view(_NUM_BLOCKS, -1, weight.shape[1])
    # As a transposed row: the same numbers as a column take a path many times slower.
    output = torch.bmm(blocks, row.t().expand(_NUM_BLOCKS, -1, -1)).view(1, -1)
    if num_whole == weight.shape[0]:
        return output
    return torch.cat([output, nn.functional.linear(row, weight[num_whole:])], dim=1)


@contextmanager
def ready_weights(modules: Iterable[nn.Module], num_rows: int) -> Iterator[None]:
    """
    Makes the weights in `modules` ready to be multiplied by `num_rows` rows again and again: joins those of [`JoinedLinears`],
    and holds copies of all in the layout of oneDNN where that is faster. The copies cost their memory once more.
    """
    parts = [child for module in modules for child in module.modules()]
    joined = [child for child in parts if isinstance(child, JoinedLinears) and _can_join(child, num_rows)]
    apart = {getattr(child, name) for child in joined for name in child.joined_linears}
    weights = [child.weight for child in parts if isinstance(child, FewRowModule) and child not in apart]
    weights = [weight for weight in weights if _can_pack(weight, num_rows)]
    try:
        for child in joined:
            weight = torch.cat([getattr(child, name).weight.detach() for name in child.joined_linears])
            child._joined_weight = weight
            if _can_pack(weight, num_rows):
                weights.append(weight)
        for weight in weights:
            weight._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), num_rows)
        yield
    finally:
        for child in joined:
            child._joined_weight = None
        for weight in weights:
            weight.__dict__.pop("_packed", None)


def _can_join(module: JoinedLinears, num_rows: int) -> bool:
    layers = [getattr(module, name) for name in module.joined_linears]
    return num_rows <= _FEW_ROWS and all(
        type(layer) is FewRowLinear and layer.bias is None and _is_plain(layer.weight) for layer in layers
    )


def _can_pack(weight: torch.Tensor, num_rows: int) -> bool:
    return _has_onednn() and _UNPACKED_ROWS < num_rows <= _FEW_ROWS and _is_plain(weight)


@cache
def _has_onednn() -> bool:
    # PyTorch itself calls these operations for compiled graphs alone; some builds lack them.
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _num_rows(input: torch.Tensor) -> int:
    return input.shape[:-1].numel()


def _is_plain(weight: torch.Tensor) -> bool:
    is_dense = type(weight) in (nn.Parameter, torch.Tensor)
    return is_dense and weight.dtype == torch.float32 and weight.device.type == "cpu"


def _pays(input: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        input.dtype == torch.float32
        and 1 <= _num_rows(input) <= _FEW_ROWS
        and weight.shape[0] >= _NUM_BLOCKS
        and _is_plain(weight)
        and not torch.is_autocast_enabled("cpu")
        # The compiled products have no gradient.
        and not (torch.compiler.is_compiling() and torch.is_grad_enabled())
    )


def use_few_row_linears(module: nn.Module) -> None:
    """Turns the plain linear layers of a model that is built elsewhere into [`FewRowLinear`]; parameters stay as they are."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = FewRowLinear


def has_plain_weight(module: nn.Module) -> bool:
    """Whether the rows of `module.weight` are its outputs: not so once an adapter or a quantizer has replaced it."""
    return type(module) in (nn.Linear, FewRowLinear) and type(module.weight) is nn.Parameter
