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
"""Sequences of `generate` that know where their prompt ends."""

import torch


class GeneratedSequences(torch.Tensor):
    """
    Sequences `(batch_size, length, 1 + n_vq)` with the length of their prompt, so that `decode` leaves out the audio that the
    prompt began with wherever they come from: `generate` itself, its output or a pipeline. What has other positions or streams is
    a plain tensor again.

    Attributes:
        prompt_length (`int`): number of positions of the prompt.
    """

    prompt_length: int

    @classmethod
    def of(cls, sequences: torch.LongTensor, prompt_length: int) -> "GeneratedSequences":
        """The same tensor with its prompt's length."""
        marked = sequences.as_subclass(cls)
        marked.prompt_length = prompt_length
        return marked

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __reduce_ex__(self, protocol):
        # As a plain tensor, so that `torch.load` reads it without this class.
        return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo) -> "GeneratedSequences":
        return self.clone()

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        source = args[0] if args else None
        if func is torch.Tensor.as_subclass:
            return result
        if not isinstance(source, cls) or type(result) is not torch.Tensor or result.dtype != source.dtype:
            return result
        with torch._C.DisableTorchFunctionSubclass():
            is_alike = result.ndim >= 2 and result.shape[-2:] == source.shape[-2:]
        return cls.of(result, source.prompt_length) if is_alike else result
