"""Guided attention: what it rewards, and that a generator follows it."""

import pytest
import torch
from datasets import Dataset
from tiny_models import GOLDEN_TTS, golden_processor
from transformers import TrainingArguments

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.training import (
    GuidedDataCollator,
    GuidedTrainer,
    MossTTSDataCollator,
    TrainingSamples,
    encode_sample,
    guided_attention_loss,
)


def masks():
    num_characters, is_frame = torch.zeros(1, 12, dtype=torch.long), torch.zeros(1, 12, dtype=torch.bool)
    num_characters[:, 2:6] = 3
    is_frame[:, 7:11] = True
    return num_characters, is_frame


def attention_to(places: list[int]) -> torch.Tensor:
    attention = torch.zeros(1, 1, 12, 12)
    attention[..., 0] = 1.0
    for frame, place in enumerate(places):
        attention[0, 0, 7 + frame] = torch.nn.functional.one_hot(torch.tensor(place), 12).float()
    return attention


def test_the_diagonal_costs_nothing_and_other_places_do():
    diagonal = guided_attention_loss(attention_to([2, 3, 4, 5]), *masks())
    assert diagonal == 0
    near = guided_attention_loss(attention_to([2, 2, 3, 4]), *masks())
    far = guided_attention_loss(attention_to([5, 4, 3, 2]), *masks())
    elsewhere = guided_attention_loss(attention_to([0, 0, 0, 0]), *masks())
    assert 0 < near < far < elsewhere
    # With a frame of silence on either side the two in the middle read everything.
    places = attention_to([2, 2, 5, 5])
    with_silence = guided_attention_loss(places, *masks(), silence=(1, 1))
    assert with_silence < 0.6 * guided_attention_loss(places, *masks())
    # The pace is even in characters: a long token takes its share of the frames.
    num_characters, is_frame = masks()
    num_characters[:, 2] = 9
    long_token = [
        guided_attention_loss(attention_to(p), num_characters, is_frame) for p in ([2, 2, 4, 5], [2, 3, 4, 5])
    ]
    assert long_token[0] < long_token[1]


def test_a_known_reading_is_followed_instead_of_an_even_pace():
    reading = torch.full((1, 12), float("nan"))
    reading[:, 7:11] = (torch.tensor([0.0, 0.0, 0.0, 3.0]) + 0.5) / 4  # of 12 characters in 4 tokens
    slow_start = attention_to([2, 2, 2, 5])
    assert guided_attention_loss(slow_start, *masks(), reading) == 0
    assert guided_attention_loss(attention_to([2, 3, 4, 5]), *masks(), reading) > 0.5
    assert guided_attention_loss(slow_start, *masks()) > 0.5
    # Where it is not known the pace is even.
    reading[:, 8:10] = float("nan")
    assert guided_attention_loss(attention_to([2, 3, 4, 5]), *masks(), reading) == 0


def test_the_collator_gives_the_share_that_is_read_in_each_frame():
    processor = golden_processor()
    row = {"text": "z one two", "codes": torch.randint(0, 32, (10, 8))}
    seconds = 10 / processor.frame_rate
    known = row | {"reading": [[0.0, 0.0], [0.5 * seconds, 0.2], [seconds, 1.0]]}
    batch = GuidedDataCollator(processor)([known, row])
    first, second = batch["reading"]
    assert first.shape == batch["input_ids"].shape[1:2] and second.isnan().all()
    expected = torch.tensor([0.02, 0.06, 0.1, 0.14, 0.18, 0.28, 0.44, 0.6, 0.76, 0.92])
    torch.testing.assert_close(first[~first.isnan()], expected)
    # Those are the positions that predict the first codebook of the frames.
    kept = batch["labels"].shape[1]
    assert torch.equal(~first[-kept:].isnan(), batch["labels"][0, :, 1] != -100)
    assert "reading" not in MossTTSDataCollator(processor)([known, row])


def test_a_trainer_leads_the_heads_to_the_text(tmp_path):
    processor = golden_processor()
    reading = [[0.0, 0.0], [0.9, 1.0]]
    rows = [
        {"text": "z one two three q", "codes": torch.randint(0, 32, (12, 8)).tolist(), "reading": reading}
        for _ in range(2)
    ]
    samples = TrainingSamples(Dataset.from_list(rows), processor, serialisations=("none",))
    torch.manual_seed(0)
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS, attn_implementation="eager")
    text = processor.tokenizer.encode(rows[0]["text"], add_special_tokens=False)
    prompt = encode_sample(processor, rows[0])["input_ids"][:, 0].tolist()
    first = prompt.index(text[0])
    assert prompt[first : first + len(text)] == text and prompt.index(text[-1]) == first + len(text) - 1
    trainer = GuidedTrainer(
        model,
        TrainingArguments(
            str(tmp_path),
            max_steps=40,
            learning_rate=1e-2,
            per_device_train_batch_size=2,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=True,
        ),
        data_collator=GuidedDataCollator(processor),
        train_dataset=samples,
        token_characters=torch.ones(len(processor.tokenizer), dtype=torch.long),
        text_bounds=(text[0], text[-1]),  # neither is in the template
        guided_layers=(0, 1),
    )
    batch = trainer.data_collator([samples[0], samples[1]])
    plain = {name: value for name, value in batch.items() if name != "reading"}

    def guided_part() -> float:
        with torch.no_grad():
            return (trainer.compute_loss(model, batch) - model(**plain).loss).item()

    before = guided_part()
    trainer.train()
    model.eval()
    assert guided_part() < 0.5 * before
    with pytest.raises(RuntimeError, match="size"):
        guided_attention_loss(torch.zeros(1, 1, 5, 5), *masks())
