"""
Speaks a long text in one voice, with subtitles: the voice of a recording, or else that of the beginning.

    python examples/speak/long_text.py story.txt --model OpenMOSS-Team/MOSS-TTS --voice voice.wav --output story.mp3

A run that was stopped goes on where it was. Memory does not grow with the text.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model
from transformers_moss_tts.speech import speak_long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="UTF-8 text file; empty lines part paragraphs")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--voice", help="recording, or file of a voice")
    parser.add_argument("--mode", default="clone", help="how the voice is kept: clone, continuation or anchored")
    parser.add_argument("--language", help='for example "English"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/long.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    processor.audio_tokenizer.to(model.device)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    options = {"voice": args.voice, "mode": args.mode, "language": args.language, "seed": args.seed}
    speech = speak_long(model, processor, args.text, args.output, timings=args.output.with_suffix(".srt"), **options)
    print(f"wrote {args.output}: {speech.seconds:.2f} s")
    for text, fault in speech.faults:
        print(f"{fault}: {text}")


if __name__ == "__main__":
    main()
