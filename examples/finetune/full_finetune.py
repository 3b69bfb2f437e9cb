"""
Fine-tunes all weights of a generator, with Trainer as it is.

    python examples/finetune/full_finetune.py recordings --model OpenMOSS-Team/MOSS-TTS --bf16 --output runs/finetuned

The table is what lora_speaker.py takes; each example may say its `language`, and its `speaker`: half of the samples of a speaker with
several recordings clone another one. OUTPUT/model is a folder that `pipeline("text-to-speech")` takes.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from transformers_moss_tts import bundled_model, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset")
    parser.add_argument("--model", default=bundled_model(), help="folder or Hub id of a generator")
    parser.add_argument("--codec", help="folder or Hub id of the codec, if not the one that the model names")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=4, help="samples a step and device")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="take less memory and more time")
    parser.add_argument("--output", type=Path, default=Path("runs/finetuned"))
    args = parser.parse_args()

    settings = {"max_steps": args.steps, "learning_rate": args.learning_rate, "warmup_steps": 0.02, "bf16": args.bf16}
    settings |= {"per_device_train_batch_size": args.batch_size, "gradient_checkpointing": args.gradient_checkpointing}
    settings |= {"remove_unused_columns": False, "logging_steps": 10, "save_steps": 0.1, "report_to": "tensorboard"}
    processor = AutoProcessor.from_pretrained(args.model, codec_path=args.codec)
    table = training.encode_recordings(training.load_table(args.recordings), processor)
    share = 0.5 if "speaker" in table.column_names else 0.0
    # The optimizer needs weights in float32, also where the checkpoint has them in bfloat16.
    model = AutoModelForTextToWaveform.from_pretrained(args.model, dtype=torch.float32)
    weights = training.paper_stream_weights(processor.model_config.n_vq)
    trainer = Trainer(
        model,
        TrainingArguments(str(args.output), **settings),
        data_collator=training.MossTTSDataCollator(processor, weights),
        train_dataset=training.TrainingSamples(table, processor, reference_share=share),
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.output)))
    trainer.save_model(str(args.output / "model"))


if __name__ == "__main__":
    main()
