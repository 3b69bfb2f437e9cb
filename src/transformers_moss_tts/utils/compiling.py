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

from collections.abc import Callable

import torch
from transformers.generation import CompileConfig


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


__all__ = ["CompiledFunctions"]
