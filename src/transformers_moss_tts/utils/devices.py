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
"""Devices by name, and how many threads of a CPU a model uses."""

import os
import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn


# Up to this number of parameters the work of a step is so short that threads wait for each other longer than they compute.
_MOST_PARAMETERS_OF_ONE_THREAD = 50_000_000


def find_device(name: str | None = None) -> torch.device:
    """
    The device of a name, or the fastest one.

    Args:
        name (`str`, *optional*): such as "cpu" or "cuda:1"; by default a GPU where there is one.

    Raises:
        ValueError: if nothing can be computed on the device here.
    """
    if name is None:
        is_mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if is_mps else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"The device {name!r} cannot be used here: {reason}") from error
    return torch.device(name)


def use_threads(model: nn.Module, number: int | None = None) -> None:
    """
    Sets how many threads torch computes with in this process.

    Args:
        model (`nn.Module`): model that will be run.
        number (`int`, *optional*):
            Number of threads. By default it is one for a small model, and torch's own choice for others and where OMP_NUM_THREADS
            or MKL_NUM_THREADS says something.
    """
    is_chosen = any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
    is_small = sum(parameter.numel() for parameter in model.parameters()) <= _MOST_PARAMETERS_OF_ONE_THREAD
    if number is not None:
        torch.set_num_threads(number)
    elif is_small and not is_chosen:
        torch.set_num_threads(1)


@cache
def is_intel_processor() -> bool:
    """Whether the processor is one of Intel's."""
    described = Path("/proc/cpuinfo")
    return "GenuineIntel" in (described.read_text() if described.exists() else platform.processor())


def mark_static(*buffers: torch.Tensor) -> None:
    """
    Tells compiled steps on a GPU that buffers stay where they are: CUDA graphs copy every other input anew and are skipped where one
    is written to.
    """
    for buffer in buffers:
        if buffer.device.type == "cuda":
            torch._dynamo.mark_static_address(buffer)


def mark_varying(dim: int, *buffers: torch.Tensor | None) -> None:
    """Tells compiled steps on a CPU that buffers differ in a dimension, so that one graph serves all from the first on."""
    for buffer in buffers:
        if buffer is not None and buffer.device.type == "cpu":
            torch._dynamo.maybe_mark_dynamic(buffer, dim % buffer.ndim)


__all__ = ["find_device", "is_intel_processor", "mark_static", "mark_varying", "use_threads"]
