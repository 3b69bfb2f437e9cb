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
Measures a GPU in one prepared run of under 8 minutes: generators and codecs of the released shapes with random bfloat16 weights
that are made on the device, eager and as graphs at batch 1 and 8, and the largest one with flash attention and with small weights
(int8 and int4 of torchao, int8 and nf4 of bitsandbytes, of the backbone alone). For each: steps a second, the share of the card's memory
bandwidth that they use, time to the first audio, real-time factor with the codec, and peak memory. Then the tests that need a GPU
run. What does not fit into the card or the time, or lacks a package, is named in the results.

    python examples/benchmarks/accelerator.py --output accelerator
    python examples/benchmarks/accelerator.py --small --device cpu --seconds 120   # the same cases with tiny shapes

Needs the package and pytest alone: on a machine without a network, put wheels of transformers, soundfile and soxr on PYTHONPATH.
"""

import argparse
import gc
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from released_shapes import CODEC_OF, RELEASED
from torch import nn
from transformers import AutoModel, CompileConfig, PreTrainedConfig, PreTrainedModel

from transformers_moss_tts import (
    MossAudioTokenizerModel,
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSFrameStreamer,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
    MossTTSNanoConfig,
)
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


FRAME_RATE = 12.5
PROMPT_LENGTH = 128
# Longest that the tests that need a GPU may take, in seconds.
TEST_SECONDS = 120


SMALL_BACKBONE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 16,
    "vocab_size": 151936,
}
SMALL_LOCAL = {
    "local_num_layers": 2,
    "local_hidden_size": 64,
    "local_ffn_hidden_size": 128,
    "additional_mlp_ffn_hidden_size": 64,
}
SMALL_GENERATORS: dict[str, Callable[[], PreTrainedConfig]] = {
    "MOSS-TTS-v1.5": lambda: MossTTSDelayConfig(language_config=SMALL_BACKBONE),
    "MOSS-TTS-Local-Transformer": lambda: MossTTSLocalV1Config(language_config=SMALL_BACKBONE, **SMALL_LOCAL),
    "MOSS-TTS-Local-Transformer-v1.5": lambda: MossTTSLocalConfig(
        language_config=SMALL_BACKBONE, gpt2_config={"n_head": 8, "n_inner": 256}
    ),
    "MOSS-TTS-Nano": lambda: MossTTSNanoConfig(
        gpt2_config={"n_embd": 64, "n_head": 4, "n_layer": 2, "n_inner": 128}, hidden_size=64
    ),
}
# In the order of their runs; the first is the largest.
GENERATORS = ("MOSS-TTS-v1.5", "MOSS-TTS-Local-Transformer", "MOSS-TTS-Nano", "MOSS-TTS-Local-Transformer-v1.5")
CODECS = tuple(dict.fromkeys(CODEC_OF[name] for name in GENERATORS))


def config_of(name: str, is_small: bool) -> PreTrainedConfig:
    """Configuration of a released checkpoint, or of a tiny model of its kind."""
    if is_small and name in SMALL_GENERATORS:
        return SMALL_GENERATORS[name]()
    config = RELEASED[name][0]()
    for module in getattr(config, "encoder_kwargs", []) + getattr(config, "decoder_kwargs", []):
        if is_small and module["module_type"] == "Transformer":
            module.update(d_model=32, num_heads=2, num_layers=1, dim_feedforward=64)
    return config


def plain_backbone(model: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """The linear layers of the backbone, each with the module that has it and its name there: what small weights are of."""
    return [
        (module, name, layer)
        for module in model.backbone.modules()
        for name, layer in module.named_children()
        if type(layer) is nn.Linear
    ]


def with_torchao(bits: int, model: PreTrainedModel) -> None:
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(model.backbone, Int8WeightOnlyConfig() if bits == 8 else Int4WeightOnlyConfig(group_size=128))


def with_bitsandbytes(bits: int, model: PreTrainedModel) -> None:
    import bitsandbytes

    for module, name, layer in plain_backbone(model):
        has_bias, sizes = layer.bias is not None, (layer.in_features, layer.out_features)
        if bits == 8:
            small = bitsandbytes.nn.Linear8bitLt(*sizes, bias=has_bias, has_fp16_weights=False)
        else:
            small = bitsandbytes.nn.Linear4bit(
                *sizes, bias=has_bias, quant_type="nf4", compute_dtype=layer.weight.dtype
            )
        small.load_state_dict(layer.state_dict())
        setattr(module, name, small.to(layer.weight.device))


@dataclass(frozen=True)
class Mode:
    """How a generator runs."""

    compile_config: CompileConfig | None = None
    shrink: Callable[[PreTrainedModel], None] | None = None
    attention: str = "sdpa"
    # A package without which there is no such mode.
    package: str | None = None
    needs_cuda: bool = False


# In the order of their weight: what small weights change comes last, of a model that is built anew.
MODES = {
    "eager": Mode(),
    "compiled": Mode(CompileConfig(mode=None)),
    "graphs": Mode(CompileConfig(mode="reduce-overhead"), needs_cuda=True),
    "flash attention": Mode(attention="flash_attention_2", package="flash_attn", needs_cuda=True),
    "int8": Mode(CompileConfig(mode=None), partial(with_torchao, 8), package="torchao"),
    "int4": Mode(CompileConfig(mode=None), partial(with_torchao, 4), package="torchao", needs_cuda=True),
    "int8 of bitsandbytes": Mode(None, partial(with_bitsandbytes, 8), package="bitsandbytes", needs_cuda=True),
    "nf4 of bitsandbytes": Mode(None, partial(with_bitsandbytes, 4), package="bitsandbytes", needs_cuda=True),
}


def lack(mode: Mode, device: torch.device) -> str | None:
    """What this machine lacks for a mode."""
    if mode.needs_cuda and device.type != "cuda":
        return "it needs a CUDA card"
    if mode.package is not None and find_spec(mode.package) is None:
        return f"{mode.package} is not installed"
    return None


def reason_of(error: Exception) -> str:
    """Why a case could not be measured, in a line."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the memory of the card does not suffice"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@dataclass
