"""Training of the codec: data, losses, codebooks, and runs that stop and go on."""

import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from tiny_models import tiny_codec, tiny_stereo_codec

from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.training import CodecTrainer, CodecTrainingArguments, RandomCrops, load_recordings
from transformers_moss_tts.training.codec.codebook_refresh import CodebookAverager, CodebookRefresher
from transformers_moss_tts.training.codec.discriminators import CodecDiscriminator
from transformers_moss_tts.training.codec.losses import (
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)


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
        "crop_seconds": 0.2,
        "warmup_steps": 2,
        "save_steps": 3,
        "eval_steps": 3,
    }
    settings |= {"logging_steps": 1, "discriminator_width": 0.05, "codebook_patience": 2}
    return CodecTrainingArguments(output_dir=str(folder), **(settings | changes))


def train(folder, model=None, **changes) -> MossAudioTokenizerModel:
    trainer = CodecTrainer(model or small_model(), arguments(folder, **changes), tones(), tones(2))
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model)


def test_crops_follow_from_seed_number_and_process():
    crops = RandomCrops(tones(), 160, 3, seed=1)
    assert torch.equal(crops.batch(4), RandomCrops(tones(), 160, 3, seed=1).batch(4))
    assert not torch.equal(crops.batch(4), crops.batch(5))
    shares = [RandomCrops(tones(), 160, 3, seed=1, process_index=i, num_processes=2) for i in range(2)]
    assert torch.equal(shares[0].batch(2), crops.batch(4)) and torch.equal(shares[1].batch(2), crops.batch(5))


def test_batches_that_fit_no_memory_are_refused():
    with pytest.raises(ValueError, match="`crop_samples` 100000000 times `batch_size` 2 must be at most"):
        RandomCrops(tones(), 10**8, 2, seed=1)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1 and at most 9"):
        RandomCrops(tones(), 10, 10**400, seed=1)


def test_short_recordings_are_padded():
    batch = RandomCrops([np.full(50, 1000, np.int16)], 80, 2, seed=0).batch(0)
    assert batch.shape == (2, 80)
    assert (batch[:, :50] > 0).all() and (batch[:, 50:] == 0).all()


def test_broken_recordings_are_listed_and_left_out(tmp_path, caplog):
    save_audio(np.zeros(800, np.float32), tmp_path / "good.wav", RATE)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    with caplog.at_level("WARNING"):
        recordings = load_recordings([tmp_path / "good.wav", tmp_path / "broken.wav"], RATE)
    assert len(recordings) == 1 and "1 of 2" in caplog.text and "broken.wav" in caplog.text
    with pytest.raises(ValueError, match="None of the 1"):
        load_recordings([tmp_path / "broken.wav"], RATE)


def test_discriminators_learn_and_judge():
    torch.manual_seed(0)
    judge = CodecDiscriminator(periods=(2, 3), windows=(128,), width=0.05)
    recordings = torch.sin(torch.arange(1001) * 0.3).expand(2, -1) + 0.01 * torch.randn(2, 1001)
    decoded = torch.randn(2, 1001, requires_grad=True)
    judgement = judge(recordings)
    assert len(judgement) == 3 and all(len(features) > 4 for features in judgement)
    assert feature_matching_loss(judgement, judge(recordings)) == 0
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3)
    before = discriminator_loss(judge(recordings), judge(decoded.detach())).item()
    for _ in range(40):
        optimizer.zero_grad()
        discriminator_loss(judge(recordings), judge(decoded.detach())).backward()
        optimizer.step()
    assert discriminator_loss(judge(recordings), judge(decoded.detach())) < 0.3 * before
    # What it has learned to tell apart costs the codec more than a recording would.
    assert adversarial_loss(judge(decoded)) > 2 * adversarial_loss(judge(recordings))
    (gradient,) = torch.autograd.grad(adversarial_loss(judge(decoded)), decoded)
    assert gradient.abs().max() > 0


def test_dead_codes_are_moved_to_the_data():
    model = small_model().train()
    refresher = CodebookRefresher(model, patience=2)
    crops = torch.randn(2, 800)

    def step():
        with refresher.observe():
            model(crops)
        return refresher.refresh()

    before = model.quantizer.quantizers[0].codebook.weight.clone()
    assert step() == 4 * 16  # the first batch fills every entry
    assert not torch.equal(model.quantizer.quantizers[0].codebook.weight, before)
    moves = [step() for _ in range(6)]
    assert moves[0] == moves[1] == 0 and sum(moves) < 6 * 64
    with torch.no_grad():
        codes = model(crops).audio_codes
    assert len(codes[0].unique()) > 4


