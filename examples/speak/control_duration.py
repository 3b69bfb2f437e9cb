"""
Speaks a text several times, each time as long as asked.

    python examples/speak/control_duration.py "Hello there." --seconds 1 2 4 --model OpenMOSS-Team/MOSS-TTS --output demo
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--seconds", type=float, nargs="+", required=True)
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the recordings")
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    inputs = processor(text=[args.text] * len(args.seconds), duration_seconds=args.seconds).to(model.device)
    with torch.inference_mode():
        outputs = model.generate(**inputs, seed=args.seed, return_dict_in_generate=True)
    args.output.mkdir(parents=True, exist_ok=True)
    for seconds, codes, waveform in zip(args.seconds, outputs.audio_codes, processor.decode(outputs)):
        path = args.output / f"{seconds:g}s.wav"
        processor.save_audio(waveform, path)
        print(f"{path}: asked for {seconds:.2f} s, got {len(codes) / processor.frame_rate:.2f} s")


if __name__ == "__main__":
    main()
