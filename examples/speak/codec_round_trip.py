"""
Encodes and decodes a recording with a codec, and draws the spectrograms of what went in and what came out.

    python examples/speak/codec_round_trip.py recording.wav --model OpenMOSS-Team/MOSS-Audio-Tokenizer --output demo
"""

import argparse
import time
from pathlib import Path

from moss_tts_command.quiet import quiet_imports


quiet_imports()

import torch
from transformers import AutoModel

from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.utils.devices import use_threads
from transformers_moss_tts.utils.spectrograms import draw_spectrograms
from transformers_moss_tts.utils.speed import describe_speed


RECORDING = Path(__file__).parents[1] / "assets" / "reference.ogg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", nargs="?", default=RECORDING, help="audio file or URL")
    parser.add_argument("--model", help="folder or Hub id of a codec; the bundled one by default")
    parser.add_argument("--num-quantizers", type=int, help="use the first codebooks only")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the wav and the picture")
    args = parser.parse_args()

    codec = AutoModel.from_pretrained(args.model or bundled_model("moss-audio-tokenizer-tiny"))
    rate, channels = codec.config.sampling_rate, codec.config.num_channels
    waveform = torch.from_numpy(load_audio(args.recording, rate, num_channels=channels)).view(1, channels, -1)
    use_threads(codec)
    start = time.perf_counter()
    with torch.inference_mode():
        encoded = codec.encode(waveform, num_quantizers=args.num_quantizers)
        codes = encoded.audio_codes[..., : encoded.audio_codes_lengths.max()]  # (codebooks, 1, frames)
        decoded = codec.decode(codes).audio[0]  # (channels, samples)
    took = time.perf_counter() - start

    args.output.mkdir(parents=True, exist_ok=True)
    save_audio(decoded, args.output / "decoded.wav", rate)
    pair = [audio.mean(0).numpy() for audio in (waveform[0], decoded)]
    draw_spectrograms(pair, ("recording", "decoded"), rate, args.output / "codec.png")
    lengths = [audio.shape[-1] / rate for audio in (waveform, decoded)]
    print(f"{lengths[0]:.2f} s of audio -> {codes.shape[0]} x {codes.shape[-1]} codes -> {lengths[1]:.2f} s of audio")
    print(f"took {took:.2f} s, {describe_speed(lengths[0], took)}")
    print(f"wrote {args.output / 'decoded.wav'} and {args.output / 'codec.png'}")


if __name__ == "__main__":
    main()
