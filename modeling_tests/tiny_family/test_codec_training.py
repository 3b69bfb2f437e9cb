"""Codec training by phonemes and by given codes."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_codec

from examples.tiny_family.codec_training import LabelledCrops, TimedCodecTrainer
from examples.tiny_family.phonetic_loss import phoneme_classes, phoneme_track
from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.training import CodecTrainingArguments, RandomCrops


RATE = 8000


def small_model(seed: int = 0) -> MossAudioTokenizerModel:
    """The tiny codec at a rate at which there is something to hear: 8 kHz, 8 samples a frame."""
    return tiny_codec(seed, sampling_rate=RATE, causal_transformer_context_duration=0.05, quantizer_dropout=0.5)


def tones(count: int = 6, seconds: float = 0.601) -> list[np.ndarray]:
    time = np.arange(int(RATE * seconds)) / RATE
    draw = np.random.default_rng(0)
    return [
        (8000 * np.sin(2 * np.pi * draw.uniform(100, 900) * time) * draw.uniform(0.3, 1)).astype(np.int16)
        for _ in range(count)
    ]


def arguments(folder, **changes) -> CodecTrainingArguments:
    settings = {
        "max_steps": 6,
        "batch_size": 2,
        "crop_seconds": 0.4,
        "warmup_steps": 2,
        "save_steps": 3,
        "eval_steps": 3,
    }
    settings |= {"logging_steps": 1, "discriminator_width": 0.05, "codebook_patience": 2}
    return CodecTrainingArguments(output_dir=str(folder), **(settings | changes))


def test_half_of_the_crops_are_decoded_from_given_codes(tmp_path):
    recordings = tones(3, 0.3)  # shorter than a crop
    codes = [np.full((len(recordings[0]) // 8, 2), number + 1) for number in range(3)]
    options = arguments(tmp_path, frozen_parts=("encoder", "quantizer"), batch_size=4)
    trainer = TimedCodecTrainer(small_model(), options, recordings, codes=codes)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.quantizer.dropout = 0.0
    crops, given = trainer.crops.batch(0), trainer.crops.labels(0, codes, 8, padding=-1)
    with torch.no_grad():
        own, trained = model.eval()(crops), model.train()(crops)
        expected = model.quantizer.decode(given.clamp(min=0).permute(2, 0, 1))
    frames = len(codes[0])
    torch.testing.assert_close(trained.quantized_states[:2, :, :frames], expected[:2, :, :frames])
    assert (trained.quantized_states[:2] - own.quantized_states[:2])[..., :frames].abs().max() > 1e-2
    # After the end of a recording, in the other half, and whenever it is not trained the codec's own codes are decoded.
    torch.testing.assert_close(trained.quantized_states[:, :, frames:], own.quantized_states[:, :, frames:])
    torch.testing.assert_close(trained.quantized_states[2:], own.quantized_states[2:])
    trainer.train()
    assert trainer.step == 6


def test_given_codes_need_a_decoder_that_learns_alone(tmp_path):
    codes = [np.zeros((10, 2), dtype=int)]
    with pytest.raises(ValueError, match="frozen_parts"):
        TimedCodecTrainer(small_model(), arguments(tmp_path), tones(1), codes=codes)
    with pytest.raises(ValueError, match="got 1 of 2"):
        TimedCodecTrainer(
            small_model(), arguments(tmp_path, frozen_parts=("encoder", "quantizer")), tones(2), codes=codes
        )


def test_crops_start_at_hops():
    ramp = np.arange(1, 3000, dtype=np.int16)
    starts = {
        int(crop[0] * 32767 + 0.5) - 1
        for n in range(9)
        for crop in LabelledCrops(RandomCrops([ramp], 80, 4, 0), 16).batch(n)
    }
    assert len(starts) > 20 and all(start % 16 == 0 for start in starts)


def test_phonemes_become_tracks():
    said = [("k", 0.1, 0.2), ("a", 0.2, 0.32), ("t", 0.4, 0.5), ("a", 0.7, 0.8)]
    phonemes = [{"symbol": symbol, "start": start, "end": end} for symbol, start, end in said]
    classes = phoneme_classes([phonemes, None])
    assert classes == {"a": 1, "k": 2, "t": 3}
    # Of ten slots a second; the short gap before t is a transition, the long one after it silence.
    assert phoneme_track(phonemes, 10, 10, classes).tolist() == [0, 2, 1, 1, 3, 0, 0, 1, 0, 0]
    assert (phoneme_track(None, 3, 10, classes) == -1).all()


def test_labels_belong_to_the_crops():
    ramps = [np.arange(100, 100 + length, dtype=np.int16) for length in (50, 90, 120)]
    crops = LabelledCrops(RandomCrops(ramps, 80, 4, seed=0), 1)
    labels = crops.labels(3, [ramp[::8] for ramp in ramps], 8, padding=7)
    samples = (crops.batch(3) * 32767).round().long()
    assert labels.shape == (4, 10)
    is_speech = samples[:, ::8] > 0
    assert ((labels - samples[:, ::8])[is_speech].abs() <= 4).all() and (labels[~is_speech] == 7).all()
    assert not is_speech.all()


def test_the_first_codebook_learns_phonemes(tmp_path):
    """Each recording is one phoneme, so that the loss can fall to nothing; and each is heard in every frame, by its level."""
    recordings = [np.full(4808, level, np.int16) for level in (-20000, 2000, 20000)]
    phonemes = [[{"symbol": symbol, "start": 0.0, "end": 1.0}] for symbol in "abc"]
    settings = {"max_steps": 60, "learning_rate": 1e-2, "save_steps": 60, "eval_steps": 60, "logging_steps": 60}
    weights = {"complex_stft": 0.0, "waveform": 0.0, "mel": 1.0, "semantic": 8.0}
    trainer = TimedCodecTrainer(
        small_model(),
        arguments(tmp_path, codebook_decay=0.9, loss_weights=weights, **settings),
        [*recordings, tones(4)[3]],
        phonemes=[*phonemes, None],
    )
    losses = []
    step = trainer._train_step
    trainer._train_step = lambda crops: losses.append(step(crops)) or losses[-1]
    trainer.train()
    phonetic = torch.stack([values["semantic"].detach() for values in losses])
    assert phonetic[-10:].median() < 0.7 * phonetic[:5].median()
    # A second run goes on with the head that it had.
    again = TimedCodecTrainer(small_model(1), arguments(tmp_path, codebook_decay=0.9), recordings, phonemes=phonemes)
    again._resume()
    torch.testing.assert_close(again.semantic_loss.head.linear.weight, trainer.semantic_loss.head.linear.weight)


@pytest.mark.parametrize("phonemes,message", [([None], "1 of 6"), ([None] * 6, "any recording")])
def test_bad_phonemes(tmp_path, phonemes, message):
    with pytest.raises(ValueError, match=message):
        TimedCodecTrainer(small_model(), arguments(tmp_path), tones(), phonemes=phonemes)
