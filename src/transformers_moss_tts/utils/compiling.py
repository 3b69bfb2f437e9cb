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
"""Compiled functions of a model."""

import copy
from collections.abc import Callable

import torch
from transformers.generation import CompileConfig


# Options of inductor. A step on a CPU is hundreds of short loops: they are called from C++, and what several of them read is computed
# once, not in each.
_CPU_OPTIONS = {"cpp_wrapper": True, "realize_reads_threshold": 1}
# Modes that say nothing for a CPU; "reduce-overhead", the default of a `CompileConfig`, stands for graphs of a GPU.
_CPU_MODES = (None, "default", "reduce-overhead")


def compiled_on(device: torch.device, compile_config: CompileConfig) -> CompileConfig:
    """A config for a device: on a CPU with options for steps of one token, where it asks for none and for no mode of its own."""
    compile_config = copy.copy(compile_config)
    # transformers compiles on a CPU only where this says so; who gives a config wants it used.
    vars(compile_config).update(_compile_all_devices=True)
    is_plain = compile_config.options is None and compile_config.mode in _CPU_MODES
    if device.type == "cpu" and is_plain and compile_config.backend == "inductor":
        vars(compile_config).update(mode=None, options=_CPU_OPTIONS)
    return compile_config


class CompiledFunctions:
    """
    Functions of one model, each compiled once for a config. A copy of the model, and a pickle, has none: compiled methods belong to
    the object that they were made of, and cannot be pickled.
    """

    def __init__(self):
        self._config: CompileConfig | None = None
        self._compiled: dict[Callable, Callable] = {}

    def __reduce__(self):
        return CompiledFunctions, ()

    def get(self, function: Callable, compile_config: CompileConfig) -> Callable:
        """The function, compiled with a config; with another config than before everything is compiled anew."""
        if self._config != compile_config:
            self._config, self._compiled = compile_config, {}
        if function not in self._compiled:
            self._compiled[function] = torch.compile(function, **compile_config.to_dict())
        return self._compiled[function]


__all__ = ["CompiledFunctions", "compiled_on"]