def test_codebooks_become_the_averages_of_the_vectors_that_choose_them():
    model = small_model().train()
    averager = CodebookAverager(model, decay=0.5)
    quantizer = model.quantizer.quantizers[0]
    hidden_states = torch.randn(2, model.config.quantizer_kwargs["input_dim"], 40)
    lengths = torch.tensor([40, 40])
    distances = []
    for _ in range(60):
        with averager.observe():
            _, codes, _, distance = model.quantizer(hidden_states, lengths, 4)
        averager.refresh()
        distances.append(distance.item())
    assert distances[-1] < 0.5 * distances[0]
    vectors = quantizer.in_proj(model.quantizer.input_proj(hidden_states)).transpose(1, 2).flatten(0, 1)
    for code in codes[0].unique():
        mean = vectors[codes[0].flatten() == code].mean(0)
        torch.testing.assert_close(quantizer.codebook.weight[code], mean, atol=1e-3, rtol=0)
    assert not quantizer.codebook.weight.requires_grad


def test_losses_of_no_weight_are_left_out(tmp_path):
    trainer = CodecTrainer(
        small_model(), arguments(tmp_path, loss_weights={"complex_stft": 0.0, "waveform": 0.0}), tones(), tones(2)
    )
    trainer.train()
    assert set(trainer.evaluate()) == {"mel"}


def test_the_decoder_alone_learns_while_codes_stay(tmp_path):
    before = small_model().eval()
    after = train(tmp_path, frozen_parts=("encoder", "quantizer"), learning_rate=1e-2).eval()
    waveform = torch.from_numpy(tones(1)[0]).float()[None] / 32767
    with torch.no_grad():
        expected, got = before(waveform), after(waveform)
    assert torch.equal(got.audio_codes, expected.audio_codes)
    assert (got.audio - expected.audio).abs().max() > 1e-3
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert changed and all(name.startswith(("decoder.", "quantizer.output_proj.")) for name in changed)


@pytest.mark.parametrize(
    "changes", [{}, {"adversarial_start": 2}, {"codebook_decay": 0.9}, {"frozen_parts": ["encoder", "quantizer"]}]
)
def test_a_resumed_run_gives_the_same_weights(tmp_path, changes):
    whole = train(tmp_path / "whole", **changes)
    trainer = CodecTrainer(small_model(), arguments(tmp_path / "parts", **changes), tones(), tones(2))
    finish, trainer.args.max_steps = trainer.args.max_steps, 3
    trainer.train()
    assert finish == 6
    torch.manual_seed(99)  # whatever happens between the two
    parts = train(tmp_path / "parts", model=small_model(7), **changes)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, atol=0, rtol=0, msg=name)


