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
its share of the time in which the memory could deliver the weights. No checkpoint needed.

    python examples/benchmarks/benchmark_nano.py --dtypes float32 bfloat16 --output nano
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from own_process import in_own_process, peak_bytes
from transformers import CompileConfig

from transformers_moss_tts import (
    MossAudioTokenizerConfig,
    MossAudioTokenizerModel,
    MossTTSNanoConfig,
    MossTTSNanoModel,
)
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


PROMPT_LENGTH, REFERENCE_FRAMES = 140, 60  # steps; 4.8 s of a voice


def patch(size: int) -> dict:
    return {"module_type": "PatchedPretransform", "patch_size": size}


def stage(inputs: int, outputs: int, layers: int, seconds: float) -> dict:
    sizes = {"input_dimension": inputs, "output_dimension": outputs, "num_layers": layers, "context_duration": seconds}
    width = {"d_model": 256, "num_heads": 4, "dim_feedforward": 1024, "layer_scale": 0.01, "max_period": 10000}
    return {"module_type": "Transformer"} | sizes | width


def build_codec() -> MossAudioTokenizerModel:
    """The codec of the release, 22 M parameters."""
    encoder = [patch(240), stage(240, 384, 4, 4.0), patch(2), stage(768, 384, 2, 6.0), patch(2)]
    encoder += [stage(768, 384, 2, 8.0), patch(2), stage(768, 192, 4, 10.0), patch(4)]
    decoder = [patch(4), stage(192, 768, 4, 10.0), patch(2), stage(384, 768, 2, 8.0), patch(2)]
    decoder += [stage(384, 768, 2, 6.0), patch(2), stage(384, 240, 4, 4.0), patch(240)]
    quantizer = {"input_dim": 768, "output_dim": 768, "rvq_dim": 512, "codebook_size": 1024, "codebook_dim": 8}
    config = MossAudioTokenizerConfig(
        sampling_rate=48000,
        downsample_rate=3840,
        number_channels=2,
        encoder_kwargs=encoder,
        decoder_kwargs=decoder,
        quantizer_kwargs=quantizer | {"num_quantizers": 16, "quantizer_type": "rlfq"},
    )
    return MossAudioTokenizerModel(config).eval()


def build_prompt(config: MossTTSNanoConfig, batch_size: int) -> torch.LongTensor:
    """A text with a voice."""
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[..., 0] = torch.randint(300, config.vocab_size, (batch_size, PROMPT_LENGTH))
    voice = prompt[:, 14 : 14 + REFERENCE_FRAMES]
    voice[..., 0] = config.audio_user_slot_token_id
    voice[..., 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, REFERENCE_FRAMES, config.n_vq))
    prompt[:, -1, 0] = config.audio_start_token_id
    return prompt


def run_case(case: dict) -> dict:
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    dtype, frames = getattr(torch, case["dtype"]), case["frames"]
    model, codec = MossTTSNanoModel(MossTTSNanoConfig()).eval().to(dtype), build_codec()
    prompt = build_prompt(model.config, case["batch"])
    compile_config = CompileConfig(mode=None) if case["compile"] else None

    @torch.inference_mode()
    def speak(num_frames: int) -> tuple[float, float]:
        """Seconds of the generator and of the codec."""
        start = time.perf_counter()
        limits = {"min_new_tokens": num_frames, "max_new_tokens": num_frames}
        options = {"seed": 0, "compile_config": compile_config, "return_dict_in_generate": True}
        codes = model.generate(prompt, **limits, **options).audio_codes
        generated = time.perf_counter()
        audio = codec.decode(torch.stack(codes).permute(2, 0, 1)).audio
        assert audio.shape[-1] == num_frames * 3840
        return generated - start, time.perf_counter() - generated

    speak(4)
    rate = read_rate("cpu", dtype)
    runs = [(speak(4), speak(4 + frames)) for _ in range(case["repeats"])]
    # The prompt does not count into a frame, but into the real-time factor.
    frame = statistics.median((long[0] - short[0]) / frames for short, long in runs)
    whole = statistics.median(sum(long) for _, long in runs)
    limit = weights_read_a_step(model) / rate
    return case | {
        "real_time_factor": round(whole / (case["batch"] * (4 + frames) / 12.5), 3),
        "codec_share": round(statistics.median(long[1] / sum(long) for _, long in runs), 3),
        "frame_ms": round(frame * 1e3, 2),
        "limit_ms": round(limit * 1e3, 2),
        "share_of_limit": round(limit / frame, 3),
        "read_gb_per_second": round(rate / 1e9, 1),
        "peak_mib": round(peak_bytes("cpu") / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--frames", type=int, default=50, help="frames timed in a run; a second has 12.5")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--compile", action="store_true", help="compiles the local transformer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json")
    args = parser.parse_args()

    results = []
    print(f"{'dtype':>10}{'batch':>6}{'RTF':>7}{'codec':>7}{'frame ms':>10}{'limit ms':>10}{'MBU':>6}{'peak MiB':>10}")
    for dtype in args.dtypes:
        for batch in args.batches:
            case = {"dtype": dtype, "batch": batch, "frames": args.frames, "repeats": args.repeats}
            result = in_own_process(run_case, case | {"threads": args.threads, "compile": args.compile})
            results.append(result)
            print(
                f"{dtype:>10}{batch:6}{result['real_time_factor']:7.2f}{result['codec_share']:7.0%}"
                f"{result['frame_ms']:10.1f}{result['limit_ms']:10.1f}{result['share_of_limit']:6.0%}"
                f"{result['peak_mib']:10}",
                flush=True,
            )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
