"""
Draws the pictures of evaluations again, from the records that are kept of them.

    python -m examples.tiny_family.redraw model_cards/*/evaluation/*
"""

import argparse
import inspect
import json
from pathlib import Path

from transformers_moss_tts.evaluation import SUITES
from transformers_moss_tts.evaluation.scorers import SpeakerBaselines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="output folders of `moss-tts evaluate`")
    for folder in parser.parse_args().folders:
        settings, summary = (json.loads((folder / f"{name}.json").read_text()) for name in ("settings", "summary"))
        lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
        records = [record for record in map(json.loads, lines) if "error" not in record]
        suite = SUITES[settings["suite"]]
        known = inspect.signature(suite).parameters
        levels = summary["speaker_levels"]
        baselines = None if levels is None else SpeakerBaselines(**levels)
        options = {name: value for name, value in settings["options"].items() if name in known}
        for name, _ in suite(**options).draw(records, baselines, folder):
            print(folder / name)


if __name__ == "__main__":
    main()
