"""Training of a generator: samples, batches, and Trainer as it is."""

import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset, interleave_datasets
from safetensors.torch import load_file
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import Trainer, TrainingArguments

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.moss_tts_delay.delay_pattern import apply_delay_pattern
from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    encode_sample,
    paper_stream_weights,
)


TEXTS = ("One.", "Two and three.", "Four, five and six.", "Seven.")


@pytest.fixture(scope="module")
def processor():
    return golden_processor()


def examples(count: int = 8, speakers: int = 2) -> Dataset:
    draw = np.random.default_rng(0)
    return Dataset.from_list(
        [
            {
                "text": TEXTS[i % 4],
                "speaker": f"speaker {i % speakers}",
                "language": "English",
                "codes": draw.integers(0, 32, (3 + i, 8)).tolist(),
            }
            for i in range(count)
        ]
    )


def test_a_sample_is_the_prompt_and_the_reply_and_only_the_reply_is_learned(processor):
    example = examples()[1]
    sample = encode_sample(processor, example | {"tokens": 4})
    config = processor.model_config
    prompt = processor(text=example["text"], language="English", tokens=4)["input_ids"][0]
    assert torch.equal(sample["input_ids"][: len(prompt)], prompt)
    labels = sample["labels"]
    assert (labels[: len(prompt) - 1] == -100).all() and (labels[-1] == -100).all()
    assert torch.equal(labels[len(prompt) - 1 : -1, 0], sample["input_ids"][len(prompt) :, 0])
    delayed = apply_delay_pattern(torch.tensor(example["codes"]), config.audio_pad_code)
    expected = delayed.masked_fill(delayed == config.audio_pad_code, -100)
    first = len(prompt)  # the label under audio_start is the first frame
    assert torch.equal(labels[first : first + len(delayed), 1:], expected)
    assert (labels[first + len(delayed) :, 1:] == -100).all()
    spoken = (labels[..., 1:] != -100).sum()
    assert spoken == 4 * 8


def test_references_and_fields_reach_the_prompt(processor):
    example = examples()[0]
    reference = examples()[2]["codes"]
    sample = encode_sample(processor, example | {"reference": reference, "instruction": "Softly."})
    prompt = processor(
        text=example["text"], language="English", reference=torch.tensor(reference), instruction="Softly."
    )["input_ids"][0]
    assert torch.equal(sample["input_ids"][: len(prompt)], prompt)
    several = encode_sample(processor, example | {"reference": [None, reference]})
    assert len(several["input_ids"]) == len(encode_sample(processor, example | {"reference": reference})["input_ids"])


@pytest.mark.parametrize(
    "example,message",
    [
        ({"text": "Hi."}, "needs `codes`"),
        ({"text": " ", "codes": [[1] * 8]}, "empty"),
        ({"text": "Hi.", "codes": [[1] * 4]}, r"\(frames, 8\)"),
        ({"text": "Hi.", "codes": [[40] * 8]}, "between 0 and 31"),
    ],
)
def test_bad_examples(processor, example, message):
    with pytest.raises(ValueError, match=message):
        encode_sample(processor, example)


def test_a_batch_is_padded_on_the_left(processor):
    weights = paper_stream_weights(8)
    assert weights == [1, 3, 3, 3, 2, 2, 2, 1, 1]
    chosen = [examples()[0], examples()[7]]
    batch = MossTTSDataCollator(processor, weights)(chosen)
    for index, example in enumerate(chosen):
        sample = encode_sample(processor, example)
        length = len(sample["input_ids"])
        assert batch["attention_mask"][index].sum() == length
        assert torch.equal(batch["input_ids"][index, -length:], sample["input_ids"])
        labels = torch.full_like(batch["input_ids"][index], -100)
        labels[-length:] = sample["labels"]
        assert torch.equal(batch["labels"][index], labels[-batch["logits_to_keep"] :])
        assert (labels[: -batch["logits_to_keep"]] == -100).all()
    assert (batch["input_ids"][0, 0] == torch.tensor([processor.model_config.pad_token_id] + [32] * 8)).all()
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    loss = model(**batch).loss
    all_labels = torch.full_like(batch["input_ids"], -100)
    all_labels[:, -batch["logits_to_keep"] :] = batch["labels"]
    torch.testing.assert_close(model(**batch | {"labels": all_labels, "logits_to_keep": 0}).loss, loss)
    alone = [model(**MossTTSDataCollator(processor)([example])) for example in chosen]
    # The whole batch's mean of a stream is the examples' means weighted by their labels.
    frames = torch.tensor([len(example["codes"]) for example in chosen])
    first = (torch.stack([out.channel_losses[1] for out in alone]) * frames).sum() / frames.sum()
    torch.testing.assert_close(model(**batch).channel_losses[1], first)
    assert torch.isfinite(loss)
    with pytest.raises(ValueError, match="9 weights"):
        MossTTSDataCollator(processor, [1.0])
    with pytest.raises(ValueError, match="`examples` is empty"):
        MossTTSDataCollator(processor)([])


