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
that are made on the device, eager and compiled, at batch 1 and 8. For each: steps a second, the share of the card's memory
bandwidth that they use, time to the first audio, real-time factor with the codec, and peak memory. Then the tests that need a GPU
run. What does not fit into the card or the time is named in the results.

    python examples/benchmarks/accelerator.py --output accelerator
    python examples/benchmarks/accelerator.py --small --device cpu --seconds 120   # the same cases with tiny shapes

Needs the package and pytest alone: on a machine without a network, put wheels of transformers, soundfile and soxr on PYTHONPATH.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import CompileConfig, PreTrainedModel

from transformers_moss_tts import (
    MossAudioTokenizerConfig,
    MossAudioTokenizerModel,
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSFrameStreamer,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
)
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


FRAME_RATE = 12.5
PROMPT_LENGTH = 128
# Longest that the tests that need a GPU may take, in seconds.
TEST_SECONDS = 120


def qwen3(hidden: int, intermediate: int, layers: int, heads: int, vocabulary: int = 151936) -> dict[str, Any]:
    """Configuration of a Qwen3 backbone with 8 key-value heads of width 128."""
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": vocabulary,
    }


SMALL = qwen3(128, 256, 2, 8) | {"head_dim": 16}
SMALL_LOCAL = {
    "local_num_layers": 2,
    "local_hidden_size": 64,
    "local_ffn_hidden_size": 128,
    "additional_mlp_ffn_hidden_size": 64,
}


def delay_8b(is_small: bool) -> MossTTSDelayModel:
    return MossTTSDelayModel(
        MossTTSDelayConfig(language_config=SMALL if is_small else qwen3(4096, 12288, 36, 32, vocabulary=155648))
    )


def local_1_7b(is_small: bool) -> MossTTSLocalV1Model:
    if is_small:
        return MossTTSLocalV1Model(MossTTSLocalV1Config(language_config=SMALL, **SMALL_LOCAL))
    return MossTTSLocalV1Model(MossTTSLocalV1Config(language_config=qwen3(2048, 6144, 28, 16, vocabulary=155648)))


def local_4b(is_small: bool) -> MossTTSLocalModel:
    if is_small:
        return MossTTSLocalModel(MossTTSLocalConfig(language_config=SMALL, gpt2_config={"n_head": 8, "n_inner": 256}))
    local = {"n_head": 32, "n_inner": 9728, "rope_base": 1e6}
    return MossTTSLocalModel(MossTTSLocalConfig(language_config=qwen3(2560, 9728, 36, 32), gpt2_config=local))


def codec_v1(is_small: bool) -> MossAudioTokenizerModel:
    config = MossAudioTokenizerConfig()
    _shrink(config, is_small)
    return MossAudioTokenizerModel(config)


def codec_v2(is_small: bool) -> MossAudioTokenizerModel:
    """48 kHz stereo: six stages each way, 32 layers of width 1280 at 12.5 Hz and 12 of width 768 at each rate above."""
    stage = {"module_type": "Transformer", "layer_scale": 0.01, "max_period": 10000}
    narrow = stage | {"d_model": 768, "num_heads": 12, "num_layers": 12, "dim_feedforward": 3072}
    wide = stage | {"d_model": 1280, "num_heads": 20, "num_layers": 32, "dim_feedforward": 5120}
    patch = {"module_type": "PatchedPretransform", "patch_size": 2}
    first = patch | {"patch_size": 240}
    encoder = [first, narrow | {"input_dimension": 240, "output_dimension": 384}]
    encoder += [patch, narrow | {"input_dimension": 768, "output_dimension": 384}] * 3
    encoder += [patch, narrow | {"input_dimension": 768, "output_dimension": 640}]
    encoder += [patch, wide | {"input_dimension": 1280, "output_dimension": 768}]
    decoder = [wide | {"input_dimension": 768, "output_dimension": 1280}, patch]
    decoder += [narrow | {"input_dimension": 640, "output_dimension": 768}, patch]
    decoder += [narrow | {"input_dimension": 384, "output_dimension": 768}, patch] * 3
    decoder += [narrow | {"input_dimension": 384, "output_dimension": 240}, first]
    config = MossAudioTokenizerConfig(
        sampling_rate=48000,
        downsample_rate=3840,
        number_channels=2,
        encoder_kwargs=[dict(module) for module in encoder],
        decoder_kwargs=[dict(module) for module in decoder],
    )
    _shrink(config, is_small)
    return MossAudioTokenizerModel(config)


