"""
Teaches a generator a speaker: a LoRA adapter from a few minutes of recordings, with PEFT and Trainer as they are.

    python examples/finetune/lora_speaker.py recordings --model OpenMOSS-Team/MOSS-TTS --language English --output runs/anna

Recordings are a folder of `a.wav` with their texts in `a.txt`, a table of `audio` and `text` (jsonl, csv, parquet) or a dataset of the
Hub. `PeftModel.from_pretrained(model, "runs/anna/adapter")` gives a generator the voice. A second start goes on where the first one stopped.
"""

import argparse
from pathlib import Path

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForTextToWaveform, AutoProcessor, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from transformers_moss_tts import bundled_model, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset with at least two recordings")
    parser.add_argument("--model", default=bundled_model(), help="folder or Hub id of a generator")
    parser.add_argument("--codec", help="folder or Hub id of the codec, if not the one that the model names")
    parser.add_argument("--language", help='language of a table without `language`, for example "English"')
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8, help="samples a step and device")
    parser.add_argument("--output", type=Path, default=Path("runs/speaker"))
    args = parser.parse_args()

    settings = {"max_steps": args.steps, "learning_rate": 5e-4, "warmup_steps": 0.05, "lr_scheduler_type": "cosine"}
    settings |= {"per_device_train_batch_size": args.batch_size, "remove_unused_columns": False, "logging_steps": 10}
    settings |= {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.1, "report_to": "tensorboard"}
    processor = AutoProcessor.from_pretrained(args.model, codec_path=args.codec)
    table = training.load_table(args.recordings)
    if args.language and "language" not in table.column_names:
        table = table.add_column("language", [args.language] * len(table))
    parts = training.encode_recordings(table, processor).train_test_split(test_size=0.1, seed=0)

    model = AutoModelForTextToWaveform.from_pretrained(args.model)
    targets = training.lora_target_modules(model, "all")
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=targets))
    model.print_trainable_parameters()
    weights = training.paper_stream_weights(processor.model_config.n_vq)
    trainer = Trainer(
        model,
        TrainingArguments(str(args.output), **settings),
        data_collator=training.MossTTSDataCollator(processor, weights),
        train_dataset=training.TrainingSamples(parts["train"], processor),
        eval_dataset=training.TrainingSamples(parts["test"], processor),
        compute_metrics=training.stream_loss_metrics,
        preprocess_logits_for_metrics=training.keep_stream_losses,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.output)))
    trainer.save_model(str(args.output / "adapter"))


if __name__ == "__main__":
    main()
