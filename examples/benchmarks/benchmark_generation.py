"""
Measures generation by batch size: steps a second, peak memory and memory-bandwidth utilisation.

    python examples/benchmarks/benchmark_generation.py --batches 1 2 4 8 --output benchmark_generation
    python examples/benchmarks/benchmark_generation.py --architecture local --batches 1 8 --compile

No checkpoint is needed: the weights are random, of the shape of a small generator (Qwen3 with hidden size 512 and 12 layers,
32 codebooks of 1024), and the text stream is kept inside audio. The limit of a step is the time this machine needs to read
the weights that every step must read, measured in the same process as a large matrix-vector product. The memory-bandwidth
utilisation (MBU) is the limit over the time of the step.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from own_process import in_own_process, peak_bytes
from transformers import CompileConfig

from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayModel, MossTTSLocalV1Config, MossTTSLocalV1Model
from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate, weights_read_a_step


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


def build_model(architecture: str, device: str, dtype: torch.dtype) -> Model:
    torch.manual_seed(0)
    if architecture == "local":
        model = MossTTSLocalV1Model(MossTTSLocalV1Config(language_config=BACKBONE, **LOCAL)).eval()
        with torch.no_grad():
            # Of a whole vocabulary some token is always above 0, so that the audio never ends.
            model.lm_heads[0].weight[model.config.audio_end_token_id] = 0
        return model.to(device, dtype)
    model = MossTTSDelayModel(MossTTSDelayConfig(language_config=BACKBONE)).eval()
    with torch.no_grad():
        # Equal scores of the two slots: the best token is the first, so that audio goes on.
        for token in (
            model.config.audio_assistant_gen_slot_token_id,
            model.config.audio_assistant_delay_slot_token_id,
        ):
            model.text_head.weight[token] = 0
    return model.to(device, dtype)


def build_prompt(config, batch_size: int, device: str) -> torch.LongTensor:
    """A prompt that ends inside a recording, so that every step generates audio."""
    prompt = torch.full((batch_size, PROMPT_LENGTH, 1 + config.n_vq), config.audio_pad_code)
    prompt[:, :, 0] = torch.randint(0, 1000, (batch_size, PROMPT_LENGTH))
    prompt[:, -40, 0] = config.audio_start_token_id
    prompt[:, -39:, 0] = config.audio_assistant_gen_slot_token_id
    prompt[:, -39:, 1:] = torch.randint(0, config.audio_vocab_size, (batch_size, 39, config.n_vq))
    return prompt.to(device)


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def seconds_a_step(model: Model, prompt: torch.LongTensor, steps: int, repeats: int, compiles: bool) -> float:
    """Median over runs of the time that `steps` more steps take, so that the prompt does not count."""
    compile_config = CompileConfig(mode=None) if compiles else None

    def run(num_steps: int) -> float:
        start = time.perf_counter()
        sequences = model.generate(
            prompt, max_new_tokens=num_steps, text_temperature=0.0, seed=0, compile_config=compile_config
        )
        wait(prompt.device.type)
        assert sequences.shape[1] == PROMPT_LENGTH + num_steps
        return time.perf_counter() - start

    run(4)
    return statistics.median((run(4 + steps) - run(4)) / steps for _ in range(repeats))


def run_case(case: dict) -> dict:
    torch.set_num_threads(case["threads"])
    dtype = getattr(torch, case["dtype"])
    model = build_model(case["architecture"], case["device"], dtype)
    prompt = build_prompt(model.config, case["batch"], case["device"])
    rate = read_rate(case["device"], dtype)
    step = seconds_a_step(model, prompt, case["steps"], case["repeats"], case["compile"])
    limit = weights_read_a_step(model) / rate
    return case | {
        "read_gb_per_second": round(rate / 1e9, 1),
        "limit_ms": round(limit * 1e3, 2),
        "step_ms": round(step * 1e3, 2),
        "steps_per_second": round(1 / step, 2),
        "frames_per_second": round(case["batch"] / step, 1),
        "share_of_limit": round(limit / step, 3),
        "peak_mib": round(peak_bytes(case["device"]) / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=("delay", "local"), default="delay")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=40, help="steps timed in a run")
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the median counts")
    parser.add_argument("--compile", action="store_true", help="compiles the local transformer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json")
    args = parser.parse_args()

    results = []
    print(f"{'batch':>5}{'step ms':>9}{'limit ms':>10}{'MBU':>7}{'steps/s':>9}{'frames/s':>10}{'peak MiB':>10}")
    for batch in args.batches:
        case = {"batch": batch, "steps": args.steps, "repeats": args.repeats, "threads": args.threads}
        case |= {"device": args.device, "dtype": args.dtype, "architecture": args.architecture}
        result = in_own_process(run_case, case | {"compile": args.compile})
        results.append(result)
        print(
            f"{batch:5}{result['step_ms']:9.1f}{result['limit_ms']:10.1f}{result['share_of_limit']:7.0%}"
            f"{result['steps_per_second']:9.1f}{result['frames_per_second']:10.1f}{result['peak_mib']:10}",
            flush=True,
        )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
