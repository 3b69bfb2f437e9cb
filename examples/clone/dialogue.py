"""
Speaks a dialogue, each speaker in a voice of their own. The script says who speaks: [S1], [S2], ... With the words of the
recordings the model goes on from them, as MOSS-TTSD's card does; without, it clones the voices alone.

    python examples/clone/dialogue.py "[S1] Hello. [S2] Hello, how are you?" --voices anna.wav ben.wav \
        --words "It was a dark night," "and the rain fell." --model OpenMOSS-Team/MOSS-TTSD-v1.0 --output dialogue.wav
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="with [S1], [S2], ... before what each speaker says")
    parser.add_argument("--voices", nargs="+", required=True, help="recordings of the speakers, in their order")
    parser.add_argument("--words", nargs="+", help="what the recordings say")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/dialogue.wav"))
    args = parser.parse_args()
    if args.words is not None and len(args.words) != len(args.voices):
        parser.error("--words needs the words of each recording")

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    processor.audio_tokenizer.to(model.device)
    voices = args.voices if args.words is None else list(zip(args.voices, args.words))
    inputs = processor(script=args.script, voices=voices).to(model.device)
    with torch.inference_mode():
        outputs = model.generate(**inputs, seed=args.seed, return_dict_in_generate=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    processor.save_audio(processor.decode(outputs)[0], args.output)
    print(f"wrote {args.output}: {len(outputs.audio_codes[0]) / processor.frame_rate:.2f} s")


if __name__ == "__main__":
    main()