class Bench:
    """The device, the time that is left, and the results so far."""

    device: torch.device
    dtype: torch.dtype
    is_small: bool
    seconds: float
    batches: list[int]
    started: float = field(default_factory=time.monotonic)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds_left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def build(self, name: str) -> PreTrainedModel:
        """A model with random weights that never left the device."""
        torch.manual_seed(0)
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                return AutoModel.from_config(config_of(name, self.is_small)).eval()
        finally:
            torch.set_default_dtype(torch.float32)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def free(self) -> None:
        """Frees what nothing holds any more, and begins to count the peak memory anew."""
        gc.collect()
        torch._dynamo.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float | None:
        """Peak memory of the card since the last [`free`]; on a CPU there is no such count."""
        return round(torch.cuda.max_memory_allocated() / 2**30, 2) if self.device.type == "cuda" else None

    def shortage(self, seconds: float) -> str | None:
        """Why a case that may need so many seconds is not measured, if too little time is left."""
        is_short = self.seconds_left < seconds
        return f"{self.seconds_left:.0f} s were left, {seconds:.0f} may be needed" if is_short else None

    def attempt(self, case: dict[str, Any], measure: Callable[[], dict[str, Any]], seconds: float) -> None:
        """Adds what `measure` returns, or why there is nothing: too little time is left, or memory."""
        if reason := self.shortage(seconds):
            self.leave_out(case, reason)
            return
        start = time.monotonic()
        try:
            result = measure()
        except Exception as error:
            # The other cases of a run that cannot soon be repeated are worth having.
            result = {"left_out": reason_of(error)}
        self._add(case | result | {"took_seconds": round(time.monotonic() - start, 1)})

    def leave_out(self, case: dict[str, Any], reason: str) -> None:
        """Adds a case that is not measured, and why."""
        self._add(case | {"left_out": reason})

    def _add(self, result: dict[str, Any]) -> None:
        self.results.append(result)
        print(json.dumps(result), flush=True)


