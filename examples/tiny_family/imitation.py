"""
Lets a generator say sentences by the thousand, for another one to learn from what it says (distillation of sequences, arXiv 1606.07947):

    python -m examples.tiny_family.imitation RUN/recorded_codes.parquet --model model_cards/moss-tts-local-tiny --output RUN/takes.jsonl
    python -m examples.tiny_family.train_tts RUN/recorded_codes.parquet --takes RUN/takes.jsonl --phases examples/tiny_family/phases_of_takes.yaml

Sentences are of the corpus's kind (none of `--held-out`), with voices of the tables. They stay codes: nothing is decoded or heard.
Started again it goes on.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .preferences import begin, inputs_of


POOL = 4  # batches of prompts that are sorted by the length of their texts, so that those of a batch end together


@torch.inference_mode()
def say(model, processor, batch: list[dict[str, Any]], seed: int, options: dict) -> Iterator[dict[str, Any]]:
    """Takes of prompts, one each, with `codes`; those that did not end are left out."""
    outputs = model.generate(**inputs_of(processor, batch), seed=seed, return_dict_in_generate=True, **options)
    for prompt, codes, is_cut in zip(batch, outputs.audio_codes, outputs.reached_limit.tolist()):
        if len(codes) and not is_cut:
            yield prompt | {"codes": codes.tolist(), "language": "English"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, help="parquet files of the stage codes, for the voices")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--codec", type=Path, default=Path("model_cards/moss-audio-tokenizer-tiny"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="text file of sentences that must not be said")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--most-sentences", type=int, default=1, help="of a take; above 1 for paragraphs")
    parser.add_argument("--plain-share", type=float, default=0.2, help="share of prompts without a reference")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--float32", action="store_true", help="instead of bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    processor, model, prompts, options = begin(args, torch.float32 if args.float32 else torch.bfloat16)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    lines = args.output.read_text(encoding="utf-8").splitlines() if args.output.exists() else []
    size = POOL * args.batch_size
    number = json.loads(lines[-1])["pool"] + 1 if lines else 0
    end = time.monotonic() + 60 * args.minutes
    with open(args.output, "a", encoding="utf-8") as takes:
        while time.monotonic() < end:
            pool = [prompts[number * size + place] for place in range(size)]
            pool.sort(key=lambda prompt: len(prompt["text"]))
            batches = [pool[start : start + args.batch_size] for start in range(0, size, args.batch_size)]
            said = [
                json.dumps(take | {"pool": number}) + "\n"
                for place, batch in enumerate(batches)
                for take in say(model, processor, batch, POOL * number + place, options)
            ]
            takes.write("".join(said))
            takes.flush()
            number += 1
            print(f"{number * size} prompts", flush=True)


if __name__ == "__main__":
    main()
