"""The teacher of codes: what it hears, that it learns a rule and speaks by it, and what it refuses."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from examples.tiny_family.code_teacher import CodeTeacher, sound_features
from examples.tiny_family.phonetic_loss import phoneme_classes


FRAME_RATE = 12.5  # Hz


def say(symbols: str, speaker: str, draw: np.random.Generator) -> dict:
    """An example in which each phoneme lasts a frame and code: its number, plus ten for the second speaker; then whether it is high."""
    high = draw.integers(0, 2, len(symbols))
    phonemes = [
        {"symbol": symbol, "start": index / FRAME_RATE, "end": (index + 1) / FRAME_RATE}
        for index, symbol in enumerate(symbols)
    ]
    codes = [["abc".index(symbol) + 10 * (speaker == "bob"), pitch] for symbol, pitch in zip(symbols, high)]
    sounds = np.stack([high, np.zeros(len(high)), high, np.zeros(len(high))], axis=1).tolist()
    return {"phonemes": phonemes, "sounds": sounds, "speaker": speaker, "codes": codes, "frame_rate": FRAME_RATE}


def examples(count: int, seed: int) -> list[dict]:
    draw = np.random.default_rng(seed)
    return [
        say("".join(draw.choice(list("abc"), draw.integers(3, 9))), ("ann", "bob")[index % 2], draw)
        for index in range(count)
    ]


def new_teacher(**changes) -> CodeTeacher:
    torch.manual_seed(0)
    settings = {"speakers": ["ann", "bob"], "n_vq": 2, "codebook_size": 16, "width": 32}
    return CodeTeacher(phoneme_classes(example["phonemes"] for example in examples(9, 0)), **settings | changes)


def test_it_learns_what_phonemes_pitch_and_speakers_say_about_codes(tmp_path):
    teacher = new_teacher()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=150,
        per_device_train_batch_size=16,
        learning_rate=1e-2,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(teacher, arguments, data_collator=teacher.collate, train_dataset=examples(200, 1)).train()
    teacher.eval()
    others = examples(6, 2)
    batch = teacher.collate(others)
    assert teacher(**batch)["loss"] < 0.1
    # It is given no codes to speak: another example's leave what it chooses as it is.
    batch["labels"] = torch.where(batch["labels"] == -100, -100, 3)
    for example, codes in zip(others, teacher.generate(**batch)):
        assert codes.tolist() == example["codes"]


def test_padding_changes_nothing():
    teacher = new_teacher().eval()
    short, long = examples(2, 3)
    together = teacher.generate(**teacher.collate([short, long]))
    assert len(together[0]) != len(together[1])
    for example, codes in zip((short, long), together):
        assert torch.equal(codes, teacher.generate(**teacher.collate([example]))[0])
    sums = [teacher(**teacher.collate([example]))["loss"] * len(example["codes"]) for example in (short, long)]
    both = teacher(**teacher.collate([short, long]))["loss"] * (len(short["codes"]) + len(long["codes"]))
    torch.testing.assert_close(both, sum(sums))


def test_unknown_speakers_and_phonemes_are_refused():
    teacher, example = new_teacher(), examples(1, 0)[0]
    with pytest.raises(ValueError, match=r"Unknown speakers: eve\. Known are ann, bob"):
        teacher.collate([example | {"speaker": "eve"}])
    with pytest.raises(ValueError, match="Unknown phonemes: z"):
        teacher.collate([example | {"phonemes": [{"symbol": "z", "start": 0.0, "end": 0.1}]}])


def test_pitch_and_loudness_are_measured():
    rate, num_frames = 24000, 10
    time = np.arange(rate) / rate
    rising = np.where(time < 0.4, np.sin(2 * np.pi * 120 * time), 0.1 * np.sin(2 * np.pi * 240 * time))
    features = sound_features(rising.astype(np.float32), rate, num_frames, FRAME_RATE).reshape(num_frames, 2, 2)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.exp(features[1:4, :, 0]) * 150, 120, rtol=0.02)
    np.testing.assert_allclose(np.exp(features[6:9, :, 0]) * 150, 240, rtol=0.02)
    # A tenth of the amplitude, in the scale of the features.
    np.testing.assert_allclose(features[2, 0, 1] - features[7, 0, 1], np.log(10) / 3, atol=0.01)
    # A recording that ends within its last frame is filled up.
    assert sound_features(rising[:100].astype(np.float32), rate, 2, FRAME_RATE).shape == (2, 4)
