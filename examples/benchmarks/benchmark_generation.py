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
Measures generation: the time of a step by architecture, batch size and mode, and its share of the time in which the memory could
deliver the weights (the memory-bandwidth utilisation, MBU). All modes run in turn in one process, beside the code of the release if a
folder with it is given (`modeling_moss_tts.py` and what it imports, as its repository has them):

    python examples/benchmarks/benchmark_generation.py --architecture local --modes float32 packed float32-compiled \\
        --reference MOSS-TTS/moss_tts_local --output generation

No checkpoint is needed: the weights are random, of the shape of a small generator (Qwen3 with hidden size 512 and 12 layers,
32 codebooks of 1024), and the text stream is kept inside audio.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import types
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from in_turn import best_and_median, print_table, ratios, run_in_turn
from processor_name import processor_name
from reference_code import import_reference, without_progress_bars
from safetensors.torch import load_file
from transformers import CompileConfig
from transformers.generation.streamers import BaseStreamer

from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayModel, MossTTSLocalV1Config, MossTTSLocalV1Model
from transformers_moss_tts.compatibility import CACHE_NAME
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


MODES = ("float32", "packed", "bfloat16", "float32-compiled", "packed-compiled", "bfloat16-compiled")
PROMPT_LENGTH = 64
BACKBONE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 151936,
}
LOCAL = {
    "local_num_layers": 4,
    "local_hidden_size": 384,
    "local_ffn_hidden_size": 1536,
    "additional_mlp_ffn_hidden_size": 512,
}

Model = MossTTSDelayModel | MossTTSLocalV1Model
# Generates as many steps as asked for, and says when each began or ended.
Generate = Callable[[int], tuple[torch.Tensor, list[float]]]


class StepClock(BaseStreamer):
    """Notes the time of every step."""

    def __init__(self):
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def build_model(architecture: str) -> Model:
    """A model in float32 whose weights come from bfloat16, as those of the releases, and whose audio never ends."""
    torch.manual_seed(0)
    if architecture == "local":
        model = MossTTSLocalV1Model(MossTTSLocalV1Config(language_config=BACKBONE, **LOCAL))
        # Of a whole vocabulary some token is always above 0.
        silenced = {model.lm_heads[0]: [model.config.audio_end_token_id]}
    else:
        model = MossTTSDelayModel(MossTTSDelayConfig(language_config=BACKBONE))
        config = model.config
        # Equal scores of the two slots: the best token is the first, so that audio goes on.
        silenced = {
            model.text_head: [config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id]
        }
    with torch.no_grad():
        for head, tokens in silenced.items():
            head.weight[tokens] = 0
    return model.eval().bfloat16().float()


def build_prompt(config, batch_size: int) -> torch.LongTensor:
    """A prompt that ends inside a recording, so that every step generates audio."""
    torch.manual_seed(1)
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[:, :, 0] = torch.randint(0, 1000, (batch_size, PROMPT_LENGTH))
    prompt[:, -40, 0] = config.audio_start_token_id
    prompt[:, -39:, 0] = config.audio_assistant_gen_slot_token_id
    prompt[:, -39:, 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, 39, config.n_vq))
    return prompt


def in_precision(model: Model, precision: str) -> Model:
    if precision == "bfloat16":
        return model.bfloat16()
    return model.pack_weights() if precision == "packed" else model


def generate_with(model: Model, prompt: torch.LongTensor, is_compiled: bool, **sampling) -> Generate:
    options = {"text_temperature": 0.0, "seed": 0} | sampling
    if is_compiled:
        # With a static cache the step of the backbone is one graph too.
        options |= {"compile_config": CompileConfig(mode=None), "cache_implementation": "static"}

    def generate(steps: int) -> tuple[torch.Tensor, list[float]]:
        clock = StepClock()
        sequences = model.generate(prompt, max_new_tokens=steps, streamer=clock, **options)
        return torch.as_tensor(sequences)[:, PROMPT_LENGTH:], clock.times

    return generate


def build_reference(folder: Path, ours: Model) -> torch.nn.Module:
    """The model of the release's code in a folder, in float32 and with the weights of our model."""
    modeling = import_reference(folder, "modeling_moss_tts")
    config = modeling.MossTTSDelayConfig(**ours.config.to_dict())
    # Newer versions of transformers than that of the release ask for it.
    config.num_hidden_layers = ours.config.language_config.num_hidden_layers
    model = modeling.MossTTSDelayModel(config).eval()
    with tempfile.TemporaryDirectory() as saved:
        ours.save_pretrained(saved)
        model.load_state_dict(load_file(f"{saved}/model.safetensors"))
    if isinstance(ours, MossTTSLocalV1Model):
        stand_in_for_old_transformers(modeling, model)
    return model


def stand_in_for_old_transformers(modeling: types.ModuleType, model: torch.nn.Module) -> None:
    """Gives the code of the local generator's release what transformers 5.0 gave it, and later versions do not."""
    create_causal_mask = modeling.create_causal_mask
    modeling.create_causal_mask = lambda config, input_embeds, attention_mask, past_key_values, **_: (
        create_causal_mask(config, input_embeds, attention_mask, past_key_values)
    )

    def prepare_inputs_for_generation(input_ids: torch.LongTensor, attention_mask: torch.Tensor, **kwargs) -> dict:
        cache = kwargs["past_key_values"]
        inputs = {"input_ids": input_ids[:, cache.get_seq_length() :], "attention_mask": attention_mask}
        return inputs | {"past_key_values": cache, "use_cache": True}

    model.prepare_inputs_for_generation = prepare_inputs_for_generation
    model._get_initial_cache_position = lambda length, device, kwargs: kwargs


