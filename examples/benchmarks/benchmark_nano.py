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
Measures MOSS-TTS-Nano from prompt to waveform, with random weights of the released shapes: real-time factor, time of a frame, and
its share of the time in which the memory could deliver the weights. No checkpoint needed. All modes run in turn in one process, beside
the code of the release if a folder with it is given (`modeling_moss_tts_nano.py` and what it imports, as its repository has them):

    python examples/benchmarks/benchmark_nano.py --modes float32 packed --reference MOSS-TTS-Nano --output nano
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from in_turn import best_and_median, print_table, ratios, run_in_turn
from processor_name import processor_name
from reference_code import import_reference
from released_shapes import nano_codec
from transformers import CompileConfig
from transformers.utils import logging

from transformers_moss_tts import (
    MossAudioTokenizerModel,
    MossTTSNanoConfig,
    MossTTSNanoModel,
)
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


MODES = ("float32", "packed", "bfloat16", "packed-bfloat16", "float32-compiled", "packed-compiled")
PROMPT_LENGTH, REFERENCE_FRAMES = 140, 60  # steps; 4.8 s of a voice


def build_prompt(config: MossTTSNanoConfig, batch_size: int) -> torch.LongTensor:
    """A text with a voice."""
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[..., 0] = torch.randint(300, config.vocab_size, (batch_size, PROMPT_LENGTH))
    voice = prompt[:, 14 : 14 + REFERENCE_FRAMES]
    voice[..., 0] = config.audio_user_slot_token_id
    voice[..., 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, REFERENCE_FRAMES, config.n_vq))
    prompt[:, -1, 0] = config.audio_start_token_id
    return prompt


def build_generator(mode: str) -> MossTTSNanoModel:
    """Weights that come from bfloat16, as those of the release."""
    torch.manual_seed(0)
    model = MossTTSNanoModel(MossTTSNanoConfig()).eval().bfloat16()
    model = model if "bfloat16" in mode else model.float()
    return model.pack_weights() if "packed" in mode else model


def generator_of(mode: str, batch_size: int) -> tuple[MossTTSNanoModel, Callable[[int], torch.Tensor]]:
    """A model, and what generates codes `(n_vq, batch_size, frames)` with it, as many frames as asked for."""
    model = build_generator(mode)
    prompt = build_prompt(model.config, batch_size)
    compile_config = CompileConfig(mode=None) if "compiled" in mode else None

    def generate(frames: int) -> torch.Tensor:
        limits = {"min_new_tokens": frames, "max_new_tokens": frames}
        options = {"seed": 0, "compile_config": compile_config, "return_dict_in_generate": True}
        return torch.stack(model.generate(prompt, **limits, **options).audio_codes).permute(2, 0, 1)

    return model, generate


def generator_of_reference(folder: Path) -> Callable[[int], torch.Tensor]:
    """As `generator_of`, with the code of the release in a folder, in float32 and with the same weights and sampling."""
    modeling = import_reference(folder, "modeling_moss_tts_nano")
    configuration = import_reference(folder, "configuration_moss_tts_nano")
    ours = build_generator("float32")
    model = modeling.MossTTSNanoForCausalLM(configuration.MossTTSNanoConfig(**ours.config.to_dict())).eval()
    model.load_state_dict(ours.state_dict(), strict=False)
    slot = ours.config.audio_assistant_gen_slot_token_id
    # It has no least length, and random weights may end at once.
    model._sample_next_assistant_text_token = lambda logits, **_: torch.full((len(logits),), slot)
    prompt = build_prompt(ours.config, 1)
    sampling = {"text_temperature": 1.0, "text_top_k": 50, "text_top_p": 1.0, "audio_temperature": 0.8}
    sampling |= {"audio_top_p": 0.95, "audio_top_k": 25, "audio_repetition_penalty": 1.2, "do_sample": True}

    @torch.no_grad()
    def generate(frames: int) -> torch.Tensor:
        return model.generate(prompt, max_new_frames=frames, **sampling).audio_token_ids.permute(2, 0, 1)

    return generate


def run_all(args: argparse.Namespace) -> list[dict]:
    codec, generators, limits = MossAudioTokenizerModel(nano_codec()).eval(), {}, {}
    for mode in args.modes:
        model, generators[mode] = generator_of(mode, args.batch)
        limits[mode] = weights_read_a_step(model)
    if args.reference:
        generators["reference"] = generator_of_reference(args.reference)
        limits["reference"] = weights_read_a_step(build_generator("float32"))

    @torch.inference_mode()
    def speak(generate: Callable[[int], torch.Tensor], num_frames: int) -> tuple[float, float]:
        """Seconds of the generator and of the codec."""
        start = time.perf_counter()
        codes = generate(num_frames)
        generated = time.perf_counter()
        audio = codec.decode(codes).audio
        assert audio.shape[-1] == num_frames * 3840
        return generated - start, time.perf_counter() - generated

    for generate in generators.values():
        speak(generate, 4)
    rates = [read_rate("cpu", torch.float32) for _ in range(3)]
    runs = run_in_turn(
        {
            mode: lambda generate=generate: (speak(generate, 4), speak(generate, 4 + args.frames))
            for mode, generate in generators.items()
        },
        args.rounds,
    )
    return [summary_of(mode, runs, limits[mode] / max(rates), args) for mode in generators]


def summary_of(mode: str, runs: dict[str, list], limit: float, args: argparse.Namespace) -> dict:
    seconds = args.batch * (4 + args.frames) / 12.5
    # The prompt does not count into a frame, but into the real-time factor.
    frames = [(long[0] - short[0]) / args.frames for short, long in runs[mode]]
    factors = [sum(long) / seconds for _, long in runs[mode]]
    best, median = best_and_median(frames)
    result = {
        "mode": mode,
        "batch": args.batch,
        "real_time_factor": [round(factor, 3) for factor in best_and_median(factors)],
        "codec_share": round(statistics.median(long[1] / sum(long) for _, long in runs[mode]), 3),
        "frame_ms": [round(best * 1e3, 2), round(median * 1e3, 2)],
        "limit_ms": round(limit * 1e3, 2),
        "share_of_limit": round(limit / median, 3),
    }
    if "reference" in runs:
        theirs = [sum(long) / seconds for _, long in runs["reference"]]
        result["of_reference"] = [round(ratio, 2) for ratio in ratios(factors, theirs)]
    return result


def row_of(result: dict) -> dict[str, str]:
    best, median = result["real_time_factor"]
    row = {"mode": result["mode"], "RTF best": f"{best:.2f}", "median": f"{median:.2f}"}
    row |= {"codec": f"{result['codec_share']:.0%}", "frame ms": f"{result['frame_ms'][1]:.1f}"}
    row |= {"limit ms": f"{result['limit_ms']:.1f}", "MBU": f"{result['share_of_limit']:.0%}"}
    faster = result.get("of_reference")
    return row | ({} if faster is None else {"of the reference's speed": f"{faster[0]:.2f} and {faster[1]:.2f}"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["float32", "packed"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=50, help="frames timed in a run; a second has 12.5")
    parser.add_argument(
        "--rounds", type=int, default=4, help="runs of each mode, in turn; the best and the median count"
    )
    parser.add_argument(
        "--reference", type=Path, help="folder with the code of the release, to run beside; batch 1 alone"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json")
    args = parser.parse_args()
    if args.reference and args.batch > 1:
        parser.error("--reference runs with --batch 1 alone")

    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    print(processor_name())
    results = run_all(args)
    print_table([row_of(result) for result in results])
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        summary = {"processor": processor_name(), "threads": args.threads, "results": results}
        args.output.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
