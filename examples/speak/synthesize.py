"""
Speaks a text through transformers' own text-to-speech pipeline.

    python examples/speak/synthesize.py "Hello there." --model OpenMOSS-Team/MOSS-TTS --output hello.wav
    python examples/speak/synthesize.py "Hello there." --model OpenMOSS-Team/MOSS-TTS --reference voice.wav
"""

import argparse
import time
from pathlib import Path

from transformers import pipeline

from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.speed import describe_speed


TEXT = "The quick brown fox jumps over the lazy dog."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", default=TEXT)
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--reference", help="recording of the voice to clone, file or URL")
    parser.add_argument("--language", help='for example "English"')
    parser.add_argument("--seconds", type=float, help="length wanted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="for example cuda")
    parser.add_argument("--output", type=Path, default=Path("demo/speech.wav"))
    args = parser.parse_args()

    args.output.parent.mkdir(parents=True, exist_ok=True)
    speak = pipeline("text-to-speech", model=args.model or bundled_model(), device=args.device)
    content = [{"type": "text", "text": args.text}]
    if args.reference:
        content.insert(0, {"type": "audio", "audio": args.reference})
    message = {"role": "user", "content": content, "language": args.language, "duration_seconds": args.seconds}

    start = time.perf_counter()
    speech = speak([message], generate_kwargs={"seed": args.seed})
    took = time.perf_counter() - start
    save_audio(speech["audio"], args.output, speech["sampling_rate"])
    seconds = speech["audio"].shape[-1] / speech["sampling_rate"]
    print(f"{seconds:.2f} s of audio in {took:.2f} s: {describe_speed(seconds, took)}")
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
