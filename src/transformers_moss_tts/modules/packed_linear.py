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
Linear layers for generation on x86 processors: weights in float16, in the layout of FBGEMM, multiplied in float32. A step of generation
waits for weights to be read, and these are half as long.
"""

import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from torch import nn

from .small_batch_linear import TiedLinear, is_plain_linear


# Largest finite number of float16.
_LARGEST = torch.finfo(torch.float16).max
# Graphs of the compiler hold numbers, not packed weights.
_LAYERS: "weakref.WeakValueDictionary[int, PackedLinear]" = weakref.WeakValueDictionary()


class PackedLinear(nn.Module):
    """
    A linear layer whose weight cannot be trained. It takes inputs of any floating dtype, multiplies in float32 and returns the dtype
    of the input. Its state dict holds the weight in float32, as a plain layer's does.

    Args:
        weight (`torch.FloatTensor` of shape `(out_features, in_features)`): weight, rounded to float16.
        bias (`torch.FloatTensor` of shape `(out_features,)`, *optional*): bias, kept in float32.
        is_tied (`bool`, *optional*, defaults to `False`): whether another module has the weight too, which is left to it to save.
    """

    # The weight in float16, and the bias, in their plain layout, see `keep_rows`.
    rows: tuple[torch.Tensor, torch.Tensor | None] | None = None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, is_tied: bool = False):
        super().__init__()
        self.is_tied = is_tied
        self._pack(weight, bias)

    @classmethod
    def joined(cls, layers: Sequence[nn.Linear]) -> "list[PackedLinear]":
        """One for each of several plain layers without biases that have the same input, all packed together."""
        packed = _prepack(torch.cat([layer.weight for layer in layers]), None)
        sizes = [layer.out_features for layer in layers]
        outputs = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes))]
        return [cls._of(packed, layers[0].in_features, sum(sizes), part) for part in outputs]

    @classmethod
    def _of(cls, packed: torch.ScriptObject, in_features: int, num_packed: int, outputs: slice) -> "PackedLinear":
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer.is_tied = False
        layer._hold(packed, in_features, num_packed, outputs)
        return layer

    def _pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        num_outputs, in_features = weight.shape
        self._hold(_prepack(weight, bias), in_features, num_outputs, slice(0, num_outputs))

    def _hold(self, packed: torch.ScriptObject, in_features: int, num_packed: int, outputs: slice) -> None:
        """Takes a packed weight, of which the layer's outputs are a part where several layers are packed together."""
        self.packed, self.in_features, self.num_packed, self.outputs = packed, in_features, num_packed, outputs
        self.out_features = outputs.stop - outputs.start
        self.number = id(self)
        _LAYERS[self.number] = self
        if self.rows is not None:
            self.keep_rows()

    def keep_rows(self) -> None:
        """
        Holds the weight once more, in its plain layout: a compiled step reads it for a single vector, in a loop with what is around
        the product.
        """
        self.rows = (self.weight.half(), self.bias)

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight, `(out_features, in_features)` in float32."""
        return torch.ops.quantized.linear_unpack_fp16(self.packed)[0][self.outputs].float()

    @property
    def bias(self) -> torch.Tensor | None:
        """A copy of the bias, `(out_features,)` in float32."""
        return torch.ops.quantized.linear_unpack_fp16(self.packed)[1]

    @property
    def num_bytes(self) -> int:
        """Number of bytes of the packed weight."""
        return 2 * self.in_features * self.out_features

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self._reads_rows(input):
            weight, bias = self.rows
            output = (weight * input.float().flatten()).sum(-1)
            output = output if bias is None else output + bias
            return output.view(*input.shape[:-1], -1).to(input.dtype)
        output = self._multiply(input)
        return output if self.num_packed == self.out_features else output[..., self.outputs]

    def multiply_joined(self, input: torch.Tensor, layers: Sequence[nn.Module]) -> torch.Tensor | None:
        """Outputs of layers that are packed together, of which this is the first, one after the other; `None` for any others."""
        if any(getattr(layer, "packed", None) is not self.packed for layer in layers):
            return None
        # The compiler joins the reductions of a single vector.
        return None if self._reads_rows(input) else self._multiply(input)

    def _reads_rows(self, input: torch.Tensor) -> bool:
        return torch.compiler.is_compiling() and self.rows is not None and input.shape[:-1].numel() == 1

    def _multiply(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and input.requires_grad:
            raise RuntimeError(
                "Packed weights have no gradients: train the model before `pack_weights`, or generate under `torch.no_grad()`."
            )
        if torch.compiler.is_compiling():
            output = torch.ops.transformers_moss_tts.packed_linear(input, self.number, self.num_packed)
        else:
            output = _multiply(input, self.packed)
        return output if input.dtype == torch.float32 else output.to(input.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.is_tied:
            destination[prefix + "weight"] = self.weight
        if (bias := self.bias) is not None:
            destination[prefix + "bias"] = bias

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *args):
        if prefix + "weight" in state_dict:
            self._pack(state_dict[prefix + "weight"], state_dict.get(prefix + "bias"))
        elif not self.is_tied:
            missing_keys.append(prefix + "weight")

    def __deepcopy__(self, memo):
        # What is packed never changes: copies share it.
        copied = self._of(self.packed, self.in_features, self.num_packed, self.outputs)
        copied.is_tied = self.is_tied
        return copied.train(self.training)

    def __reduce__(self):
        return type(self), (self.weight, self.bias, self.is_tied)


def pack_linears(model: nn.Module, read_each_step: Iterable[nn.Module]) -> None:
    """
    Replaces the plain linear layers of parts of a model by packed ones. Those that a module names in `joined_linears`, because they
    have the same input, are packed together.

    Raises:
        ValueError: if a weight is on another device than a CPU, is beyond float16, or this processor has no such products.
    """
    layers = {
        layer
        for part in read_each_step
        for layer in part.modules()
        if is_plain_linear(layer) or type(layer) is TiedLinear
    }
    devices = {layer.weight.device.type for layer in layers}
    if devices - {"cpu"}:
        raise ValueError(
            f"Packed weights are for a CPU, and the model is on {', '.join(sorted(devices))}: move it first."
        )
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise ValueError(
            "This build of PyTorch has no FBGEMM, which multiplies packed weights on x86 processors: leave the model unpacked."
        )
    shares = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    places = [
        (module, name) for module in model.modules() for name, child in module.named_children() if child in layers
    ]
    # Each plain weight goes when its layer is replaced.
    layers.clear()
    for module, name in places:
        layer = getattr(module, name)
        group = getattr(module, "joined_linears", ())
        if name in group and all(_can_join(getattr(module, other), shares) for other in group):
            parts = PackedLinear.joined([getattr(module, other) for other in group])
            for other, part in zip(group, parts):
                setattr(module, other, part)
        elif not isinstance(layer, PackedLinear):
            is_tied = shares[id(layer.weight)] > 1
            setattr(module, name, PackedLinear(layer.weight, getattr(layer, "bias", None), is_tied))


def keep_rows(*parts: nn.Module) -> None:
    """Lets compiled steps of a single sequence read the packed layers of parts of a model, see [`PackedLinear.keep_rows`]."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, PackedLinear) and layer.rows is None:
                layer.keep_rows()