def test_each_example_has_a_sample_with_and_one_without_its_duration(processor):
    samples = TrainingSamples(examples(), processor)
    assert len(samples) == 16
    for index in (0, 5):
        example = examples()[index]
        with_length = encode_sample(processor, example | {"tokens": len(example["codes"])})
        assert torch.equal(samples[2 * index]["input_ids"], with_length["input_ids"])
        assert torch.equal(samples[2 * index + 1]["input_ids"], encode_sample(processor, example)["input_ids"])


def test_references_are_other_recordings_of_the_speaker(processor):
    table = examples()
    samples = TrainingSamples(table, processor, duration_conditioning=(False,), reference_share=1.0)
    drawn = set()
    for epoch in range(12):
        samples.set_epoch(epoch)
        sample = samples[2]
        matches = [
            i
            for i in (0, 4, 6)
            if torch.equal(
                sample["input_ids"], encode_sample(processor, table[2] | {"reference": table[i]["codes"]})["input_ids"]
            )
        ]
        assert len(matches) == 1
        drawn.add(matches[0])
        assert torch.equal(sample["input_ids"], samples[2]["input_ids"])
    assert drawn == {0, 4, 6}
    lonely = TrainingSamples(examples(2), processor, duration_conditioning=(False,), reference_share=1.0)
    assert torch.equal(lonely[0]["input_ids"], encode_sample(processor, examples(2)[0])["input_ids"])


def test_recordings_of_nobody_are_no_references_of_each_other(processor):
    table = examples(4).map(
        lambda example: {"speaker": None if example["speaker"] == "speaker 0" else example["speaker"]}
    )
    samples = TrainingSamples(table, processor, duration_conditioning=(False,), reference_share=1.0)
    for index, is_known in ((0, False), (1, True), (2, False), (3, True)):
        plain = encode_sample(processor, table[index])["input_ids"]
        assert (len(samples[index]["input_ids"]) > len(plain)) == is_known


def test_samples_and_batches_are_the_same_in_other_processes(tmp_path):
    """Workers that are spawned get them pickled, with a codec for recordings that are encoded on the way."""
    processor = golden_processor(small_codec())
    waveform = np.random.default_rng(0).normal(0, 0.1, 6000).astype(np.float32)
    example = {"text": "One.", "audio": {"array": waveform, "sampling_rate": 24000}}
    here = TrainingSamples(examples(), processor, reference_share=1.0), MossTTSDataCollator(processor)
    samples, collator = pickle.loads(pickle.dumps(here))
    assert torch.equal(samples[3]["input_ids"], here[0][3]["input_ids"])
    assert torch.equal(collator([example])["input_ids"], here[1]([example])["input_ids"])
    # What was sent stays as it was.
    assert here[0].processor.audio_tokenizer is processor.audio_tokenizer is not None


def test_label_smoothing_is_refused(processor, tmp_path):
    """`Trainer` takes the labels of all streams for text tokens."""
    trainer = trainer_of(tmp_path, examples(), processor, max_steps=1, label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="label_smoothing_factor"):
        trainer.train()


def test_dropped_codebooks_leave_input_and_loss(processor):
    whole = TrainingSamples(examples(), processor, duration_conditioning=(False,))
    samples = TrainingSamples(examples(), processor, duration_conditioning=(False,), sequence_dropout=1.0)
    pad, depths = processor.model_config.audio_pad_code, set()
    for epoch in range(4):
        samples.set_epoch(epoch)
        for index in range(len(samples)):
            sample, full = samples[index], whole[index]
            has_codes = (sample["input_ids"][:, 1:] != pad).any(0)
            depth = int(has_codes.sum())
            assert 1 <= depth < 8 and has_codes[:depth].all()
            assert torch.equal(sample["input_ids"][:, : 1 + depth], full["input_ids"][:, : 1 + depth])
            assert torch.equal(sample["labels"][:, : 1 + depth], full["labels"][:, : 1 + depth])
            assert (sample["labels"][:, 1 + depth :] == -100).all()
            depths.add(depth)
    assert depths == set(range(1, 8))
    half = TrainingSamples(examples(), processor, duration_conditioning=(False,), sequence_dropout=0.5)
    dropped = sum(
        not torch.equal(half.encode(index, epoch)["input_ids"], whole[index]["input_ids"])
        for index in range(8)
        for epoch in range(10)
    )
    assert 25 <= dropped <= 55