def _shrink(config: MossAudioTokenizerConfig, is_small: bool) -> None:
    for module in config.encoder_kwargs + config.decoder_kwargs:
        if is_small and module["module_type"] == "Transformer":
            module.update(d_model=32, num_heads=2, num_layers=1, dim_feedforward=64)


# Generator, and the codec that decodes what it says.
GENERATORS: dict[str, tuple[Callable[[bool], PreTrainedModel], str]] = {
    "MossTTSDelay 8B": (delay_8b, "MossAudioTokenizer"),
    "MossTTSLocal 1.7B": (local_1_7b, "MossAudioTokenizer"),
    "MossTTSLocal 4B": (local_4b, "MossAudioTokenizer-v2"),
}
CODECS: dict[str, Callable[[bool], MossAudioTokenizerModel]] = {
    "MossAudioTokenizer": codec_v1,
    "MossAudioTokenizer-v2": codec_v2,
}


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

    def build(self, build: Callable[[bool], PreTrainedModel]) -> PreTrainedModel:
        """A model with random weights that never left the device."""
        torch.manual_seed(0)
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                return build(self.is_small).eval()
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

    def attempt(self, case: dict[str, Any], measure: Callable[[], dict[str, Any]], seconds: float) -> None:
        """Adds what `measure` returns, or why there is nothing: too little time is left, or memory."""
        if self.seconds_left < seconds:
            result = {"left_out": f"{self.seconds_left:.0f} s were left, {seconds:.0f} may be needed"}
        else:
            start = time.monotonic()
            try:
                result = measure()
            except torch.OutOfMemoryError:
                result = {"left_out": "the memory of the card does not suffice"}
            result["took_seconds"] = round(time.monotonic() - start, 1)
        self.results.append(case | result)
        print(json.dumps(case | result), flush=True)


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
    else:
        # Of two equal scores the first is the best, which goes on.
        model.local_text_lm_head.weight.zero_()


def prompt_of(config, batch_size: int, device: torch.device) -> torch.LongTensor:
    """A prompt that ends in a reply of 39 frames, `(batch_size, PROMPT_LENGTH, 1 + n_vq)`."""
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[:, :, 0] = torch.randint(0, 1000, (batch_size, PROMPT_LENGTH))
    prompt[:, -40, 0] = config.audio_start_token_id
    prompt[:, -39:, 0] = config.audio_assistant_gen_slot_token_id
    prompt[:, -39:, 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, 39, config.n_vq))
    return prompt.to(device)


def measure_generator(
    bench: Bench, model: PreTrainedModel, codec: MossAudioTokenizerModel, batch: int, is_compiled: bool, rate: float
) -> dict[str, Any]:
    steps = 8 if bench.is_small else 32
    prompt = prompt_of(model.config, batch, bench.device)
    options: dict[str, Any] = {"text_temperature": 0.0, "seed": 0}
    if is_compiled:
        options |= {"compile_config": CompileConfig(mode=None), "cache_implementation": "static"}

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
        "share_of_bandwidth": round(weights_read_a_step(model) / rate / step, 3),
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
        codec = bench.build(CODECS[name])
        for batch in bench.batches:
            bench.attempt({"model": name, "batch": batch}, partial(measure_codec, bench, codec, batch), seconds=15)


def measure_modes(bench: Bench, name: str, rate: float) -> None:
    """Measures a generator eager and compiled, at each batch size."""
    bench.free()
    build, codec_name = GENERATORS[name]
    model, codec = bench.build(build), bench.build(CODECS[codec_name])
    keep_speaking(model)
    for is_compiled in (False, True):
        for batch in bench.batches:
            measure = partial(measure_generator, bench, model, codec, batch, is_compiled, rate)
            case = {"model": name, "batch": batch, "compiled": is_compiled}
            bench.attempt(case, measure, seconds=90 if is_compiled else 30)


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
        mode = {True: "compiled", False: "eager", None: ""}[result.get("compiled")]
        values = [result.get(key) for key in columns]
        cells = ["" if value is None else str(value) for value in values]
        if "left_out" in result:
            cells[0] = result["left_out"]
        lines.append(f"| {result['model']} | {result['batch']} | {mode} | {' | '.join(cells)} |")
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
