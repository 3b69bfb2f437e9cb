"""
Makes the codes of a corpus easier to learn, for generators that have little time to learn them.

    python -m examples.tiny_family.distill_codes corpus --codec model_cards/moss-audio-tokenizer-tiny --output runs/distilled
    python -m examples.tiny_family.train_tts runs/distilled/codes.parquet --codec model_cards/moss-audio-tokenizer-tiny --codebooks 4 ...
    python -m examples.tiny_family.train_codec runs/distilled/codes.parquet --model model_cards/moss-audio-tokenizer-tiny --decoder-only ...

A teacher learns the codes of all speakers from what `build_corpus.py` wrote beside the recordings (when which phoneme is said), from
pitch and loudness; what it would choose takes the place of the recordings' codes. A generator learns those codes in a fraction
of the steps, and the decoder learns what they sound like. References stay recordings.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import AutoModel, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from transformers_moss_tts.audio_io import load_audio

from .code_teacher import CodeTeacher, sound_features
from .phonetic_loss import phoneme_classes
from .train_tts import read_examples


def read_timed_corpus(folders: list[Path], held_out: Path | None) -> Dataset:
    examples = [example for folder in folders for example in read_examples(folder, held_out)]
    timed = [example for example in examples if example["phonemes"]]
    if not timed:
        raise SystemExit("No example has `phonemes`: build_corpus.py writes them for hibari and Kokoro.")
    return Dataset.from_list(timed)


def encode(batch: dict[str, list], codec, codebooks: int) -> dict[str, list]:
    """Codes and sounds of recordings."""
    config = codec.config
    waveforms = [load_audio(path, config.sampling_rate) for path in batch["audio"]]
    lengths = [len(waveform) // config.downsample_rate for waveform in waveforms]
    samples = max(lengths) * config.downsample_rate
    padded = torch.zeros(len(waveforms), 1, samples)
    for example, waveform, length in zip(padded, waveforms, lengths):
        example[0, : length * config.downsample_rate] = torch.from_numpy(waveform)[: length * config.downsample_rate]
    codes = codec.encode(padded, num_quantizers=codebooks).audio_codes
    return {
        "codes": [codes[:, index, :length].T.tolist() for index, length in enumerate(lengths)],
        "sounds": [
            sound_features(waveform, config.sampling_rate, length, config.frame_rate).tolist()
            for waveform, length in zip(waveforms, lengths)
        ],
        "frame_rate": [config.frame_rate] * len(waveforms),
    }


def train(teacher: CodeTeacher, examples: Dataset, args: argparse.Namespace) -> None:
    training = TrainingArguments(
        output_dir=str(args.output / "teacher"),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch_size,
        learning_rate=2e-3,
        lr_scheduler_type="linear",
        warmup_steps=min(50, args.steps // 10),
        weight_decay=0.05,
        bf16=args.bf16,
        remove_unused_columns=False,
        logging_steps=20,
        save_steps=500,
        save_total_limit=1,
        report_to="tensorboard",
        use_cpu=not torch.cuda.is_available(),
        seed=args.seed,
    )
    trainer = Trainer(teacher, training, data_collator=teacher.collate, train_dataset=examples)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(training.output_dir))


@torch.no_grad()
def distill(teacher: CodeTeacher, examples: Dataset, batch_size: int) -> list[list[list[int]]]:
    """The teacher's codes of all examples."""
    teacher.eval()
    device = next(teacher.parameters()).device
    lengths = [len(codes) for codes in examples["codes"]]
    by_length = sorted(range(len(examples)), key=lengths.__getitem__)
    codes = {}
    loader = DataLoader(examples.select(by_length), batch_size, collate_fn=teacher.collate)
    for number, batch in enumerate(tqdm(loader, desc="distill")):
        chosen = teacher.generate(**{name: value.to(device) for name, value in batch.items()})
        codes |= dict(zip(by_length[number * batch_size :], (item.tolist() for item in chosen)))
    return [codes[index] for index in range(len(examples))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="+", help="folders with metadata*.jsonl")
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec")
    parser.add_argument("--output", type=Path, default=Path("runs/distilled"))
    parser.add_argument("--codebooks", type=int, default=4, help="how many of the codec's codebooks are learned")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=48, help="recordings a step")
    parser.add_argument("--held-out", type=Path, help="text file of sentences that must not be trained on")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    codec = AutoModel.from_pretrained(args.codec).eval()
    examples = read_timed_corpus(args.corpus, args.held_out)
    with torch.inference_mode():
        examples = examples.map(
            encode, batched=True, batch_size=16, fn_kwargs={"codec": codec, "codebooks": args.codebooks}, desc="codes"
        )
    speakers = sorted(set(examples["speaker"]))
    print(f"{len(examples)} examples of {len(speakers)} speakers")
    teacher = CodeTeacher(
        phoneme_classes(examples["phonemes"]), speakers, args.codebooks, codec.config.quantizer_kwargs["codebook_size"]
    )
    train(teacher, examples, args)
    distilled = distill(teacher, examples, batch_size=4 * args.batch_size)
    examples = examples.rename_column("codes", "recorded_codes").add_column("codes", distilled)
    examples.remove_columns(["sounds", "frame_rate"]).to_parquet(args.output / "codes.parquet")


if __name__ == "__main__":
    main()
