"""`Trainer` as it is, of whole models and of LoRA adapters: what must not change the result does not."""

import re

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForTextToWaveform, AutoTokenizer, Trainer, TrainingArguments

from transformers_moss_tts import MossTTSDelayProcessor, MossTTSLocalProcessor, MossTTSLocalV1Processor
from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    keep_stream_losses,
    lora_target_modules,
    paper_stream_weights,
    stream_loss_metrics,
)


PROCESSORS = {
    "moss_tts_delay": MossTTSDelayProcessor,
    "moss_tts_local": MossTTSLocalV1Processor,
    "moss_tts_local_v1_5": MossTTSLocalProcessor,
}


@pytest.fixture(params=list(PROCESSORS))
def source(request, golden_folder):
    return golden_folder / request.param


# Whole models of one generator, adapters of all.
CASES = pytest.mark.parametrize(
    "source,kind",
    [("moss_tts_delay", "full"), *((name, "lora") for name in PROCESSORS)],
    indirect=["source"],
)


def processor_of(source) -> MossTTSDelayProcessor:
    config = AutoConfig.from_pretrained(source)
    return PROCESSORS[source.name](AutoTokenizer.from_pretrained(source), model_config=config)


def examples_of(n_vq: int, count: int = 8) -> Dataset:
    draw = np.random.default_rng(0)
    texts = ("One.", "Two and three.", "Four, five and six.", "Seven.")
    return Dataset.from_list(
        [{"text": texts[i % 4], "codes": draw.integers(0, 32, (3 + i, n_vq)).tolist()} for i in range(count)]
    )


def trainer_of(source, folder, kind="lora", dropout=0.0, packing=False, **changes) -> Trainer:
    torch.manual_seed(0)
    processor = processor_of(source)
    model = AutoModelForTextToWaveform.from_pretrained(source)
    if kind == "lora":
        targets = lora_target_modules(model, "all")
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, lora_dropout=dropout))
    settings = {
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.1,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    return Trainer(
        model,
        TrainingArguments(str(folder), **(settings | changes)),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(processor.model_config.n_vq), packing),
        train_dataset=examples_of(processor.model_config.n_vq),
    )


def trained(trainer: Trainer, **kwargs) -> dict[str, torch.Tensor]:
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters() if tensor.requires_grad}
    trainer.train(**kwargs)
    after = {name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters() if name in before}
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
    return after


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=atol, rtol=0, msg=name)


def losses_of(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@CASES
@pytest.mark.parametrize("packing", [False, True])
def test_four_batches_of_one_are_one_of_four(source, kind, packing, tmp_path):
    whole = trainer_of(source, tmp_path / "whole", kind)
    parts = trainer_of(
        source,
        tmp_path / "parts",
        kind,
        packing=packing,
        per_device_train_batch_size=1 + packing,
        gradient_accumulation_steps=4 // (1 + packing),
    )
    assert_equal(trained(whole), trained(parts))
    np.testing.assert_allclose(losses_of(parts), losses_of(whole), rtol=1e-3)


@CASES
def test_gradient_checkpointing_changes_nothing(source, kind, tmp_path):
    plain = trained(trainer_of(source, tmp_path / "plain", kind))
    assert_equal(trained(trainer_of(source, tmp_path / "less", kind, gradient_checkpointing=True)), plain)


def test_a_run_goes_on_where_it_stopped(source, tmp_path):
    settings = {
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 4,
    }
    settings |= {"dropout": 0.3, "lr_scheduler_type": "linear", "train_sampling_strategy": "random"}
    whole = trained(trainer_of(source, tmp_path / "whole", **settings))
    parts = trainer_of(source, tmp_path / "parts", **settings)
    parts.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert_equal({n: p for n, p in parts.model.named_parameters() if p.requires_grad}, whole, atol=0)
    PeftModel.from_pretrained(AutoModelForTextToWaveform.from_pretrained(source), tmp_path / "parts" / "checkpoint-4")


def test_bfloat16_trains_the_same(source, tmp_path):
    plain, half = trainer_of(source, tmp_path / "plain"), trainer_of(source, tmp_path / "half", bf16=True)
    trained(plain)
    assert all(tensor.dtype == torch.float32 for tensor in trained(half).values())
    assert losses_of(half) != losses_of(plain)
    np.testing.assert_allclose(losses_of(half), losses_of(plain), rtol=0.02)


def test_samples_are_grouped_by_length(golden_folder, tmp_path):
    source = golden_folder / "moss_tts_delay"
    trainer = trainer_of(source, tmp_path, train_sampling_strategy="group_by_length", num_train_epochs=1, max_steps=-1)
    collate, lengths = trainer.data_collator, []
    trainer.data_collator = lambda samples: lengths.append([len(s["labels"]) for s in samples]) or collate(samples)
    trainer.train_dataset = TrainingSamples(
        examples_of(8, count=64), processor_of(source), duration_conditioning=(False,)
    )
    trained(trainer)
    # Of four samples drawn at random the longest has 38 positions more than the shortest on average.
    assert len(lengths) == 16 and np.mean([max(batch) - min(batch) for batch in lengths]) < 20


@CASES
def test_evaluation_tells_the_loss_of_each_stream(source, kind, tmp_path):
    processor = processor_of(source)
    n_vq = processor.model_config.n_vq
    trainer = trainer_of(source, tmp_path, kind, per_device_eval_batch_size=3)
    trainer = Trainer(
        trainer.model,
        trainer.args,
        data_collator=trainer.data_collator,
        eval_dataset=examples_of(n_vq),
        compute_metrics=stream_loss_metrics,
        preprocess_logits_for_metrics=keep_stream_losses,
    )
    metrics = trainer.evaluate()
    with torch.no_grad():
        expected = trainer.model(**trainer.data_collator(list(examples_of(n_vq)))).channel_losses
    names = ["text", *(f"codebook_{number}" for number in range(1, 1 + n_vq))]
    assert {name for name in metrics if re.match("eval_loss_", name)} == {f"eval_loss_{name}" for name in names}
    measured = [metrics[f"eval_loss_{name}"] for name in names]
    np.testing.assert_allclose(measured, expected.numpy(), rtol=1e-4)
    assert np.isfinite(metrics["eval_loss"])
