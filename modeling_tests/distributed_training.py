"""Trains a small generator, whole and with LoRA, in as many processes as `accelerate launch` has started."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch


sys.path.insert(0, str(Path(__file__).parent))

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor
from transformers import Trainer, TrainingArguments

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.training import MossTTSDataCollator, lora_target_modules, paper_stream_weights


KINDS = ("full", "lora")


def examples() -> Dataset:
    draw = np.random.default_rng(0)
    texts = ("One.", "Two.", "Three and four.", "Five.") * 2
    return Dataset.from_list(
        [{"text": text, "codes": draw.integers(0, 32, (3 + 2 * i, 8)).tolist()} for i, text in enumerate(texts)]
    )


def pretend_accelerators() -> None:
    """accelerate shards models on accelerators only, although torch, DeepSpeed and gloo can do it on CPUs too."""
    state = PartialState._shared_state
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        state["distributed_type"] = DistributedType.MULTI_GPU
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        state |= {"num_processes": size, "process_index": rank, "local_process_index": rank}
        state["distributed_type"] = DistributedType.DEEPSPEED


def train(kind: str, folder: Path) -> Trainer:
    """Three steps of four samples each, however many processes share them."""
    arguments = TrainingArguments(
        str(folder / kind),
        max_steps=3,
        per_device_train_batch_size=4 // int(os.environ.get("WORLD_SIZE", 1)),
        learning_rate=1e-2,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        use_cpu=os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )
    pretend_accelerators()
    torch.manual_seed(0)
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules=lora_target_modules(model, "all")))
    trainer = Trainer(
        model,
        arguments,
        train_dataset=examples(),
        data_collator=MossTTSDataCollator(golden_processor(), paper_stream_weights(8)),
    )
    trainer.train()
    trainer.save_model(str(folder / kind / "model"))
    return trainer


if __name__ == "__main__":
    wrappers = {}
    for kind in KINDS:
        trainer = train(kind, Path(sys.argv[1]))
        wrappers[kind] = [type(trainer.model_wrapped).__name__, trainer.accelerator.num_processes]
    if trainer.is_world_process_zero():
        Path(sys.argv[1], "wrappers.json").write_text(json.dumps(wrappers))
