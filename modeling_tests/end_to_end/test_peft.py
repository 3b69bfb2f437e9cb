"""LoRA adapters of PEFT on every generator: trained by Trainer, generated with, saved, loaded and merged."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForTextToWaveform,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

from transformers_moss_tts import MossTTSDelayProcessor, MossTTSLocalProcessor, MossTTSLocalV1Processor
from transformers_moss_tts.training import MossTTSDataCollator, TrainingSamples, report_channel_weights


PROCESSORS = {
    "moss_tts_delay": MossTTSDelayProcessor,
    "moss_tts_local": MossTTSLocalV1Processor,
    "moss_tts_local_v1_5": MossTTSLocalProcessor,
}
GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0, "max_new_tokens": 12}


@pytest.fixture(params=list(PROCESSORS))
def source(request, golden_folder):
    return golden_folder / request.param


def samples_of(source) -> tuple[TrainingSamples, MossTTSDelayProcessor]:
    config = AutoConfig.from_pretrained(source)
    processor = PROCESSORS[source.name](AutoTokenizer.from_pretrained(source), model_config=config)
    draw = np.random.default_rng(0)
    rows = [{"text": text, "codes": draw.integers(0, 32, (6, config.n_vq)).tolist()} for text in ("One.", "Two.")]
    return TrainingSamples(Dataset.from_list(rows), processor), processor


def test_an_adapter_is_trained_saved_and_merged(source, tmp_path):
    torch.manual_seed(0)
    samples, processor = samples_of(source)
    base = AutoModelForTextToWaveform.from_pretrained(source)
    frozen = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], lora_dropout=0.0)
    model = get_peft_model(base, lora)
    trainer = Trainer(
        model,
        TrainingArguments(
            str(tmp_path / "run"),
            max_steps=30,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            remove_unused_columns=False,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
        ),
        data_collator=MossTTSDataCollator(processor, report_channel_weights(processor.model_config.n_vq)),
        train_dataset=samples,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:3])
    trainer.save_model(str(tmp_path / "adapter"))

    inputs = processor(text="One.")
    model.eval()
    spoken = model.generate(**inputs, **GREEDY)
    restored = PeftModel.from_pretrained(
        AutoModelForTextToWaveform.from_pretrained(source), tmp_path / "adapter"
    ).eval()
    assert torch.equal(restored.generate(**inputs, **GREEDY), spoken)
    with torch.no_grad(), restored.disable_adapter():
        untouched = restored(**inputs).last_hidden_state if "local" in source.name else restored(**inputs).logits
    merged = restored.merge_and_unload()
    assert type(merged) is type(AutoModelForTextToWaveform.from_pretrained(source))
    assert torch.equal(merged.generate(**inputs, **GREEDY), spoken)
    with torch.no_grad():
        adapted = merged(**inputs).last_hidden_state if "local" in source.name else merged(**inputs).logits
    assert (adapted - untouched).abs().max() > 1e-3
    changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed and all(name.split(".")[-2] in ("q_proj", "v_proj", "up_proj") for name in changed)
    merged.save_pretrained(tmp_path / "merged")
    assert torch.equal(
        AutoModelForTextToWaveform.from_pretrained(tmp_path / "merged").generate(**inputs, **GREEDY), spoken
    )
