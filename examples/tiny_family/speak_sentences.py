"""
Speaks a list of sentences with voices of a corpus and writes a manifest for a scorer of words and voices.

    python -m examples.tiny_family.speak_sentences sentences.txt --voices corpus --model model_cards/moss-tts-tiny --output spoken
    python -m examples.tiny_family.speak_sentences sentences.txt --voices corpus --split heldout --model ... --output zero_shot
    python -m examples.tiny_family.speak_sentences sentences.txt --voices corpus --seconds-per-word 0.4 --model ... --output timed

A corpus is a folder with `metadata*.jsonl` (`audio`, `text`, `speaker`, `split`). Each sentence gets the next voice and a
recording of it as reference; OUTPUT/manifest.jsonl has `audio`, `text`, `reference` (another recording of the voice, to compare
with), `frames`, `wanted_frames` and `ended` (whether the generation ended by itself).
"""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForTextToWaveform, AutoProcessor

import transformers_moss_tts  # noqa: F401  (registers the models)

from .metadata import read_metadata


def read_voices(folder: Path, split: str) -> dict[str, list[Path]]:
    """Recordings of each speaker; `split` is `train` or `heldout`."""
    voices = defaultdict(list)
    for example in read_metadata(folder):
        if (example.get("split") == "heldout") == (split == "heldout"):
            voices[example["speaker"]].append(folder / example["audio"])
    if not voices:
        raise SystemExit(f"There are no {split} recordings in {folder}: a corpus is a folder with metadata*.jsonl.")
    return voices


def plan(sentences: list[str], voices: dict[str, list[Path]] | None, seed: int) -> list[dict]:
    """What is spoken: a sentence, the recording it is cloned from, and another one of that voice."""
    draw = random.Random(seed)
    if voices is None:
        return [{"text": text, "prompt": None, "reference": None} for text in sentences]
    speakers = draw.sample(sorted(voices), len(voices))
    examples = []
    for number, text in enumerate(sentences):
        prompt, other = draw.sample(voices[speakers[number % len(speakers)]], 2)
        examples.append({"text": text, "prompt": prompt, "reference": other})
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", type=Path, help="a text file with a sentence a line")
    parser.add_argument("--voices", type=Path, help="folder of the corpus with the voices; none by default")
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds-per-word", type=float, help="ask for a length")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--max-new-tokens", type=int, default=250, help="a generation that gets so far is a runaway")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("spoken"))
    args = parser.parse_args()

    sentences = args.sentences.read_text(encoding="utf-8").split("\n")
    sentences = [line.strip() for line in sentences if line.strip()][: args.count]
    examples = plan(sentences, args.voices and read_voices(args.voices, args.split), args.seed)
    processor = AutoProcessor.from_pretrained(args.model)
    model = AutoModelForTextToWaveform.from_pretrained(args.model).eval()
    args.output.mkdir(parents=True, exist_ok=True)
    written = []
    for first in tqdm(range(0, len(examples), args.batch_size), unit="batch"):
        batch = examples[first : first + args.batch_size]
        tokens = None
        if args.seconds_per_word:
            words = [len(example["text"].split()) for example in batch]
            tokens = [round(args.seconds_per_word * count * processor.frame_rate) for count in words]
        messages = [
            processor.build_user_message(
                text=example["text"],
                reference=example["prompt"] and [str(example["prompt"])],
                language="English",
                tokens=tokens and tokens[index],
            )
            for index, example in enumerate(batch)
        ]
        inputs = processor(conversations=[[message] for message in messages], mode="generation")
        with torch.inference_mode():
            outputs = model.generate(
                **inputs, seed=args.seed + first, max_new_tokens=args.max_new_tokens, return_dict_in_generate=True
            )
        for index, (example, waveform) in enumerate(zip(batch, processor.decode(outputs))):
            path = args.output / f"{first + index:03d}.wav"
            if len(waveform) == 0:
                waveform = torch.zeros(processor.model_config.sampling_rate // 10)
            processor.save_audio(waveform, path)
            example = {
                "audio": path.name,
                "text": example["text"],
                "reference": example["reference"] and str(example["reference"].resolve()),
                "frames": len(outputs.audio_codes[index]),
                "wanted_frames": tokens and tokens[index],
                "ended": not outputs.reached_limit[index],
            }
            written.append({name: value for name, value in example.items() if value is not None})
    lines = "".join(json.dumps(example) + "\n" for example in written)
    (args.output / "manifest.jsonl").write_text(lines, encoding="utf-8")
    runaways = sum(not example["ended"] for example in written)
    print(f"{len(written)} sentences in {args.output}, {runaways} did not end by themselves")
    if args.seconds_per_word:
        errors = [abs(example["frames"] - example["wanted_frames"]) / example["wanted_frames"] for example in written]
        print(f"duration error {100 * sum(errors) / len(errors):.1f} %")


if __name__ == "__main__":
    main()
