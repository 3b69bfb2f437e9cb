"""
Writes the model card of a folder, its README.md, from a file of facts and what the folder and the run of its training say.

    python examples/share/render_model_card.py examples/tiny_family/cards/moss-audio-tokenizer-tiny.yaml model_cards/moss-audio-tokenizer-tiny
    python examples/share/render_model_card.py facts.yaml runs/tts/model --run runs/tts/checkpoint-5000
"""

import argparse
from pathlib import Path

from transformers_moss_tts.hub import ModelCardFacts, render_model_card, training_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facts", type=Path, help="YAML file with the arguments of ModelCardFacts")
    parser.add_argument("folder", type=Path, help="the model, codec or adapter")
    parser.add_argument("--run", type=Path, help="checkpoint of Trainer to take the table of settings from")
    args = parser.parse_args()
    facts = ModelCardFacts.from_yaml(args.facts)
    if args.run is not None:
        facts.training_settings = training_settings(args.run) | facts.training_settings
    render_model_card(args.folder, facts).save(args.folder / "README.md")
    print(f"wrote {args.folder / 'README.md'}")


if __name__ == "__main__":
    main()
