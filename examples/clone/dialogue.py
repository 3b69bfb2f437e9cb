"""
Speaks a dialogue, each speaker in a voice of their own. The script says who speaks: [S1], [S2], ..., or lines of `name: text`. With the
words of the recordings MOSS-TTSD goes on from them; the other models say turn by turn.

    python examples/clone/dialogue.py "[S1] Hello. [S2] Hello, how are you?" --voices anna.wav ben.wav \
        --words "It was a dark night," "and the rain fell." --model OpenMOSS-Team/MOSS-TTSD-v1.0 --output dialogue.wav
"""

import argparse
from pathlib import Path

from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model
from transformers_moss_tts.speech import speak_dialogue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="script, or its file")
    parser.add_argument(
        "--voices", nargs="+", required=True, help="recordings or voices, in the order of the speakers"
    )
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
    args.output.parent.mkdir(parents=True, exist_ok=True)
    speech = speak_dialogue(model, processor, args.script, voices, args.output, seed=args.seed)
    print(f"wrote {args.output}: {speech.seconds:.2f} s")


if __name__ == "__main__":
    main()
