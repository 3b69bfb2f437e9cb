"""
Writes speech to a file while it is generated, and says when the first of it was there. Without a text it speaks what comes on the
standard input, sentence by sentence: what a language model writes, say.

    python examples/speak/stream_speech.py "Hello there." --model OpenMOSS-Team/MOSS-TTS --output streamed.wav
"""

import argparse
import sys
import time
from pathlib import Path

import soundfile
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import bundled_model
from transformers_moss_tts.speech import stream_speech


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/streamed.wav"))
    args = parser.parse_args()

    name = args.model or bundled_model()
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForTextToWaveform.from_pretrained(name, device_map="auto")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    stream = stream_speech(model, processor, args.text or iter(sys.stdin), seed=args.seed)
    with soundfile.SoundFile(args.output, "w", stream.sampling_rate, stream.num_channels) as file:
        for audio in stream:  # (channels, samples)
            file.write(audio.T)
    took = time.perf_counter() - start
    if stream.first_audio is None:
        raise SystemExit("The model ended before the first frame.")
    print(f"wrote {args.output}: {stream.seconds:.2f} s in {took:.2f} s, the first after {stream.first_audio:.2f} s")


if __name__ == "__main__":
    main()
