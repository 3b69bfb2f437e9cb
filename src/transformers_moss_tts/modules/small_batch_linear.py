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
"""
Linear layers of small batches on a CPU. A step of generation multiplies a few vectors by every weight and waits for the weights to be
read. As one call of `nn.functional.linear`, the matrix libraries of PyTorch's CPU builds read them at a fraction of the memory's speed
on many processors.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from ..utils.devices import is_intel_processor


# Measured in float32 on two cores with the layers of examples/benchmarks/benchmark_generation.py, in GB/s of weights that no cache
# holds. On an AMD EPYC: one vector 8 to 13 as `nn.functional.linear`, 18 to 31 in blocks; 2 vectors 15 transposed, 12 to 16 prepacked; 4
# vectors 11 and 13 to 20; 8 vectors 6 to 11 transposed, 7 to 13 as an operation of oneDNN, 12 to 22 prepacked. On an Intel Xeon, whose
# own library PyTorch calls: one vector 19 to 23 as `nn.functional.linear`, 8 to 11 in blocks; 3 vectors 15 to 20 as that, 9 to 11
# transposed, 11 to 16 prepacked; 4 vectors 9 to 16 and 11 to 15; 8 vectors 7 to 12 and 8 to 13. In bfloat16 one vector there 15 to 18 as
# `nn.functional.linear`, 24 to 28 as `torch.mv`.
_MOST_VECTORS = 8
_PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
# Number of vectors up to which the transposed product reads a weight as fast as from the prepacked layout.
_MOST_VECTORS_UNPACKED = 2
# Number of vectors up to which the transposed product is the fastest of a weight that is not prepacked.
_MOST_VECTORS_TRANSPOSED = 4
# And up to which `nn.functional.linear` is, on a processor of Intel.
_MOST_VECTORS_ON_INTEL = 3
_NUM_BLOCKS = 8

# `products` is what the generation that runs in this thread multiplies by.
_THREAD = threading.local()
# Number of generations that each layer is installed for. The lock makes counting and the change of the class one step.
_USERS: Counter[nn.Module] = Counter()
_LOCK = threading.Lock()


class SmallBatchLinear(nn.Linear):
    """Class of the plain linear layers of a model inside [`small_batch_linears`]; their parameters stay as they are."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return small_batch_linear(input, self.weight, self.bias)


class TiedLinear(nn.Module):
    """
    Linear layer without a bias that shares the weight of another module. It is no `nn.Linear`: adapters would be merged into the
    other module too, and quantizers would untie the two.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return small_batch_linear(input, self.weight)


@contextmanager
def small_batch_linears(model: nn.Module, read_each_step: Iterable[nn.Module], batch_size: int) -> Iterator[None]:
    """
    Lets the plain linear layers of a model on a CPU multiply small batches fast, in this thread: in float32, a single vector in
    bfloat16 where the processor of Intel multiplies it, and compiled a single vector in any precision. What it prepares belongs to the
    thread and ends with the context. Weights and layers that change meanwhile are multiplied as they are.

    Args:
        model (`nn.Module`): model that generates.
        read_each_step (`Iterable[nn.Module]`): parts of the model whose weights every step reads. For 3 to 8 sequences they are
            copied to the layout of oneDNN, which takes their memory once more; on a processor of Intel for 4 to 8.
        batch_size (`int`): number of sequences; above 8 nothing changes.
    """
    layers = [layer for layer in model.modules() if batch_size <= _MOST_VECTORS and _can_be_faster(layer)]
    products = _Products(layers, read_each_step, batch_size)
    outer = getattr(_THREAD, "products", None)
    _install(layers)
    try:
        _THREAD.products = products
        yield
    finally:
        _THREAD.products = outer
        _remove(layers)


def small_batch_linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`nn.functional.linear`; inside [`small_batch_linears`] as the product that reads the weight fastest."""
    if torch.compiler.is_compiling():
        if not _is_plain(weight) or not (_is_reduced(input) or _is_small(input)):
            return nn.functional.linear(input, weight, bias)
        return _trace(input, [weight], bias)
    prepared = _find(input, [weight])
    return nn.functional.linear(input, weight, bias) if prepared is None else prepared.multiply(input, bias)