def test_long_samples_are_left_out(processor, caplog):
    whole = TrainingSamples(examples(), processor)
    limit = sorted(whole.lengths)[9]
    with caplog.at_level("WARNING"):
        kept = TrainingSamples(examples(), processor, max_length=limit)
    assert 0 < len(kept) < 16 and "left out" in caplog.text
    assert all(len(kept[i]["input_ids"]) <= limit + 12 for i in range(len(kept)))
    with pytest.raises(ValueError, match="longer than 3"):
        TrainingSamples(examples(), processor, max_length=3)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"duration_conditioning": ()}, "`duration_conditioning` must be"),
        ({"duration_conditioning": ("both",)}, "`duration_conditioning` must be"),
        ({"reference_share": 2.0}, "at least 0 and at most 1"),
        ({"sequence_dropout": -0.1}, "`sequence_dropout` must be a number of at least 0 and at most 1"),
        ({"table": examples().remove_columns("speaker"), "reference_share": 1.0}, "`speaker`"),
        ({"table": examples().select([])}, "no examples"),
        (
            {"table": examples().map(lambda example: {"codes": [example["codes"][0][:4]]})},
            r"Example 0 .* \(frames, 8\), got \(1, 4\)",
        ),
        (
            {"table": examples().map(lambda example: {"codes": [[32] * 8]})},
            "Example 0 .* between 0 and 31, got 32 to 32",
        ),
    ],
)
def test_bad_samples(processor, changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSamples(**{"table": examples(), "processor": processor} | changes)


def arguments(folder, **changes) -> TrainingArguments:
    settings = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "report_to": "none",
        "remove_unused_columns": False,
        "use_cpu": True,
        "save_steps": 4,
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 1,
    }
    return TrainingArguments(output_dir=str(folder), **(settings | changes))


def trainer_of(folder, dataset, processor, **changes) -> Trainer:
    return Trainer(
        MossTTSDelayModel.from_pretrained(GOLDEN_TTS),
        arguments(folder, **changes),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(8)),
        train_dataset=dataset,
        processing_class=processor,
    )


def test_trainer_takes_examples_of_datasets_as_they_are(processor, tmp_path):
    both = interleave_datasets([examples(), examples(4)], probabilities=[0.5, 0.5], seed=0)
    trainer = trainer_of(tmp_path, both, processor, max_steps=8)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    MossTTSDelayModel.from_pretrained(tmp_path / "checkpoint-8")


def test_trainer_groups_samples_by_length(processor, tmp_path):
    samples = TrainingSamples(examples(), processor, reference_share=0.5)
    trainer = trainer_of(
        tmp_path, samples, processor, train_sampling_strategy="group_by_length", num_train_epochs=2, save_steps=100
    )
    trainer.train()
    assert trainer.state.global_step == 16
    assert samples.epoch == 1


def test_what_was_learned_by_heart_is_generated(processor, tmp_path):
    """Prompt, labels, delay pattern, generation and decoding agree: a model that knows its examples speaks their codes."""
    table = examples(2)
    samples = TrainingSamples(table, processor)
    config = processor.model_config
    config = type(config)(**config.to_dict() | {"language_config": config.language_config.to_dict()})
    torch.manual_seed(0)
    trainer = Trainer(
        MossTTSDelayModel(config),
        arguments(tmp_path, max_steps=100, learning_rate=5e-3, per_device_train_batch_size=4, save_steps=1000),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(8)),
        train_dataset=samples,
    )
    trainer.train()
    model = trainer.model.eval()
    for tokens in (None, "set"):
        inputs = processor(
            text=list(table["text"]),
            language="English",
            tokens=None if tokens is None else [len(codes) for codes in table["codes"]],
        )
        outputs = model.generate(
            **inputs, text_temperature=0.0, audio_temperature=0.0, max_new_tokens=40, return_dict_in_generate=True
        )
        for codes, example in zip(outputs.audio_codes, table):
            assert codes.tolist() == example["codes"]


@pytest.mark.parametrize("max_shard_size", ["1GB", "20KB"])
def test_load_state_dict_takes_released_names(tmp_path, max_shard_size):
    """`Trainer` resumes and loads the best model so, and only warns of what it could not load."""
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    torch.manual_seed(0)
    fresh = MossTTSDelayModel(model.config)
    for path in sorted(tmp_path.glob("*.safetensors")):
        result = fresh.load_state_dict(load_file(path), strict=False)
        assert not result.unexpected_keys
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], tensor, atol=0, rtol=0, msg=name)
    fresh.load_state_dict(model.state_dict())
