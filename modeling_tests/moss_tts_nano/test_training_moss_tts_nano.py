"""Training of MossTTSNano: labels, collator, Trainer, adapters, and tables of the reference's fine-tuning."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_nano
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    encode_recordings,
    encode_sample,
    load_table,
    lora_target_modules,
)


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / "moss_tts_nano"


@pytest.fixture(scope="module")
def tensors(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module")
def processor(folder, golden_folder):
    codec = golden_folder / "moss_audio_tokenizer_nano"
    return AutoProcessor.from_pretrained(folder, codec_path=codec, normalize_inputs=False)


@pytest.fixture
def records(folder, tensors):
    """The reference's records, with codes as its tables have them."""
    cases = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    records = cases["train"]["records"]
    for record in records:
        for key in ("audio_codes", "ref_audio_codes"):
            if isinstance(record.get(key), str):
                record[key] = tensors[cases["codes"][record[key]]].tolist()
    return records


@pytest.mark.parametrize(("batch", "index", "record"), [("a", 0, 0), ("a", 1, 1), ("b", 0, 2)])
def test_labels_are_the_references(tensors, processor, records, batch, index, record):
    """The prompt is that of inference, where the reference's training has another; what is learned is the same."""
    example = records[record]
    example["codes"], example["reference"] = example.pop("audio_codes"), example.pop("ref_audio_codes", None)
    example["codes"] = torch.tensor(example["codes"])
    sample = encode_sample(processor, example)
    labels = sample["labels"]
    expected = tensors[f"train.{batch}.labels"][index]
    assert torch.equal(labels[(labels != -100).any(-1)], expected[(expected != -100).any(-1)])
    prompt = processor(
        text=example["text"],
        reference=example["reference"] and torch.tensor(example["reference"]),
        **{name: example[name] for name in ("language", "instruction", "tokens", "quality") if example.get(name)},
    )["input_ids"][0]
    assert torch.equal(sample["input_ids"][: len(prompt)], prompt)


@pytest.mark.parametrize("packing", [False, True])
def test_a_table_of_the_references_fine_tuning_trains(processor, folder, records, tmp_path, packing):
    table = tmp_path / "train.jsonl"
    # Arrow wants one width of codes in a column.
    lines = [records[0], records[1], records[3] | {"language": "en"}]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    encoded = encode_recordings(load_table(table), processor)
    assert len(encoded) == 3
    samples = TrainingSamples(encoded, processor, duration_conditioning=(False,))
    model = AutoModel.from_pretrained(folder)
    before = model.text_lm_head.weight.clone()
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=2,
        per_device_train_batch_size=3,
        learning_rate=1e-3,
        report_to="none",
        use_cpu=True,
        remove_unused_columns=False,
    )
    collator = MossTTSDataCollator(processor, [1.0] + [32 / 6] * 6, packing=packing)
    result = Trainer(model, arguments, train_dataset=samples, data_collator=collator).train()
    assert 0 < result.training_loss < 20
    assert not torch.equal(before, model.text_lm_head.weight)
    # Heads and embeddings stay one weight.
    assert model.text_lm_head.weight is model.transformer.wte.weight
    assert model.audio_lm_heads[2].weight is model.audio_embeddings[2].weight


def test_a_packed_batch_has_the_loss_of_a_padded_one(processor, folder, records):
    model = AutoModel.from_pretrained(folder)
    samples = [records[0], records[1]]
    for record in samples:
        record["codes"], record["reference"] = record.pop("audio_codes"), record.pop("ref_audio_codes", None)
    losses = [model(**MossTTSDataCollator(processor, packing=packing)(samples)).loss for packing in (False, True)]
    torch.testing.assert_close(*losses)


def test_codes_of_fewer_codebooks_train(processor, records):
    """The deeper codebooks have no labels, and nothing is heard of them."""
    example = {"text": records[2]["text"], "codes": torch.tensor(records[2]["audio_codes"])}
    batch = MossTTSDataCollator(processor)([encode_sample(processor, example)])
    assert (batch["labels"][..., 4:] == -100).all() and (batch["labels"][..., 1:4] != -100).any()
    assert (batch["input_ids"][..., 4:] == processor.model_config.audio_pad_code).all()


def test_adapters(tmp_path):
    peft = pytest.importorskip("peft")
    model = tiny_nano()
    targets = lora_target_modules(model, "all")
    assert targets == ["c_attn", "c_proj", "fc_in", "fc_out"]
    with pytest.raises(ValueError, match="heads"):
        lora_target_modules(model, "heads")
    inputs = {"input_ids": torch.randint(0, 16, (1, 6, 5))}
    before = model(**inputs).last_hidden_state
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    assert any("local_transformer" in name for name, weight in adapted.named_parameters() if weight.requires_grad)
    after = adapted(**inputs).last_hidden_state
    assert not torch.allclose(before, after, atol=1e-4)
    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny_nano(), tmp_path)
    torch.testing.assert_close(again(**inputs).last_hidden_state, after)
    merged = again.merge_and_unload()
    torch.testing.assert_close(merged(**inputs).last_hidden_state, after)
    # The text table is a head too: an adapter of neither changed it.
    assert torch.equal(merged.transformer.wte.weight, tiny_nano().transformer.wte.weight)
