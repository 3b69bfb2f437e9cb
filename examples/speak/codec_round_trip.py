"""
Encodes and decodes a recording with MossAudioTokenizer and draws what went in, the codes and what came out.

    python examples/speak/codec_round_trip.py recording.wav --model OpenMOSS-Team/MOSS-Audio-Tokenizer --output demo
"""

import argparse
import time
from pathlib import Path

import torch

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel, bundled_model
from transformers_moss_tts.audio_io import load_audio, save_audio


RECORDING = Path(__file__).parents[1] / "assets" / "reference.ogg"


def draw(waveform, codes, decoded, config: MossAudioTokenizerConfig, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seconds = len(waveform) / config.sampling_rate
    figure, axes = pyplot.subplots(3, 1, figsize=(10, 7), sharex=True, layout="constrained")
    for axis, samples, title in ((axes[0], waveform, "recording"), (axes[2], decoded, "decoded")):
        axis.plot(torch.arange(len(samples)) / config.sampling_rate, samples, linewidth=0.4)
        axis.set(title=title, ylabel="amplitude")
    extent = (0, codes.shape[1] / config.frame_rate, codes.shape[0] + 0.5, 0.5)
    axes[1].imshow(codes, aspect="auto", interpolation="nearest", cmap="viridis", extent=extent)
    axes[1].set(title=f"codes: {codes.shape[0]} codebooks x {codes.shape[1]} frames", ylabel="codebook")
    axes[2].set(xlabel="seconds", xlim=(0, seconds))
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", default=RECORDING, help="audio file or URL")
    parser.add_argument("--model", help="folder or Hub id of a codec; the bundled one by default")
    parser.add_argument("--num-quantizers", type=int, help="use the first codebooks only")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the wav and the picture")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = MossAudioTokenizerModel.from_pretrained(args.model or bundled_model("moss-audio-tokenizer-tiny")).eval()
    rate = model.config.sampling_rate
    waveform = torch.from_numpy(load_audio(args.recording, rate))
    start = time.perf_counter()
    with torch.inference_mode():
        encoded = model.encode(waveform[None], num_quantizers=args.num_quantizers)
        codes = encoded.audio_codes[..., : encoded.audio_codes_lengths.max()]
        decoded = model.decode(codes).audio[0, 0]
    took = time.perf_counter() - start

    args.output.mkdir(parents=True, exist_ok=True)
    save_audio(decoded, args.output / "decoded.wav", rate)
    draw(waveform, codes[:, 0], decoded, model.config, args.output / "codec.png")
    seconds = len(waveform) / rate
    print(
        f"{seconds:.2f} s of audio -> {codes.shape[0]} x {codes.shape[-1]} codes -> {len(decoded) / rate:.2f} s of audio"
    )
    print(f"took {took:.2f} s, {seconds / took:.1f} times faster than real time")
    print(f"wrote {args.output / 'decoded.wav'} and {args.output / 'codec.png'}")


if __name__ == "__main__":
    main()
