"""
Measures MossAudioTokenizer: seconds of audio a second and peak memory, by length, chunk and batch. No checkpoint needed.

    python examples/benchmarks/benchmark_codec.py --shape released --output benchmark_codec

Every case runs in a process of its own, so that its peak memory is its own. `--shape small` is the size of the test
checkpoint; `--shape released` has the widths, heads, frame rates and windows of the released codec with a sixth to an
eighth of its layers (its 1.6 billion parameters are what does not fit a small machine); `--shape full` is all of it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from own_process import in_own_process, peak_bytes

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel


SMALL_WIDTHS = {768: (32, 2), 1280: (48, 3)}  # released width: small width, heads


def build_config(shape: str) -> MossAudioTokenizerConfig:
    config = MossAudioTokenizerConfig()
    for module in config.encoder_kwargs + config.decoder_kwargs:
        if module["module_type"] != "Transformer" or shape == "full":
            continue
        module["num_layers"] = {12: 2, 32: 4}[module["num_layers"]]
        if shape == "small":
            module["d_model"], module["num_heads"] = SMALL_WIDTHS[module["d_model"]]
            module["dim_feedforward"] = 2 * module["d_model"]
            module["num_layers"] //= 2
    return config


@torch.inference_mode()
def run_case(case: dict) -> dict:
    torch.manual_seed(0)
    config = build_config(case["shape"])
    model = MossAudioTokenizerModel(config).eval().to(case["device"], getattr(torch, case["dtype"]))
    frames = round(case["seconds"] * config.frame_rate)
    batch, chunk = case["batch"], case["chunk"]
    codes = torch.randint(0, config.codebook_size, (config.num_quantizers, batch, frames), device=case["device"])
    waves = torch.randn(batch, frames * config.downsample_rate, device=case["device"]) * 0.1

    def work(num_frames: int):
        if case["part"] == "decode":
            return model.decode(codes[..., :num_frames], chunk_duration=chunk).audio.float().abs().max().item()
        samples = num_frames * config.downsample_rate
        return model.encode(waves[:, :samples], chunk_duration=chunk).audio_codes.max().item()

    work(min(frames, 25))
    before = peak_bytes(case["device"])
    start = time.perf_counter()
    work(frames)
    took = time.perf_counter() - start
    return case | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "took_seconds": round(took, 3),
        "audio_seconds_per_second": round(batch * case["seconds"] / took, 2),
        "peak_mib": round((peak_bytes(case["device"]) - before) / 2**20, 1),
    }


def plot(results: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, key, label in zip(
        axes, ("took_seconds", "peak_mib"), ("seconds taken", "peak memory over the model, MiB")
    ):
        lines = {}
        for result in results:
            name = f"{result['part']}, batch {result['batch']}, " + (
                f"{result['chunk']:g} s chunks" if result["chunk"] else "by default"
            )
            lines.setdefault(name, []).append((result["seconds"] / 60, result[key]))
        for name, points in lines.items():
            axis.plot(*zip(*sorted(points)), marker="o", label=name)
        axis.set(xlabel="minutes of audio", ylabel=label, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(
        f"MossAudioTokenizer, {results[0]['shape']} shape, {results[0]['parameters'] / 1e6:.1f} M parameters"
    )
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("small", "released", "full"), default="small")
    parser.add_argument("--parts", nargs="+", choices=("encode", "decode"), default=["decode", "encode"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[60, 120, 300, 600], help="lengths of audio")
    parser.add_argument(
        "--chunks", nargs="+", type=float, default=[0, 8], help="seconds a chunk; 0 leaves it to the model"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--output", type=Path, help="writes OUTPUT.json and OUTPUT.png")
    args = parser.parse_args()

    results = []
    print(f"{'part':8}{'seconds':>9}{'chunk':>7}{'batch':>7}{'took s':>9}{'audio s/s':>11}{'peak MiB':>10}")
    for part in args.parts:
        for batch in args.batches:
            for chunk in args.chunks:
                for seconds in args.seconds:
                    case = {"part": part, "seconds": seconds, "chunk": chunk or None, "batch": batch}
                    case |= {"shape": args.shape, "device": args.device, "dtype": args.dtype}
                    result = in_own_process(run_case, case)
                    results.append(result)
                    print(
                        f"{part:8}{seconds:9g}{chunk:7g}{batch:7}{result['took_seconds']:9.2f}"
                        f"{result['audio_seconds_per_second']:11.1f}{result['peak_mib']:10.1f}",
                        flush=True,
                    )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        plot(results, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
