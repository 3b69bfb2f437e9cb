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
Rate at which weights are read. Run as a program of its own it needs torch alone: `python read_rate.py DEVICE DTYPE THREADS`.
"""

import statistics
import sys
import time

import torch


def read_rate(device: str | torch.device, dtype: torch.dtype) -> float:
    """Bytes a second at which a large matrix is read in a matrix-vector product: the median of seven."""
    device = torch.device(device)
    matrix = torch.full((16384, 8192), 0.5, device=device, dtype=dtype)
    vector = torch.full((8192,), 0.5, device=device, dtype=dtype)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        matrix @ vector
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return matrix.nbytes / statistics.median(times)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(read_rate(sys.argv[1], getattr(torch, sys.argv[2])))


__all__ = ["read_rate"]
