"""
Speaks two sentences with the bundled model: one in its own voice, one in a voice that it is given.

    python examples/speak/demo.py --output demo

Writes OUTPUT/speech.wav, OUTPUT/cloned.wav and a picture of both spectrograms, and prints how long it took.
"""

import argparse
import time
from pathlib import Path

from moss_tts_command.quiet import quiet_imports


quiet_imports()

from transformers import pipeline

from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.devices import use_threads
from transformers_moss_tts.utils.spectrograms import draw_spectrograms
from transformers_moss_tts.utils.speed import describe_speed


VOICE = Path(__file__).parents[1] / "assets" / "reference.ogg"
SENTENCE = "The quick brown fox jumps over the lazy dog."
CLONED = "She read the letter to her friend in the garden."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--voice", type=Path, default=VOICE, help="recording of the voice to clone")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    args = parser.parse_args()

    speak = pipeline("text-to-speech", model=args.model or bundled_model())
    use_threads(speak.model)
    args.output.mkdir(parents=True, exist_ok=True)
    waveforms, voice = [], {"type": "audio", "audio": str(args.voice)}
    for name, text, voices in (("speech", SENTENCE, []), ("cloned", CLONED, [voice])):
        message = {"role": "user", "content": [*voices, {"type": "text", "text": text}], "language": "English"}
        start = time.perf_counter()
        speech = speak([message], generate_kwargs={"seed": 0})
        took = time.perf_counter() - start
        rate, path = speech["sampling_rate"], args.output / f"{name}.wav"
        seconds = speech["audio"].shape[-1] / rate
        save_audio(speech["audio"], path, rate)
        print(f"{path}: {text!r}, {seconds:.2f} s in {took:.2f} s, {describe_speed(seconds, took)}", flush=True)
        waveforms.append(speech["audio"].reshape(-1, speech["audio"].shape[-1]).mean(0))
    draw_spectrograms(waveforms, (SENTENCE, CLONED), rate, args.output / "spectrograms.png")
    print(f"{args.output / 'spectrograms.png'}: what was spoken")


if __name__ == "__main__":
    main()