def _can_join(layer: nn.Module, shares: Counter[int]) -> bool:
    return is_plain_linear(layer) and layer.bias is None and shares[id(layer.weight)] == 1


def _prepack(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.ScriptObject:
    weight = weight.detach().float()
    if not weight.abs().amax() <= _LARGEST:
        raise ValueError(
            f"A weight of shape {tuple(weight.shape)} has numbers beyond {_LARGEST:.0f}, the largest of float16: leave the model "
            "unpacked."
        )
    return torch.ops.quantized.linear_prepack_fp16(weight, None if bias is None else bias.detach().float())


def _multiply(input: torch.Tensor, packed: torch.ScriptObject) -> torch.Tensor:
    if input.dtype != torch.float32:
        input = input.float()
    if input.ndim > 1:
        return torch.ops.quantized.linear_dynamic_fp16(input, packed)
    return torch.ops.quantized.linear_dynamic_fp16(input[None], packed)[0]


@torch.library.custom_op("transformers_moss_tts::packed_linear", mutates_args=(), device_types="cpu")
def _packed_product(input: torch.Tensor, number: int, out_features: int) -> torch.Tensor:
    return _multiply(input, _LAYERS[number].packed)


@_packed_product.register_fake
def _(input: torch.Tensor, number: int, out_features: int) -> torch.Tensor:
    return input.new_empty(*input.shape[:-1], out_features, dtype=torch.float32)
