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
"""The processor that figures are of, and what it can do."""

import platform
from pathlib import Path

import torch


def processor_name() -> str:
    """Name of the processor, its number of threads, and whether it has AVX-512 and products of bfloat16."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    said = dict(line.split(":", 1) for line in lines if line.startswith(("model name", "flags")))
    said = {key.strip(): value.strip() for key, value in said.items()}
    features = {
        "AVX-512": "AVX512" in torch.backends.cpu.get_cpu_capability(),
        "bfloat16 products": bool({"avx512_bf16", "amx_bf16"} & {*said.get("flags", "").split()}),
    }
    listed = ", ".join(f"{'with' if has else 'without'} {feature}" for feature, has in features.items())
    return f"{said.get('model name', platform.processor())}, {torch.get_num_threads()} threads, {listed}"