@torch.no_grad()
def keep_speaking(model: PreTrainedModel) -> None:
    """Lets the best text token always be the slot of audio, so that every step generates a frame."""
    config = model.config
    if isinstance(model, MossTTSDelayModel):
        model.text_head.weight[
            [config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id]
        ] = 0
    elif isinstance(model, MossTTSLocalV1Model):
        # Of a whole vocabulary some token is always above 0.
        model.lm_heads[0].weight[config.audio_end_token_id] = 0
    elif isinstance(model, MossTTSLocalModel):
        # Of two equal scores the first is the best, which goes on.
        model.local_text_lm_head.weight.zero_()
    else:
        slots = [config.audio_assistant_gen_slot_token_id, config.audio_end_token_id]
        model.get_input_embeddings().weight[slots] = 0


def prompt_of(config, batch_size: int, device: torch.device) -> torch.LongTensor:
    """A prompt that ends in a reply of 39 frames, `(batch_size, PROMPT_LENGTH, 1 + n_vq)`."""
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[:, :, 0] = torch.randint(0, 1000, (batch_size, PROMPT_LENGTH))
    prompt[:, -40, 0] = config.audio_start_token_id
    prompt[:, -39:, 0] = config.audio_assistant_gen_slot_token_id
    prompt[:, -39:, 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, 39, config.n_vq))
    return prompt.to(device)


def measure_generator(
    bench: Bench, model: PreTrainedModel, codec: MossAudioTokenizerModel, batch: int, mode: Mode, rate: float
) -> dict[str, Any]:
    steps = 8 if bench.is_small else 32
    prompt = prompt_of(model.config, batch, bench.device)
    options: dict[str, Any] = {"text_temperature": 0.0, "seed": 0}
    if mode.compile_config is not None:
        options |= {"compile_config": mode.compile_config, "cache_implementation": "static"}

    def run(num_steps: int) -> float:
        bench.wait()
        start = time.perf_counter()
        model.generate(prompt, max_new_tokens=num_steps, **options)
        bench.wait()
        return time.perf_counter() - start

    start = time.perf_counter()
    run(steps)
    warm_up = time.perf_counter() - start
    step = statistics.median((run(2 * steps) - run(steps)) / steps for _ in range(3))
    frames = torch.randint(0, codec.config.codebook_size, (model.config.n_vq, batch, steps), device=bench.device)
    decode = statistics.median(_timed(bench, lambda: codec.decode(frames)) for _ in range(3)) / steps
    result = {
        "step_ms": round(step * 1e3, 2),
        "steps_per_second": round(1 / step, 2),
        # What small weights take of the memory's speed their packages do not say.
        "share_of_bandwidth": None if mode.shrink else round(weights_read_a_step(model) / rate / step, 3),
        "real_time_factor": round((step + decode) * FRAME_RATE, 3),
        "peak_gib": bench.peak_gib(),
        "warm_up_seconds": round(warm_up, 1),
    }
    if batch == 1:
        result["first_audio_ms"] = round(
            statistics.median(first_audio(bench, model, codec, options) for _ in range(3)) * 1e3
        )
    return result


def _timed(bench: Bench, work: Callable[[], Any]) -> float:
    with torch.inference_mode():
        bench.wait()
        start = time.perf_counter()
        work()
        bench.wait()
        return time.perf_counter() - start


def first_audio(
    bench: Bench, model: PreTrainedModel, codec: MossAudioTokenizerModel, options: dict[str, Any]
) -> float:
    """Seconds from the prompt to the samples of the first frame."""
    config = model.config
    streamer = MossTTSFrameStreamer(config)
    num_steps = 2 + config.codebook_delay * (config.n_vq - 1)

    def speak() -> None:
        model.generate(prompt_of(config, 1, bench.device), max_new_tokens=num_steps, streamer=streamer, **options)
        frame = next(iter(streamer)).to(bench.device)
        codec.decode(frame.T[:, None])

    return _timed(bench, speak)


def measure_codec(bench: Bench, codec: MossAudioTokenizerModel, batch: int) -> dict[str, Any]:
    seconds = 2 if bench.is_small else 30
    config, num_frames = codec.config, round(seconds * FRAME_RATE)
    codes = torch.randint(0, config.codebook_size, (config.num_quantizers, batch, num_frames), device=bench.device)
    samples = num_frames * config.downsample_rate
    shape = (batch, samples) if config.num_channels == 1 else (batch, config.num_channels, samples)
    waves = torch.randn(shape, device=bench.device) * 0.1
    result = {}
    for name, work in (("decode", lambda: codec.decode(codes)), ("encode", lambda: codec.encode(waves))):
        _timed(bench, work)
        took = statistics.median(_timed(bench, work) for _ in range(3))
        result[f"{name}_audio_seconds_per_second"] = round(batch * seconds / took, 1)
    return result | {"peak_gib": bench.peak_gib()}


