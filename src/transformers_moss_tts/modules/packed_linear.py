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
from collections.abc import Iterable

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

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, is_tied: bool = False):
        super().__init__()
        self.is_tied = is_tied
        self._pack(weight, bias)

    def _pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        weight = weight.detach().float()
        self.out_features, self.in_features = weight.shape
        if not weight.abs().amax() <= _LARGEST:
            raise ValueError(
                f"A weight of shape {tuple(weight.shape)} has numbers beyond {_LARGEST:.0f}, the largest of float16: leave the model "
                "unpacked."
            )
        bias = None if bias is None else bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        self.number = id(self)
        _LAYERS[self.number] = self

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the weight, `(out_features, in_features)` in float32."""
        return torch.ops.quantized.linear_unpack_fp16(self.packed)[0].float()

    @property
    def num_bytes(self) -> int:
        """Number of bytes of the packed weight."""
        return 2 * self.in_features * self.out_features

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and input.requires_grad:
            raise RuntimeError(
                "Packed weights have no gradients: train the model before `pack_weights`, or generate under `torch.no_grad()`."
            )
        if torch.compiler.is_compiling():
            output = torch.ops.transformers_moss_tts.packed_linear(input, self.number, self.out_features)
        else:
            output = _multiply(input, self.packed)
        return output if input.dtype == torch.float32 else output.to(input.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.is_tied:
            destination[prefix + "weight"] = self.weight
        bias = torch.ops.quantized.linear_unpack_fp16(self.packed)[1]
        if bias is not None:
            destination[prefix + "bias"] = bias

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *args):
        if prefix + "weight" in state_dict:
            self._pack(state_dict[prefix + "weight"], state_dict.get(prefix + "bias"))
        elif not self.is_tied:
            missing_keys.append(prefix + "weight")

    def __deepcopy__(self, memo):
        kind, arguments = self.__reduce__()
        return kind(*arguments).train(self.training)

    def __reduce__(self):
        return type(self), (*torch.ops.quantized.linear_unpack_fp16(self.packed), self.is_tied)


def pack_linears(model: nn.Module, read_each_step: Iterable[nn.Module]) -> None:
    """
    Replaces the plain linear layers of parts of a model by packed ones.

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
        is_tied = shares[id(layer.weight)] > 1
        setattr(module, name, PackedLinear(layer.weight, getattr(layer, "bias", None), is_tied))


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