def test_what_a_run_leaves_behind(tmp_path):
    (tmp_path / "tmp-checkpoint-3").mkdir(parents=True)  # of a run that was killed while it saved
    model = train(tmp_path, max_steps=9)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-9"]
    assert json.loads((tmp_path / "checkpoint-9" / "trainer_state.json").read_text())["step"] == 9
    loaded = MossAudioTokenizerModel.from_pretrained(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=0, rtol=0)
    samples = sorted(path.name for path in (tmp_path / "samples" / "step_0000009").iterdir())
    assert samples == ["0.png", "0_decoded.wav", "0_recording.wav", "1.png", "1_decoded.wav", "1_recording.wav"]
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_training_reduces_the_loss(tmp_path):
    trainer = CodecTrainer(
        small_model(),
        arguments(tmp_path, max_steps=30, learning_rate=5e-3, save_steps=30, eval_steps=30),
        tones(),
        tones(2),
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["mel"] < 0.8 * before["mel"]


def test_a_semantic_loss_reaches_the_encoder(tmp_path):
    seen = []

    def semantic_loss(states, crops):
        seen.append((tuple(states.shape), tuple(crops.shape)))
        return states.pow(2).mean()

    model = small_model()
    trainer = CodecTrainer(model, arguments(tmp_path, max_steps=1), tones(), semantic_loss=semantic_loss)
    trainer.train()
    assert seen == [((2, 12, 200), (2, 1600))]


class TextHead(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(12, 1)

    def forward(self, states, crops):
        return (self.linear(states.transpose(1, 2)) - 1).pow(2).mean()


def test_the_parameters_of_a_semantic_loss_are_trained_and_saved(tmp_path):
    torch.manual_seed(0)
    head = TextHead()
    before = head.linear.weight.detach().clone()
    CodecTrainer(small_model(), arguments(tmp_path, max_steps=3), tones(), semantic_loss=head).train()
    assert not torch.equal(head.linear.weight, before)
    fresh = TextHead()
    CodecTrainer(small_model(), arguments(tmp_path, max_steps=3), tones(), semantic_loss=fresh).train()
    assert torch.equal(fresh.linear.weight, head.linear.weight)


def train_one_of_two(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    model = train(folder, adversarial_start=2, codebook_decay=0.9)
    torch.save(model.state_dict(), os.path.join(folder, f"{rank}.pt"))


def test_two_processes_keep_the_same_weights(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    multiprocessing.spawn(train_one_of_two, args=(port, str(tmp_path)), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    fresh = small_model().state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=0, rtol=0, msg=name)
    assert any(not torch.equal(fresh[name], tensor) for name, tensor in one.items())
    assert (tmp_path / "checkpoint-6").is_dir()


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"max_steps": 0}, "max_steps"),
        ({"crop_seconds": 0.0}, "crop_seconds"),
        ({"loss_weights": {"phase": 1.0}}, "phase"),
    ],
)
def test_bad_arguments(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **changes)


def test_an_autoencoder_trains_around_the_quantizer(tmp_path):
    before = small_model().eval()
    trainer = CodecTrainer(small_model(), arguments(tmp_path, autoencoder=True, learning_rate=1e-2), tones(), tones(1))
    trainer.train()
    after = trainer.accelerator.unwrap_model(trainer.model).eval()
    for old, new in zip(before.quantizer.quantizers.parameters(), after.quantizer.quantizers.parameters()):
        assert torch.equal(old, new)
    # What it reports is without the quantizer, what the model does afterwards is with it.
    waveform = torch.from_numpy(tones(1)[0]).float()[None] / 32767
    with torch.no_grad():
        states = after.encode(waveform).encoder_hidden_states
        assert after(waveform).quantized_states.shape == states.shape
        assert (after(waveform).quantized_states - states).abs().max() > 1e-3


@pytest.mark.parametrize("part", ["encoder", "quantizer", "decoder"])
def test_a_frozen_part_stays(tmp_path, part):
    before = small_model().state_dict()
    after = train(tmp_path, frozen_parts=[part], learning_rate=1e-2, max_steps=2).state_dict()
    names = {
        "encoder": ("encoder.",),
        "quantizer": ("quantizer.input_proj.", "quantizer.quantizers."),
        "decoder": ("quantizer.output_proj.", "decoder."),
    }
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and not any(name.startswith(names[part]) for name in changed)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frozen_parts": ["head"]}, "unknown parts"),
        ({"frozen_parts": ["encoder", "quantizer", "decoder"]}, "not all"),
        ({"loss_weights": {"mel": 0.0, "complex_stft": 0.0, "waveform": 0.0}}, "above 0"),
    ],
)
def test_arguments_that_train_nothing_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **changes)


def test_a_callback_ends_a_run_that_goes_on_later(tmp_path):
    seen = []

    def stop_at_second(trainer: CodecTrainer, losses: dict[str, torch.Tensor]) -> bool:
        seen.append((trainer.step, float(losses["mel"])))
        return trainer.step == 2

    trainer = CodecTrainer(small_model(), arguments(tmp_path), tones(), step_callback=stop_at_second)
    trainer.train()
    assert [step for step, _ in seen] == [1, 2] and (tmp_path / "checkpoint-2").is_dir()
    trainer = CodecTrainer(small_model(), arguments(tmp_path), tones())
    trainer.train()
    assert trainer.step == 6


def test_discriminators_are_chosen(tmp_path):
    options = {"adversarial_start": 0, "discriminator_periods": [], "discriminator_windows": [128]}
    trainer = CodecTrainer(small_model(), arguments(tmp_path, **options), tones())
    assert len(trainer.discriminator.discriminators) == 1
    trainer.train()


def test_codecs_of_two_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one channel, and this one has 2"):
        CodecTrainer(tiny_stereo_codec(), arguments(tmp_path), tones())
