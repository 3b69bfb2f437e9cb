"""
Uploads a trained model with its card, so that others load it in one line, also without an import of this package.

    python examples/share/upload.py runs/tts/model facts.yaml you/your-voice --dry-run
    python examples/share/upload.py runs/tts/model facts.yaml you/your-voice --run runs/tts/checkpoint-5000 --private

facts.yaml has the arguments of ModelCardFacts; examples/tiny_family/cards has some to begin with. The codec is named by its Hub id.
"""

import argparse
from pathlib import Path

from transformers import AutoConfig, AutoProcessor

from transformers_moss_tts.hub import ModelCardFacts, list_files, render_model_card, training_settings, upload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="generator, as save_pretrained wrote it")
    parser.add_argument("facts", type=Path, help="YAML file with the arguments of ModelCardFacts")
    parser.add_argument("repository", help="namespace/name")
    parser.add_argument("--codec", help="Hub id of the codec, if the folder does not name it")
    parser.add_argument("--run", type=Path, help="checkpoint of Trainer to take the table of settings from")
    parser.add_argument("--private", action="store_true", default=None)
    parser.add_argument("--dry-run", action="store_true", help="prepare the folder and list it")
    args = parser.parse_args()

    config = AutoConfig.from_pretrained(args.folder)
    config.register_for_auto_class()
    config.save_pretrained(args.folder)
    processor = AutoProcessor.from_pretrained(args.folder)
    processor.codec_path = args.codec or processor.codec_path
    processor.save_pretrained(args.folder)
    facts = ModelCardFacts.from_yaml(args.facts)
    facts.repo_id = args.repository
    if args.run is not None:
        facts.training_settings = training_settings(args.run) | facts.training_settings
    render_model_card(args.folder, facts).save(args.folder / "README.md")
    for name, size in list_files(args.folder).items():
        print(f"{size:12}  {name}")
    if not args.dry_run:
        print(upload(args.folder, args.repository, private=args.private).commit_url)


if __name__ == "__main__":
    main()
