"""
Speaks two sentences with the bundled model: one in its own voice, one in a voice that it is given.

    python examples/speak/demo.py --output demo

Writes OUTPUT/speech.wav, OUTPUT/cloned.wav and a picture of both spectrograms, and prints how long the audio is and how long
it took.
"""

import argparse
import time
from pathlib import Path

from transformers import pipeline

from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.spectrograms import draw_spectrograms


VOICE = Path(__file__).parents[1] / "assets" / "reference.ogg"
SENTENCE = "The quick brown fox jumps over the lazy dog."
CLONED = "She read the letter to her friend in the garden."
# The most likely codes instead of sampled ones: the small model is understood best so.
BUNDLED_OPTIONS = {"audio_temperature": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--voice", type=Path, default=VOICE, help="recording of the voice to clone")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling of another model")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    speak = pipeline("text-to-speech", model=args.model or str(bundled_model()))
    options = {"seed": args.seed} | ({} if args.model else BUNDLED_OPTIONS)
    waveforms = []
    for name, text, voice in (
        ("speech", SENTENCE, []),
        ("cloned", CLONED, [{"type": "audio", "audio": str(args.voice)}]),
    ):
        message = {"role": "user", "content": [*voice, {"type": "text", "text": text}], "language": "English"}
        start = time.perf_counter()
        speech = speak([message], generate_kwargs=options)
        took = time.perf_counter() - start
        rate, path = speech["sampling_rate"], args.output / f"{name}.wav"
        save_audio(speech["audio"], path, rate)
        seconds = speech["audio"].shape[-1] / rate
        print(f"{path}: {text!r}, {seconds:.2f} s in {took:.2f} s, {seconds / took:.1f} times faster than real time")
        waveforms.append(speech["audio"].reshape(-1, speech["audio"].shape[-1]).mean(0))
    draw_spectrograms(waveforms, (SENTENCE, CLONED), rate, args.output / "spectrograms.png")
    print(f"{args.output / 'spectrograms.png'}: what was spoken")


if __name__ == "__main__":
    main()
