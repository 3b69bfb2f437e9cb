"""
Speaks two sentences with the model that comes with the package: one in its own voice, one in a voice that it is given.

    python examples/speak/demo.py --output demo

Writes OUTPUT/speech.wav, OUTPUT/cloned.wav and a picture of both spectrograms, and prints how long the audio is and how long
it took.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from transformers import pipeline

from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.spectrograms import draw_spectrograms


VOICE = Path(__file__).parents[1] / "assets" / "reference.ogg"
SENTENCE = "The quick brown fox jumps over the lazy dog."
CLONED = "She read the letter to her friend in the garden."
# The best codes, not drawn ones: the small model is understood best so, and the demo is the same for every seed.
BUNDLED_OPTIONS = {"audio_temperature": 0.0}


def speak(synthesizer, text: str, voice: Path | None, options: dict) -> tuple[np.ndarray, float]:
    """The waveform and the seconds it took."""
    content = [{"type": "text", "text": text}]
    if voice is not None:
        content.insert(0, {"type": "audio", "audio": str(voice)})
    start = time.perf_counter()
    speech = synthesizer([{"role": "user", "content": content, "language": "English"}], generate_kwargs=options)
    return speech["audio"], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--voice", type=Path, default=VOICE, help="recording of the voice to clone")
    parser.add_argument("--seed", type=int, default=0, help="of another model, which draws its codes")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    synthesizer = pipeline("text-to-speech", model=args.model or bundled_model())
    rate = synthesizer.processor.model_config.sampling_rate
    options = {"seed": args.seed} | ({} if args.model else BUNDLED_OPTIONS)
    waveforms = []
    for name, text, voice in (("speech", SENTENCE, None), ("cloned", CLONED, args.voice)):
        waveform, took = speak(synthesizer, text, voice, options)
        path = args.output / f"{name}.wav"
        save_audio(waveform, path, rate)
        seconds = len(waveform) / rate
        print(f"{path}: {text!r}, {seconds:.2f} s in {took:.2f} s, {seconds / took:.1f} times faster than real time")
        waveforms.append(waveform)
    picture = args.output / "spectrograms.png"
    draw_spectrograms(tuple(waveforms), (SENTENCE, CLONED), rate, picture)
    print(f"{picture}: what was spoken")


if __name__ == "__main__":
    main()
