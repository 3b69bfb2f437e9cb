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
Measures loading and saving of random bfloat16 checkpoints in the released layout: peak memory and time beside those of a plain
Qwen3 of the same number of parameters, each run in a process of its own, in turns.

    python examples/benchmarks/loading.py --output loading.json
    python examples/benchmarks/loading.py --small   # the same with tiny shapes
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from own_process import status_bytes
from released_shapes import local_backbone
from safetensors.torch import save_file
from transformers import AutoModel, Qwen3Config, Qwen3ForCausalLM
from transformers.core_model_loading import revert_weight_conversion

from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayModel, MossTTSLocalV1Config, MossTTSLocalV1Model


BACKBONE = local_backbone()
SMALL = BACKBONE | {"num_hidden_layers": 2, "vocab_size": 32000}
MAX_SHARD_BYTES = 5 * 10**9
# Runs of each model and measurement; the medians count.
REPEATS = 3


def build_on_meta(name: str, is_small: bool) -> torch.nn.Module:
    """The model without its weights: Local v1.0, Delay in the shape of MOSS-VoiceGenerator, or a Qwen3 as large as Local v1.0."""
    backbone = SMALL if is_small else BACKBONE
    tokens = {name: number for number, name in enumerate(MossTTSDelayConfig().special_tokens)} if is_small else {}
    with torch.device("meta"):
        if name == "local":
            return MossTTSLocalV1Model(MossTTSLocalV1Config(language_config=backbone, **tokens))
        if name == "delay":
            return MossTTSDelayModel(MossTTSDelayConfig(language_config=backbone, n_vq=16, **tokens))
        wanted = build_on_meta("local" if name == "qwen3 as local" else "delay", is_small).num_parameters()
        one, two = (_qwen3(backbone | {"num_hidden_layers": layers}).num_parameters() for layers in (1, 2))
        return _qwen3(backbone | {"num_hidden_layers": max(1, round((wanted - one) / (two - one)) + 1)})


def _qwen3(fields: dict) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(Qwen3Config(**fields, tie_word_embeddings=False))


def write_checkpoint(model: torch.nn.Module, folder: Path) -> int:
    """Writes random weights of a model on the meta device under their released names; returns their size in bytes."""
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.bfloat16
    model.config.save_pretrained(folder)
    shards, size = [[]], 0
    weights = revert_weight_conversion(model, model.state_dict())
    for name, weight in weights.items():
        if size + 2 * weight.numel() > MAX_SHARD_BYTES:
            shards, size = [*shards, []], 0
        shards[-1].append(name)
        size += 2 * weight.numel()
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {
            name: torch.empty(weights[name].shape, dtype=torch.bfloat16).uniform_(-0.02, 0.02) for name in names
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    total = 2 * sum(weight.numel() for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def run_here(folder: Path, saves: bool) -> None:
    """Loads the checkpoint, or loads and saves it, and prints the seconds and the peak memory above that before, in bytes."""
    auto_class = (
        Qwen3ForCausalLM if json.loads((folder / "config.json").read_text())["model_type"] == "qwen3" else AutoModel
    )
    before = status_bytes("VmHWM")
    start = time.perf_counter()
    model = auto_class.from_pretrained(folder)
    # What is mapped is read before it can be used.
    for weight in model.parameters():
        weight.sum()
    seconds = time.perf_counter() - start
    if saves:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=folder.parent) as target:
            model.save_pretrained(target)
            seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "bytes": status_bytes("VmHWM") - before}))


def run_apart(folder: Path, action: str) -> dict[str, float]:
    """[`run_here`] in a process of its own."""
    command = [sys.executable, __file__, "--run", action, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(generator: str, is_small: bool, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of loading and of saving a generator, and their ratios to Qwen3's."""
    base = Path(tempfile.mkdtemp())
    names, results = (generator, f"qwen3 as {generator}"), {}
    try:
        sizes = {name: write_checkpoint(build_on_meta(name, is_small), base / name) for name in names}
        for action in ("load", "save"):
            runs = {name: [] for name in names}
            for _ in range(repeats):
                for name in names:
                    runs[name].append(run_apart(base / name, action))
            seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in names}
            peaks = {name: statistics.median(run["bytes"] for run in runs[name]) / sizes[name] for name in names}
            results[action] = {
                "size_gb": sizes[generator] / 1e9,
                "seconds": seconds[generator],
                "seconds_of_qwen3": seconds[names[1]],
                "time_ratio": seconds[generator] / seconds[names[1]],
                "peak_memory_to_size": peaks[generator],
                "peak_memory_to_size_of_qwen3": peaks[names[1]],
            }
    finally:
        shutil.rmtree(base)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+", choices=("local", "delay"), default=["local", "delay"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--small", action="store_true", help="backbones of two layers")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--run", choices=("load", "save"), help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run_here(args.folder, saves=args.run == "save")
    results = {generator: measure(generator, args.small, args.repeats) for generator in args.generators}
    print(json.dumps(results, indent=2))
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
