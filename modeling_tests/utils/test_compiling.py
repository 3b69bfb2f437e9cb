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
"""What is compiled with which options."""

import pytest
import torch
from transformers import CompileConfig

from transformers_moss_tts.utils.compiling import compiled_on


CPU = torch.device("cpu")
OWN = {
    "options": {"mode": None, "options": {"size_asserts": False}},
    "mode": {"mode": "max-autotune"},
    "backend": {"backend": "eager", "mode": None},
}


@pytest.mark.parametrize("mode", [None, "default", "reduce-overhead"])
def test_a_config_that_asks_for_nothing_gets_options_of_a_cpu(mode):
    config = CompileConfig(mode=mode)
    assert compiled_on(CPU, config) == CompileConfig(
        mode=None, options={"cpp_wrapper": True, "realize_reads_threshold": 1}
    )
    assert config == CompileConfig(mode=mode)


@pytest.mark.parametrize("own", OWN)
def test_what_a_config_asks_for_stays(own):
    config = CompileConfig(**OWN[own])
    assert compiled_on(CPU, config) == config


def test_a_gpu_keeps_its_graphs():
    assert compiled_on(torch.device("cuda"), CompileConfig()) == CompileConfig()