def joined_linears(input: torch.Tensor, *layers: nn.Module) -> Sequence[torch.Tensor]:
    """
    Outputs of several layers of one input, as one product where that is faster: of layers without biases inside
    [`small_batch_linears`], and of those that are packed together.
    """
    output = _joined_product(input, layers)
    if output is None:
        return [layer(input) for layer in layers]
    return output.split([layer.out_features for layer in layers], dim=-1)


def _joined_product(input: torch.Tensor, layers: Sequence[nn.Module]) -> torch.Tensor | None:
    if any(type(layer) is not SmallBatchLinear or layer.bias is not None for layer in layers):
        multiply = getattr(layers[0], "multiply_joined", None)
        return None if multiply is None else multiply(input, layers)
    weights = [layer.weight for layer in layers]
    if torch.compiler.is_compiling():
        return _trace(input, weights, None) if not _is_reduced(input) and _is_small(input) else None
    prepared = _find(input, weights)
    return None if prepared is None else prepared.multiply(input)


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module does nothing but multiply by its `weight`: no adapter, no quantizer and no hook has changed it."""
    return (
        type(module) in (nn.Linear, SmallBatchLinear)
        and type(module.weight) is nn.Parameter
        and "forward" not in vars(module)
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


class _Products:
    """What one generation, in one thread, multiplies by."""

    def __init__(self, layers: Sequence[nn.Module], read_each_step: Iterable[nn.Module], batch_size: int):
        read = {id(weight) for module in read_each_step for weight in module.parameters()}
        prepacks = _most_vectors_unpacked() < batch_size <= _MOST_VECTORS and _has_onednn()
        self.weights: dict[tuple[int, ...], _Weight] = {}
        for weight in (layer.weight for layer in layers):
            self.weights[(id(weight),)] = _Weight([weight], batch_size if prepacks and id(weight) in read else None)

    def get(self, weights: Sequence[torch.Tensor]) -> "_Weight | None":
        key = tuple(map(id, weights))
        weight = self.weights.get(key)
        if weight is None and len(weights) > 1:
            parts = [self.weights.get((part,)) for part in key]
            if any(
                part is None or part.has_changed() or part.prepacked_for != parts[0].prepacked_for for part in parts
            ):
                return None
            weight = self.weights[key] = _Weight(weights, parts[0].prepacked_for)
        return None if weight is None or weight.has_changed() else weight


class _Weight:
    """A weight, or several that are multiplied by the same input, with the copies that make the product fast."""

    def __init__(self, parts: Sequence[torch.Tensor], prepacked_for: int | None):
        self.parts = [(part, part._version, part.data_ptr()) for part in parts]
        self.prepacked_for = prepacked_for
        self.whole = parts[0].detach() if len(parts) == 1 else torch.cat([part.detach() for part in parts])
        num_whole = len(self.whole) // _NUM_BLOCKS * _NUM_BLOCKS
        self.blocks = self.whole[:num_whole].view(_NUM_BLOCKS, -1, self.whole.shape[1])
        self.rest = self.whole[num_whole:]
        self.packed: torch.Tensor | None = None

    def has_changed(self) -> bool:
        """Whether a weight was written to or replaced, so that copies of it are stale."""
        for part, version, address in self.parts:
            if part._version != version or part.data_ptr() != address:
                return True
        return False

    def multiply(self, input: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if input.dtype == torch.bfloat16:
            output = torch.mv(self.whole, input.flatten()).view(*input.shape[:-1], -1)
            return output if bias is None else output + bias
        num_vectors = input.shape[:-1].numel()
        most_unpacked = _most_vectors_unpacked()
        if is_intel_processor() and num_vectors <= most_unpacked:
            return nn.functional.linear(input, self.whole, bias)
        if num_vectors > most_unpacked and self.prepacked_for is not None:
            if self.packed is None:
                self.packed = torch.ops.mkldnn._reorder_linear_weight(self.whole, self.prepacked_for)
            return torch.ops.mkldnn._linear_pointwise(input, self.packed, bias, "none", [], "")
        if (num_vectors > _MOST_VECTORS_TRANSPOSED or is_intel_processor()) and _has_onednn():
            return torch.ops.mkldnn._linear_pointwise(input, self.whole, bias, "none", [], "")
        if num_vectors == 1:
            output = self._multiply_vector(input.reshape(1, -1))
        else:
            # Row-major again: attention kernels refuse anything else.
            output = torch.mm(self.whole, input.flatten(0, -2).t()).t().contiguous()
        output = output.view(*input.shape[:-1], -1)
        return output if bias is None else output + bias

    def _multiply_vector(self, vector: torch.Tensor) -> torch.Tensor:
        # As a transposed row: the same numbers as a column take a path many times slower.
        output = torch.bmm(self.blocks, vector.t().expand(_NUM_BLOCKS, -1, -1)).view(1, -1)
        return torch.cat([output, nn.functional.linear(vector, self.rest)], dim=1) if len(self.rest) else output


def _find(input: torch.Tensor, weights: Sequence[torch.Tensor]) -> _Weight | None:
    products = getattr(_THREAD, "products", None)
    return products.get(weights) if products is not None and _is_small(input) else None


def _trace(input: torch.Tensor, weights: list[torch.Tensor], bias: torch.Tensor | None) -> torch.Tensor:
    if not _is_reduced(input):
        return torch.ops.transformers_moss_tts.small_batch_linear(input, weights, bias)
    output = (weights[0].float() * input.float().flatten()).sum(-1)
    output = output if bias is None else output + bias
    return output.view(*input.shape[:-1], -1).to(input.dtype)


def _is_reduced(input: torch.Tensor) -> bool:
    """Whether compiled products of an input are reductions, which the compiler joins with each other and what is around them."""
    return input.dtype in _PRECISIONS and input.shape[:-1].numel() == 1 and _is_without_gradient()


@torch.library.custom_op("transformers_moss_tts::small_batch_linear", mutates_args=(), device_types="cpu")
def _compiled_product(input: torch.Tensor, weights: list[torch.Tensor], bias: torch.Tensor | None) -> torch.Tensor:
    prepared = _find(input, weights)
    if prepared is None:
        return nn.functional.linear(input, weights[0] if len(weights) == 1 else torch.cat(weights), bias)
    return prepared.multiply(input, bias)


@_compiled_product.register_fake
def _(input: torch.Tensor, weights: list[torch.Tensor], bias: torch.Tensor | None) -> torch.Tensor:
    return input.new_empty(*input.shape[:-1], sum(len(weight) for weight in weights))


def _install(layers: Sequence[nn.Module]) -> None:
    with _LOCK:
        _USERS.update(layers)
        for layer in layers:
            if type(layer) is nn.Linear:
                layer.__class__ = SmallBatchLinear


def _remove(layers: Sequence[nn.Module]) -> None:
    with _LOCK:
        _USERS.subtract(layers)
        for layer in layers:
            if _USERS[layer] > 0:
                continue
            del _USERS[layer]
            # By name: a reload of this module makes another class of it.
            if type(layer).__module__ == __name__ and isinstance(layer, nn.Linear):
                layer.__class__ = nn.Linear


def _can_be_faster(module: nn.Module) -> bool:
    if not is_plain_linear(module) and type(module) is not TiedLinear:
        return False
    # Inference tensors do not say when they change.
    weight = module.weight
    return _is_plain(weight) and weight.is_contiguous() and not weight.is_inference()


def _is_plain(weight: torch.Tensor) -> bool:
    is_dense = type(weight) in (nn.Parameter, torch.Tensor)
    return is_dense and weight.dtype in _PRECISIONS and weight.device.type == "cpu" and len(weight) >= _NUM_BLOCKS


def _is_small(input: torch.Tensor) -> bool:
    num_vectors = input.shape[:-1].numel()
    if not _is_without_gradient() or not 1 <= num_vectors <= _MOST_VECTORS:
        return False
    return input.dtype == torch.float32 or (
        input.dtype == torch.bfloat16 and num_vectors == 1 and _multiplies_bfloat16()
    )


def _is_without_gradient() -> bool:
    # These products have no gradient, and know no other precision than their own.
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def _most_vectors_unpacked() -> int:
    return _MOST_VECTORS_ON_INTEL if is_intel_processor() else _MOST_VECTORS_UNPACKED


@cache
def _multiplies_bfloat16() -> bool:
    # Elsewhere PyTorch multiplies vectors of bfloat16 in a plain loop.
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return is_intel_processor() and is_supported()


@cache
def _has_onednn() -> bool:
    # PyTorch itself calls these operations for compiled graphs alone; some builds lack them.
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
