"""Guided attention: what it rewards, and that a generator follows it."""

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tiny_models import GOLDEN_TTS, golden_processor
from transformers import TrainingArguments

from examples.tiny_family.guided_training import (
    GuidedDataCollator,
    GuidedTrainer,
    TimedSamples,
    guided_attention_loss,
)
from examples.tiny_family.phonetic_loss import phoneme_classes, phoneme_track
from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.training import MossTTSDataCollator, encode_sample


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
    example = {"text": "z one two", "codes": torch.randint(0, 32, (10, 8))}
    seconds = 10 / processor.frame_rate
    known = example | {"reading": [[0.0, 0.0], [0.5 * seconds, 0.2], [seconds, 1.0]]}
    batch = GuidedDataCollator(processor)([known, example])
    first, second = batch["reading"]
    assert first.shape == batch["input_ids"].shape[1:2] and second.isnan().all()
    expected = torch.tensor([0.02, 0.06, 0.1, 0.14, 0.18, 0.28, 0.44, 0.6, 0.76, 0.92])
    torch.testing.assert_close(first[~first.isnan()], expected)
    # Those are the positions that predict the first codebook of the frames.
    kept = batch["labels"].shape[1]
    assert torch.equal(~first[-kept:].isnan(), batch["labels"][0, :, 1] != -100)
    assert "reading" not in MossTTSDataCollator(processor)([known, example])


PHONEMES = [{"symbol": symbol, "start": 0.1 * i, "end": 0.1 * i + 0.1} for i, symbol in enumerate("abcba")]
TEXT = "z one two three q"


def guided_trainer(folder, phonemes: bool, max_steps: int, **options) -> GuidedTrainer:
    processor = golden_processor()
    example = {"text": TEXT, "reading": [[0.0, 0.0], [0.9, 1.0]], "phonemes": PHONEMES}
    torch.manual_seed(0)
    examples = [example | {"codes": torch.randint(0, 32, (12, 8)).tolist()} for _ in range(2)]
    text = processor.tokenizer.encode(TEXT, add_special_tokens=False)
    prompt = encode_sample(processor, examples[0])["input_ids"][:, 0].tolist()
    first = prompt.index(text[0])
    assert prompt[first : first + len(text)] == text and prompt.index(text[-1]) == first + len(text) - 1
    return GuidedTrainer(
        MossTTSDelayModel.from_pretrained(GOLDEN_TTS, attn_implementation="eager"),
        TrainingArguments(
            str(folder),
            max_steps=max_steps,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            per_device_train_batch_size=2,
            remove_unused_columns=False,
            save_steps=5,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
            **options,
        ),
        data_collator=GuidedDataCollator(processor, phoneme_classes=phoneme_classes([PHONEMES]) if phonemes else None),
        train_dataset=TimedSamples(Dataset.from_list(examples), processor, duration_conditioning=(False,)),
        token_characters=torch.ones(len(processor.tokenizer), dtype=torch.long),
        text_bounds=(text[0], text[-1]),  # neither is in the template
        guided_layers=(0, 1),
    )


@pytest.mark.parametrize("phonemes", [False, True])
def test_a_trainer_leads_the_heads_to_the_text_and_the_states_to_the_phonemes(tmp_path, phonemes):
    trainer = guided_trainer(tmp_path, phonemes, max_steps=40)
    samples = trainer.train_dataset
    batch = trainer.data_collator([samples[0], samples[1]])
    plain = {name: value for name, value in batch.items() if name not in ("reading", "phonemes")}

    def guided_part() -> float:
        with torch.no_grad():
            return (trainer.compute_loss(trainer.model, batch) - trainer.model(**plain).loss).item()

    before = guided_part()
    trainer.train()
    trainer.model.eval()
    assert guided_part() < (0.35 if phonemes else 0.5) * before
    with pytest.raises(RuntimeError, match="size"):
        guided_attention_loss(torch.zeros(1, 1, 5, 5), *masks())


def test_the_phoneme_head_goes_on_where_it_was(tmp_path):
    whole = guided_trainer(tmp_path / "whole", True, max_steps=10)
    whole.train()
    guided_trainer(tmp_path / "parts", True, max_steps=5).train()
    # A compiled run leaves what one that is not can go on with.
    compiled = guided_trainer(
        tmp_path / "compiled", True, max_steps=5, torch_compile=True, torch_compile_backend="eager"
    )
    compiled.train()
    kept = [load_file(tmp_path / run / "checkpoint-5" / "phoneme_head.safetensors") for run in ("compiled", "parts")]
    assert kept[0].keys() == kept[1].keys()
    parts = guided_trainer(tmp_path / "parts", True, max_steps=10)
    parts.train(resume_from_checkpoint=True)
    for one, other in ((whole.model, parts.model), (whole.phoneme_head, parts.phoneme_head)):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], tensor, msg=name)
    # It is no part of the model.
    assert type(MossTTSDelayModel.from_pretrained(tmp_path / "parts" / "checkpoint-10")) is MossTTSDelayModel


def test_the_collator_gives_the_phonemes_of_each_frame():
    processor = golden_processor()
    example = {"text": TEXT, "codes": torch.randint(0, 32, (12, 8))}
    collator = GuidedDataCollator(processor, phoneme_classes=phoneme_classes([PHONEMES]))
    batch = collator([example | {"phonemes": PHONEMES}, example])
    assert batch["phonemes"].shape == (*batch["input_ids"].shape[:2], 8)
    first, second = batch["phonemes"]
    assert (second == -1).all()
    is_frame = (first != -1).all(-1)
    kept = batch["labels"].shape[1]
    assert torch.equal(is_frame[-kept:], batch["labels"][0, :, 1] != -100)
    slots = first[is_frame].flatten()
    numbers = {symbol: number for number, symbol in enumerate("abc", 1)}
    middle = [round((phoneme["start"] + 0.05) * 8 * processor.frame_rate) for phoneme in PHONEMES]
    expected = [numbers[phoneme["symbol"]] for phoneme, slot in zip(PHONEMES, middle) if slot < len(slots)]
    assert len(expected) >= 3 and [int(slots[slot]) for slot in middle if slot < len(slots)] == expected


def test_phonemes_become_tracks():
    said = [("k", 0.1, 0.2), ("a", 0.2, 0.32), ("t", 0.4, 0.5), ("a", 0.7, 0.8)]
    phonemes = [{"symbol": symbol, "start": start, "end": end} for symbol, start, end in said]
    classes = phoneme_classes([phonemes, None])
    assert classes == {"a": 1, "k": 2, "t": 3}
    # Of ten slots a second; the short gap before t is a transition, the long one after it silence.
    assert phoneme_track(phonemes, 10, 10, classes).tolist() == [0, 2, 1, 1, 3, 0, 0, 1, 0, 0]
    assert (phoneme_track(None, 3, 10, classes) == -1).all()