def measure_all(bench: Bench) -> None:
    rate = read_rate(bench.device, bench.dtype)
    print(json.dumps({"read_gb_per_second": round(rate / 1e9)}), flush=True)
    for name in GENERATORS:
        measure_modes(bench, name, rate)
    for name in CODECS:
        bench.free()
        codec = bench.build(name)
        for batch in bench.batches:
            bench.attempt({"model": name, "batch": batch}, partial(measure_codec, bench, codec, batch), seconds=15)


def measure_modes(bench: Bench, name: str, rate: float) -> None:
    """Measures a generator in each mode; with small weights or another attention the largest one alone, and one sequence."""
    for mode_name, mode in MODES.items():
        is_special = mode.shrink is not None or mode.attention != "sdpa"
        if is_special and name != GENERATORS[0]:
            continue
        batches = bench.batches[:1] if is_special else bench.batches
        cases = [{"model": name, "batch": batch, "mode": mode_name} for batch in batches]
        seconds = 30 if mode.compile_config is None else 90
        reason = lack(mode, bench.device) or bench.shortage(seconds)
        if mode_name == "compiled" and bench.device.type == "cuda":
            reason = "graphs are compiled too"
        model = codec = None
        if reason is None:
            bench.free()
            try:
                model, codec = bench.build(name), bench.build(CODEC_OF[name])
                keep_speaking(model)
                model.set_attn_implementation(mode.attention)
                if mode.shrink is not None:
                    mode.shrink(model)
            except Exception as error:
                reason = reason_of(error)
        for case in cases:
            if reason is not None:
                bench.leave_out(case, reason)
                continue
            measure = partial(measure_generator, bench, model, codec, case["batch"], mode, rate)
            bench.attempt(case, measure, seconds)
        del model, codec


def run_tests(seconds: float) -> dict[str, Any]:
    """The tests that need a GPU, and what they said at last."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "modeling_tests"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"left_out": f"they took longer than {seconds:.0f} s"}
    return {"exit_code": ran.returncode, "output": ran.stdout.splitlines()[-15:]}


def table(results: list[dict[str, Any]]) -> str:
    """The results of generators and codecs as Markdown."""
    columns = {
        "steps_per_second": "steps/s",
        "share_of_bandwidth": "share of bandwidth",
        "first_audio_ms": "first audio, ms",
        "real_time_factor": "real-time factor",
        "decode_audio_seconds_per_second": "decoded s/s",
        "encode_audio_seconds_per_second": "encoded s/s",
        "peak_gib": "peak GiB",
    }
    lines = [f"| model | batch | mode | {' | '.join(columns.values())} |", "|---" * (3 + len(columns)) + "|"]
    for result in results:
        values = [result.get(key) for key in columns]
        cells = ["" if value is None else str(value) for value in values]
        if "left_out" in result:
            cells[0] = result["left_out"]
        lines.append(f"| {result['model']} | {result['batch']} | {result.get('mode', '')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json and OUTPUT.md")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the script on a CPU")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument(
        "--seconds", type=float, default=450, help="time for everything; cases that need more are left out"
    )
    args = parser.parse_args()

    # Every generation is cut on purpose.
    logging.getLogger("transformers_moss_tts").setLevel(logging.ERROR)
    device = torch.device(args.device)
    bench = Bench(device, getattr(torch, args.dtype), args.small, args.seconds - TEST_SECONDS, args.batches)
    measure_all(bench)
    tests = run_tests(TEST_SECONDS) if device.type == "cuda" else {"left_out": "they need a GPU"}
    print(json.dumps(tests, indent=1))
    if args.output:
        name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        summary = {"device": name, "torch": torch.__version__, "results": bench.results, "tests": tests}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
        args.output.with_suffix(".md").write_text(f"{name}, {args.dtype}\n\n{table(bench.results)}")


if __name__ == "__main__":
    main()
