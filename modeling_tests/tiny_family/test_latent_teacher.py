"""The teacher that speaks in the codec's latents, on renderings that are made up."""

from types import SimpleNamespace

import numpy as np
import torch
from datasets import Dataset
from tiny_models import small_codec

from examples.tiny_family import latent_teacher
from examples.tiny_family.corpus import WarpedVoice
from examples.tiny_family.latent_teacher import (
    SLOTS,
    LatentTeacher,
    Rendering,
    collate,
    sounds_of,
    teacher_loss,
    track_of,
    voice_vector,
)


def rendering(num_frames: int, seed: int, codec) -> Rendering:
    draw = np.random.default_rng(seed)
    waveform = 0.1 * draw.standard_normal(num_frames * codec.config.downsample_rate).astype(np.float32)
    slots = num_frames * SLOTS
    sounds = draw.standard_normal((slots, 5)).astype(np.float32)
    return Rendering(waveform, draw.integers(0, 9, slots), sounds, voice_vector(WarpedVoice.number(seed)))


def test_sounds_are_those_of_the_pulses():
    f0 = np.concatenate([np.full(40, 120.0), np.zeros(40)])
    waveform = np.concatenate([np.full(12000, 0.1), np.zeros(12000)]).astype(np.float32)
    sounds = sounds_of(f0, waveform, 100)
    pitch, is_voiced, cosine, sine, loudness = sounds[:45].T
    np.testing.assert_allclose(pitch, np.log(120 / 150), atol=1e-6)
    assert is_voiced.all() and (loudness > 0).all()
    # 1.2 periods a slot of 10 ms.
    turns = np.diff(np.unwrap(np.arctan2(sine, cosine))) / (2 * np.pi)
    np.testing.assert_allclose(turns % 1, 0.2, atol=1e-3)
    assert (sounds[55:, :4] == 0).all() and (sounds[55:, 4] < -1).all()


def test_a_track_says_what_is_said_when():
    track = track_of([0, 5, 7, 0], np.array([1.0, 2.0, 4.0, 1.0]), 16)
    assert track.tolist() == [0, 0, 5, 5, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]


def test_the_teacher_learns_and_chooses_codes_of_the_codec():
    torch.manual_seed(0)
    codec = small_codec()
    width = codec.config.quantizer_kwargs["input_dim"]
    teacher = LatentTeacher(9, width, width=32, num_blocks=2)
    # Padding must count for nothing, so the sentences have different lengths.
    renderings = [rendering(frames, seed, codec) for seed, frames in enumerate((5, 8))]
    batch = collate(renderings)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = teacher_loss(teacher, codec, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    # Codes are those that the codec's codebooks have for the latents.
    with torch.no_grad():
        encoded = codec.encode(torch.from_numpy(renderings[0].waveform)[None], num_quantizers=2)
    teacher.forward = lambda *features: encoded.encoder_hidden_states.transpose(1, 2)
    assert torch.equal(teacher.codes(renderings[0], codec, 2), encoded.audio_codes[:, 0].t())


def test_another_voice_is_another_latent():
    teacher = LatentTeacher(9, 6, width=16, num_blocks=1).eval()
    codec = small_codec()
    one, other = rendering(3, 0, codec), rendering(3, 0, codec)
    other.voice = voice_vector(WarpedVoice.number(11))
    batches = [collate([item]) for item in (one, other)]
    outputs = [teacher(batch["phonemes"], batch["sounds"], batch["voices"]) for batch in batches]
    assert not torch.allclose(*outputs) and outputs[0].shape == (1, 3, 6)


def test_a_table_of_sentences_in_voices(tmp_path, monkeypatch):
    """With a synthesizer that is made up: a phoneme a letter, and nothing for two sentences at once."""
    codec = small_codec()
    codec.save_pretrained(tmp_path / "codec")
    made_up = SimpleNamespace(hibari=SimpleNamespace(vocab={letter: 1 + index for index, letter in enumerate("ab ")}))
    made_up.phonemes = lambda text: None if "." in text[:-1] else text.lower().strip(".")

    def render(phonemes: str, voice: WarpedVoice, speed: float, seed: int) -> Rendering:
        made = rendering(6, seed, codec)
        made.phonemes = np.minimum(made.phonemes, 3)
        made.durations = np.ones(len(phonemes) + 2)
        return made

    renderer = SimpleNamespace(reader=made_up, render=render)
    monkeypatch.setattr(latent_teacher, "Renderer", lambda frame_samples: renderer)
    (tmp_path / "teacher").mkdir()
    teacher = latent_teacher.build_teacher(renderer, codec)
    torch.save({"module": teacher.state_dict()}, tmp_path / "teacher" / "state.pt")
    count = latent_teacher.render_table(tmp_path, tmp_path / "codec", ["Ab ba.", "A. B.", "Ba ab."], n_vq=2, limit=3)
    examples = list(Dataset.from_parquet(str(tmp_path / "codes.parquet"), cache_dir=str(tmp_path / "cache")))
    assert count == 3 and [example["text"] for example in examples] == ["Ab ba.", "Ab ba.", "Ba ab."]
    assert len({example["speaker"] for example in examples[:2]}) == 2
    for example in examples:
        assert np.shape(example["codes"]) == np.shape(example["recorded_codes"]) == (6, 2)
        assert [item["symbol"] for item in example["phonemes"]] == [
            letter for letter in example["text"].lower() if letter in "ab"
        ]
        assert example["seconds"] == 0.48 and example["reading"][-1] == [0.48, 1.0]
