"""
Measures how a model reads sentences in the voice of a recording: words that a recognizer gets wrong, similarity of the voices.

    python examples/share/evaluate_model.py sentences.txt voice.wav --model OpenMOSS-Team/MOSS-TTS --output runs/sentences

Writes a report with 95 % intervals, pictures, everything that was measured and the audio; started again it goes on where it was.
Needs `pip install '.[eval]'`. `moss-tts evaluate --help` lists the other suites and scorers.
"""

import argparse
from pathlib import Path

from transformers_moss_tts import bundled_model
from transformers_moss_tts.evaluation import Sentences, evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", type=Path, help="text file with a sentence a line")
    parser.add_argument("reference", help="recording of the voice")
    parser.add_argument("--model", help="folder or Hub id of a generator; the bundled one by default")
    parser.add_argument("--output", type=Path, default=Path("runs/evaluation"))
    args = parser.parse_args()

    suite = Sentences(args.sentences, references=[args.reference])
    summary = evaluate(args.model or bundled_model(), suite, args.output, mos=None)
    for group, measured in summary["groups"].items():
        for name, value in measured.items():
            print(f"{group}: {name} {value['value']:.3f}")
    print(f"wrote {args.output / 'report.md'}")


if __name__ == "__main__":
    main()