def generate_with_reference(model: torch.nn.Module, prompt: torch.LongTensor, **sampling) -> Generate:
    """As [`generate_with`], with the model of the release's code."""
    options = {"text_temperature": 0.0, "attention_mask": torch.ones_like(prompt[..., 0], dtype=torch.bool)} | sampling

    def generate(steps: int) -> tuple[torch.Tensor, list[float]]:
        clock = StepClock()
        hook = model.register_forward_pre_hook(lambda *_: clock.put(prompt))
        with without_progress_bars():
            outputs = model.generate(prompt, max_new_tokens=steps, **options)
        hook.remove()
        # The first is the prompt's.
        return torch.stack([sequence[-steps:] for _, sequence in outputs]), clock.times[1:]

    return generate


def seconds_a_step(generate: Generate, steps: int) -> float:
    """Median of the times of steps that follow one another, so that neither the prompt nor a pause of the machine counts."""
    sequences, times = generate(2 + steps)
    assert sequences.shape[1] == 2 + steps
    return statistics.median(after - before for before, after in pairwise(times))


def measure(args: argparse.Namespace, batch: int) -> list[dict]:
    models: dict[str, Model] = {}
    runs: dict[str, Generate] = {}
    for mode in args.modes:
        precision, _, compiled = mode.partition("-")
        if precision not in models:
            models[precision] = in_precision(build_model(args.architecture), precision)
        prompt = build_prompt(models[precision].config, batch)
        runs[mode] = generate_with(models[precision], prompt, bool(compiled))
    limits = {mode: weights_read_a_step(models[mode.partition("-")[0]]) for mode in runs}
    if args.reference:
        ours = models.get("float32") or build_model(args.architecture)
        reference = build_reference(args.reference, ours)
        check_same_codes(ours, reference, prompt)
        runs["reference"] = generate_with_reference(reference, prompt)
        limits["reference"] = weights_read_a_step(ours)
    rates = [read_rate("cpu", torch.float32) for _ in range(3)]
    for generate in runs.values():
        generate(4)
    seconds = run_in_turn(
        {mode: lambda generate=generate: seconds_a_step(generate, args.steps) for mode, generate in runs.items()},
        args.rounds,
    )
    return [summary_of(mode, batch, seconds, limits[mode] / max(rates)) for mode in runs]


def check_same_codes(ours: Model, reference: torch.nn.Module, prompt: torch.LongTensor) -> None:
    """Greedily both say the same, but for scores that are equal up to rounding, or the comparison would mean nothing."""
    said = generate_with(ours, prompt, False, audio_temperature=0.0)(1)[0]
    expected = generate_with_reference(reference, prompt, audio_temperature=0.0)(1)[0]
    agreement = (said == expected).float().mean().item()
    print(f"{agreement:.1%} of the tokens of a greedy step are those of the reference")
    if agreement < 0.5:
        raise RuntimeError("The code in the folder computes something else than this package: no speeds are compared.")


def summary_of(mode: str, batch: int, seconds: dict[str, list[float]], limit: float) -> dict:
    best, median = best_and_median(seconds[mode])
    result = {"mode": mode, "batch": batch, "step_ms": [round(best * 1e3, 2), round(median * 1e3, 2)]}
    result |= {"limit_ms": round(limit * 1e3, 2), "share_of_limit": round(limit / best, 3)}
    if "reference" in seconds:
        result["of_reference"] = [round(ratio, 2) for ratio in ratios(seconds[mode], seconds["reference"])]
    return result


def row_of(result: dict) -> dict[str, str]:
    best, median = result["step_ms"]
    row = {"batch": str(result["batch"]), "mode": result["mode"], "ms a step, best": f"{best:.1f}"}
    row |= {"median": f"{median:.1f}", "frames/s": f"{result['batch'] / best * 1e3:.1f}"}
    row |= {"limit ms": f"{result['limit_ms']:.1f}", "MBU": f"{result['share_of_limit']:.0%}"}
    faster = result.get("of_reference")
    return row | ({} if faster is None else {"of the reference's speed": f"{faster[0]:.2f} and {faster[1]:.2f}"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=("delay", "local"), default="delay")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["float32", "packed"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--steps", type=int, default=10, help="steps timed in a run; their median counts")
    parser.add_argument(
        "--rounds", type=int, default=4, help="runs of each mode, in turn; the best and the median count"
    )
    parser.add_argument("--reference", type=Path, help="folder with the code of the release, to run beside")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json")
    args = parser.parse_args()
    if args.reference and CACHE_NAME != "past_key_values":
        parser.error("The code of the releases runs on transformers before 5.24: install 5.23 for --reference.")

    # Every generation is cut on purpose.
    logging.getLogger("transformers_moss_tts").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    print(processor_name())
    results = []
    for batch in args.batches:
        measured = measure(args, batch)
        print_table([row_of(result) for result in measured])
        results += measured
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        summary = {"processor": processor_name(), "threads": args.threads, "architecture": args.architecture}
        args.output.with_suffix(".json").write_text(json.dumps(summary | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
