"""
Memory of a long speech: `speak_long` with a generator of random weights, and the memory of the process (of Linux) after each stretch.

    python examples/benchmarks/long_speech.py --minutes 20 --output long_speech
"""

import argparse
import json
import runpy
import tempfile
from pathlib import Path

import matplotlib


matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts.speech import speak_long
from transformers_moss_tts.speech.journal import Journal


HERE = Path(__file__).parent
VOICE = HERE.parent / "assets" / "reference.ogg"
SENTENCES = 20  # a minute; the model is random, so that the text decides nothing but their number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="minutes of reading the text, about")
    parser.add_argument(
        "--output", type=Path, default=Path("demo/long_speech"), help="folder of numbers, picture and audio"
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    points, append = [], Journal.append

    def noted(journal, record):
        append(journal, record)
        status = Path("/proc/self/status").read_text()
        points.append((record.num_samples / 24000 / 60, int(status.split("VmRSS:")[1].split()[0]) / 1024))

    Journal.append = noted
    text = " ".join(f"This is the sentence of the number {n}." for n in range(max(2, round(SENTENCES * args.minutes))))
    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(str(HERE / "random_checkpoint.py"))["build_random_checkpoint"](Path(folder))
        processor = AutoProcessor.from_pretrained(folder)
        model = AutoModelForTextToWaveform.from_pretrained(folder)
        speak_long(model, processor, text, args.output / "speech.mp3", voice=VOICE, guards=None, stretch_seconds=6)
    (args.output / "memory.json").write_text(json.dumps(points))
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(*zip(*points))
    axes.set(xlabel="minutes of audio in the file", ylabel="memory of the process, MB", ylim=(0, None))
    axes.set_title("The memory of speak_long does not grow with the audio", loc="left")
    figure.savefig(args.output / "memory.png", dpi=110)
    first, last = points[0], points[-1]
    print(f"{first[1]:.1f} MB after the first stretch, {last[1]:.1f} MB after {last[0]:.1f} minutes of audio")


if __name__ == "__main__":
    main()
