"""
Measures MossAudioTokenizer: seconds of audio a second and peak memory, by length, chunk and batch. No checkpoint needed.

    python examples/benchmarks/benchmark_codec.py --shape released --output benchmark_codec
    python examples/benchmarks/benchmark_codec.py --streams --shape bundled

`--streams` measures what a stream costs: time of decoding in chunks of so many frames over that of decoding at once, alternating in one
process, as a median over rounds; also compiled, which takes a minute first.

Every case runs in a process of its own, so that its peak memory is its own. `--shape small` is the size of the test
checkpoint; `--shape bundled` is the codec that comes with the package; `--shape released` has the widths, heads, frame rates and windows of the released codec with a sixth to an
eighth of its layers (its 1.6 billion parameters are what does not fit a small machine); `--shape full` is all of it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from own_process import in_own_process, peak_bytes
from transformers import CompileConfig

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel, bundled_model


SMALL_WIDTHS = {768: (32, 2), 1280: (48, 3)}  # released width: small width, heads


STREAM_SECONDS, STREAM_ROUNDS = (6.0, 30.0), 7
COMPILED = CompileConfig(mode=None, options={"cpp_wrapper": True, "freezing": True})
# Seconds of audio that the generator of a ladder makes a second.
GENERATOR_SPEED = 1.5


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


def ladder(num_frames: int, frame_rate: float) -> list[int]:
    """Sizes of the chunks that `stream_speech` decodes: the next waits for half of what the listener has not heard yet, at most 2 s."""
    sizes, made = [], 0
    while made < num_frames:
        ahead = made / frame_rate - (made - 1) / frame_rate / GENERATOR_SPEED if made else 0.0
        sizes.append(min(max(1, int(min(0.5 * ahead, 2.0) * frame_rate)), num_frames - made))
        made += sizes[-1]
    return sizes


@torch.inference_mode()
def measure_streams(args: argparse.Namespace) -> list[dict]:
    """CPU time of streams by frames a chunk, in times of decoding at once (on a GPU the time that passes)."""
    torch.manual_seed(0)
    if args.shape == "bundled":
        model = MossAudioTokenizerModel.from_pretrained(bundled_model("moss-audio-tokenizer-tiny"))
    else:
        model = MossAudioTokenizerModel(build_config(args.shape))
    model = model.eval().to(args.device, getattr(torch, args.dtype))
    config = model.config
    clock = time.process_time if args.device == "cpu" else time.perf_counter

    def took(codes: torch.Tensor, sizes: list[int], compile_config: CompileConfig | None) -> float:
        cache = None if len(sizes) == 1 else model.init_cache("decoder", compile_config=compile_config)
        start = clock()
        for part in codes.split(sizes, dim=-1):
            # Reading a number waits for the device.
            model.decode(part, cache=cache).audio[0, 0, -1].item()
        return clock() - start

    results = []
    for seconds in STREAM_SECONDS:
        num_frames = round(seconds * config.frame_rate)
        codes = torch.randint(0, config.codebook_size, (config.num_quantizers, 1, num_frames), device=args.device)
        sizes = {str(size): [size] * (num_frames // size) for size in (1, 2, 4, 25)}
        sizes = {name: [size for size in [*each, num_frames - sum(each)] if size] for name, each in sizes.items()}
        sizes["ladder"] = ladder(num_frames, config.frame_rate)
        cases = {"whole": ([num_frames], None)} | {name: (each, None) for name, each in sizes.items()}
        cases |= {f"{name}, compiled": (sizes[name], COMPILED) for name in ("1", "ladder")}
        times: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(STREAM_ROUNDS + 1):
            # The first round warms up.
            for name, of in times.items():
                spent = took(codes, *cases[name])
                of.extend([spent] if number else [])
        for name in list(cases)[1:]:
            # Whatever else the machine does, a round's ratio compares neighbours in time.
            ratio = sorted(chunked / whole for chunked, whole in zip(times[name], times["whole"]))
            results.append(
                {
                    "part": "stream",
                    "shape": args.shape,
                    "seconds": seconds,
                    "frames_a_chunk": name,
                    "times_at_once": round(ratio[len(ratio) // 2], 2),
                    "least": round(ratio[0], 2),
                    "most": round(ratio[-1], 2),
                    "milliseconds_a_frame": round(1000 * min(times[name]) / num_frames, 2),
                    "threads": torch.get_num_threads(),
                }
            )
    return results


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
    parser.add_argument("--shape", choices=("small", "bundled", "released", "full"), default="small")
    parser.add_argument("--streams", action="store_true", help="what decoding in small chunks costs, and nothing else")
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

    if args.streams:
        results = measure_streams(args)
        for result in results:
            print(
                f"{result['seconds']:2g} s, {result['frames_a_chunk']:>6} frames a chunk: {result['times_at_once']:5.2f} times decoding at once "
                f"({result['least']} to {result['most']}), {result['milliseconds_a_frame']} ms a frame"
            )
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        return
    if args.shape == "bundled":
        parser.error("--shape bundled is for --streams")
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
