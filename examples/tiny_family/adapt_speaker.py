"""
Teaches a generator a speaker: a LoRA adapter from a few minutes of recordings, with plain PEFT and Trainer.

    python -m examples.tiny_family.adapt_speaker recordings --model OpenMOSS-Team/MOSS-TTS --language English --output runs/anna
    python -m examples.tiny_family.adapt_speaker corpus --speaker anna --minutes 5 --model model_cards/moss-tts-tiny --output runs/anna

Recordings are a folder of `a.wav` with their texts in `a.txt`, a folder with `metadata.jsonl`, a jsonl, csv or parquet table of
`audio` and `text`, or a dataset of the Hub. The adapter is written to OUTPUT/adapter:

    speak = pipeline("text-to-speech", model="OpenMOSS-Team/MOSS-TTS")
    speak.model = PeftModel.from_pretrained(speak.model, "runs/anna/adapter")

A run that is started again goes on where it stopped. Losses of every channel go to TensorBoard. On several devices:
`accelerate launch --config_file examples/finetune/accelerate_ddp.yaml -m examples.tiny_family.adapt_speaker ...`.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftConfig, get_peft_model
from transformers import (
    AutoModelForTextToWaveform,
    AutoProcessor,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    encode_recordings,
    keep_stream_losses,
    load_table,
    lora_target_modules,
    paper_stream_weights,
    stream_loss_metrics,
)


def select_speaker(examples: Dataset, speaker: str | None, language: str | None) -> Dataset:
    """The speaker's examples, with a name for the draw of references, and the language where the table has none."""
    if speaker is not None:
        examples = examples.filter(lambda example: example["speaker"] == speaker)
    if len(examples) == 0:
        raise SystemExit(f"There are no recordings of {speaker}.")
    if "speaker" not in examples.column_names:
        examples = examples.add_column("speaker", ["speaker"] * len(examples))
    if language is not None and "language" not in examples.column_names:
        examples = examples.add_column("language", [language] * len(examples))
    return examples


def select_minutes(examples: Dataset, minutes: float | None, frame_rate: float) -> Dataset:
    """The first examples that last no longer together."""
    lasted, count = 0.0, 0
    for codes in examples["codes"]:
        lasted += len(codes) / frame_rate / 60
        if minutes is not None and lasted > minutes:
            break
        count += 1
    if count < 2:
        raise SystemExit("There must be two recordings at least, one of them to evaluate with.")
    return examples.select(range(count))


def weaken(adapter: Path, strength: float) -> None:
    """Lets a saved adapter do a share of what it learned."""
    config = PeftConfig.from_pretrained(adapter)
    config.lora_alpha *= strength
    config.save_pretrained(adapter)


class WeakenedCheckpoints(TrainerCallback):
    """Weakens the adapters of checkpoints. A run that goes on from one reads its weights alone, which stay."""

    def __init__(self, strength: float):
        self.strength = strength

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            weaken(Path(args.output_dir, f"checkpoint-{state.global_step}"), self.strength)


def load_model(name: str, bf16: bool) -> PreTrainedModel:
    # Not None, which takes the dtype of the file: half precision, of the models that come with the package.
    return AutoModelForTextToWaveform.from_pretrained(name, dtype=torch.bfloat16 if bf16 else "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset")
    parser.add_argument("--model", required=True, help="folder or Hub id of the generator")
    parser.add_argument("--codec", help="folder or Hub id of the codec, if not the one that the model names")
    parser.add_argument("--output", type=Path, default=Path("runs/speaker"))
    parser.add_argument("--speaker", help="whose examples to take from a table with `speaker`; all by default")
    parser.add_argument("--minutes", type=float, help="take no more than that")
    parser.add_argument("--language", help='of a table that does not say it, for example "English"')
    parser.add_argument("--targets", nargs="+", default=["all"], help="attention, mlp, all, heads")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--strength", type=float, default=1.0, help="share of what was learned that the adapter keeps")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, default=8, help="samples a step and process")
    parser.add_argument(
        "--reference-share", type=float, default=0.5, help="of the samples that hear the speaker first"
    )
    parser.add_argument("--eval-steps", type=int, default=50, help="between evaluations, each with a checkpoint")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--num-proc", type=int, help="processes that encode recordings on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    # Before the model: DeepSpeed shards it while it is loaded.
    training = TrainingArguments(
        output_dir=str(args.output),
        max_steps=args.steps,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, args.steps // 20),
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        remove_unused_columns=False,
        bf16=args.bf16,
        gradient_checkpointing=args.gradient_checkpointing,
        eval_strategy="steps",
        eval_on_start=True,
        eval_steps=args.eval_steps,
        save_steps=args.eval_steps,
        logging_steps=10,
        report_to="tensorboard",
        use_cpu=not torch.cuda.is_available(),
        seed=args.seed,
    )
    processor = AutoProcessor.from_pretrained(args.model, codec_path=args.codec)
    examples = select_speaker(load_table(args.recordings), args.speaker, args.language)
    with training.main_process_first(desc="codes"):
        examples = encode_recordings(examples, processor, num_proc=args.num_proc, cache_dir=args.output / "codes")
    examples = select_minutes(examples, args.minutes, processor.frame_rate)
    parts = examples.train_test_split(test_size=max(1, len(examples) // 10), seed=args.seed)
    samples = {
        name: TrainingSamples(part, processor, reference_share=args.reference_share, seed=args.seed)
        for name, part in parts.items()
    }
    seconds = sum(len(codes) for codes in parts["train"]["codes"]) / processor.frame_rate
    print(f"{len(parts['train'])} recordings of {seconds / 60:.1f} minutes, {len(parts['test'])} to evaluate with")

    model = load_model(args.model, args.bf16)
    targets = lora_target_modules(model, *args.targets)
    lora = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, lora_dropout=0.05, target_modules=targets)
    model = get_peft_model(model, lora)
    model.print_trainable_parameters()
    trainer = Trainer(
        model,
        training,
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(processor.model_config.n_vq)),
        train_dataset=samples["train"],
        eval_dataset=samples["test"],
        compute_metrics=stream_loss_metrics,
        preprocess_logits_for_metrics=keep_stream_losses,
        callbacks=[WeakenedCheckpoints(args.strength)],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.output)))
    trainer.save_model(str(args.output / "adapter"))
    if trainer.is_world_process_zero():
        weaken(args.output / "adapter", args.strength)
    print(f"wrote {args.output / 'adapter'}")


if __name__ == "__main__":
    main()
