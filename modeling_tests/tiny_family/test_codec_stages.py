"""The stages of the codec of the family, with small widths on synthetic voices."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset

from examples.tiny_family import codec_stages
from examples.tiny_family.__main__ import main
from examples.tiny_family.corpus import RATE, WarpedVoice, read_sentences, read_source, unread, write_source
from examples.tiny_family.progress import Progress
from examples.tiny_family.spectral_latents import (
    FRAME,
    LATENT,
    LOUDNESS_EXPONENT,
    NUM_WAVE,
    SpectralLatents,
    convolved,
    integrated,
    mel_levels,
    whole_frames,
)
from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.utils.pitch import pitch_agreement


def voices(count: int, seed: int):
    """Harmonic tones whose F0 glides."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        f0 = np.linspace(draw.uniform(90, 220), draw.uniform(90, 220), 2 * RATE)
        phase = 2 * np.pi * np.cumsum(f0) / RATE
        yield None, f"voice {number}", sum(np.sin(k * phase) / k for k in range(1, 15)) * 0.1


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A run folder with a corpus, and stages a fraction as wide, of few steps."""
    monkeypatch.setattr(codec_stages, "ENCODER", ((64, 2, 1, 64),) * 4)
    monkeypatch.setattr(codec_stages, "DECODER", ((64, 2, 1, 64),) * 4)
    monkeypatch.setattr(codec_stages, "be_modest", lambda: None)
    # The trainer's own tests look at the pictures.
    monkeypatch.setattr("transformers_moss_tts.training.codec.trainer.draw_spectrograms", lambda *arguments: None)
    config = codec_stages.build_config()
    config.quantizer_kwargs |= {"num_quantizers": 4, "codebook_size": 32}
    # Levels and the waveform in turn.
    monkeypatch.setattr(codec_stages, "CODED", 2 * codec_stages.CODED[1:3])
    monkeypatch.setattr(codec_stages, "build_config", lambda: config)
    for name, count in (("hibari", 4), ("kokoro_held_out", 2)):
        write_source(tmp_path / "corpus", name, voices(count, len(name)))
    return tmp_path


def test_the_codec_of_the_family_has_the_promised_size():
    config = codec_stages.build_config()
    model = MossAudioTokenizerModel(config)
    assert 11e6 < sum(parameter.numel() for parameter in model.parameters()) <= 12e6
    assert (config.sampling_rate, config.frame_rate, config.num_quantizers) == (24000, 12.5, 16)


def test_stages_follow_each_other_and_go_on_where_they_stopped(small, monkeypatch):
    monkeypatch.setattr("examples.tiny_family.progress.LINE_SECONDS", 0)
    run = ["--run", str(small)]
    main([*run, "codebooks"])
    stop = small / "decoder" / "STOP"
    stop.parent.mkdir()
    stop.touch()
    main([*run, "decoder", "--steps", "3", "--batch-size", "2"])
    assert not stop.exists() and (small / "decoder" / "checkpoint-1").is_dir()
    main([*run, "decoder", "--steps", "3", "--batch-size", "2"])
    lines = [json.loads(line) for line in (small / "decoder" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    # The start has a pitch at once, other than that of the patches.
    assert lines[-1]["f0_accuracy"] > 0.4 and lines[-1]["mel_rmse"] > 0 and {"mel", "complex_stft"} <= set(lines[-1])
    main([*run, "encoder", "--steps", "1", "--batch-size", "2"])
    main([*run, "encoder", "--steps", "3", "--batch-size", "2"])
    lines = [json.loads(line) for line in (small / "encoder" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 1, 2, 3, 3] and {"held_out_wave", "held_out_levels"} <= set(
        lines[0]
    )
    monkeypatch.setattr("examples.tiny_family.progress.LINE_SECONDS", 60)
    models = {
        name: MossAudioTokenizerModel.from_pretrained(small / name / "model").state_dict()
        for name in ("codebooks", "decoder", "encoder")
    }
    for name in ("decoder", "encoder"):
        before, after = models["codebooks"], models[name]
        changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
        assert changed and all(key.startswith(f"{name}.") for key in changed)
    main([*run, "together", "--steps", "1", "--batch-size", "2"])
    main([*run, "adversarial", "--steps", "1", "--batch-size", "2"])
    monkeypatch.setattr(codec_stages, "SPOKEN_SOURCES", {"hibari": 1.0})
    main([*run, "spoken", "--steps", "2", "--batch-size", "2"])
    before, after = (
        MossAudioTokenizerModel.from_pretrained(small / name / "model").state_dict()
        for name in ("adversarial", "spoken")
    )
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed and all(key.startswith("decoder.") for key in changed)
    # The learned encoder is part of what comes after it.
    start = MossAudioTokenizerModel.from_pretrained(small / "adversarial" / "model").state_dict()
    key = "encoder.7.output_proj.weight"
    torch.testing.assert_close(start[key], models["encoder"][key], atol=1e-3, rtol=0)
    assert not torch.equal(models["encoder"][key], models["codebooks"][key])


def test_codebooks_begin_with_the_weights_of_another_codec(small):
    main(["--run", str(small), "codebooks"])
    main(["--run", str(small), "decoder", "--steps", "1", "--batch-size", "2"])
    decoder = small / "decoder" / "model"
    main(["--run", str(small / "next"), "--corpus", str(small / "corpus"), "codebooks", "--model", str(decoder)])
    old, new = (
        MossAudioTokenizerModel.from_pretrained(folder).state_dict()
        for folder in (decoder, small / "next" / "codebooks" / "model")
    )
    key = "decoder.0.transformer.layers.0.linear1.weight"
    assert torch.equal(old[key], new[key])


def test_codes_of_the_corpus_need_the_codebooks_alone(small, monkeypatch):
    monkeypatch.setattr(codec_stages, "READ_SOURCES", ("kokoro", "warped"))
    write_source(
        small / "corpus",
        "kokoro",
        [("Say this.", "af", np.pad(next(voices(1, 3))[2], (0, 100))), ("Not this.", "af", np.zeros(RATE))],
    )
    held_out = small / "held_out.txt"
    held_out.write_text("not this!\n")
    run = ["--run", str(small)]
    main([*run, "codebooks"])
    main([*run, "codes", "--held-out", str(held_out), "--codebooks", "3"])
    (example,) = (
        line for line in Dataset.from_parquet(str(small / "recorded_codes.parquet")) if line["speaker"] == "af"
    )
    codes = torch.tensor(example["codes"])
    assert example["text"] == "Say this." and codes.shape == (26, 3) and example["seconds"] == pytest.approx(26 * 0.08)
    # Decoded by the codebooks they are near the latents.
    model = MossAudioTokenizerModel.from_pretrained(small / "codebooks" / "model")
    latents = SpectralLatents.load(small / "latents.safetensors")
    (_, recordings) = read_source(small / "corpus", "kokoro")
    expected = latents(whole_frames(recordings[0])[None])[0]
    decoded = model.quantizer.decode(codes[: len(expected)].t()[:, None])[0].t()
    assert (decoded - expected).pow(2).sum() < 0.3 * expected.pow(2).sum()

    # Those of a finished codec are its encoder's, and need no run that made it.
    other = small / "other"
    other.mkdir()
    arguments = ["--run", str(other), "--corpus", str(small / "corpus"), "codes", "--held-out", str(held_out)]
    main([*arguments, "--codebooks", "3", "--model", str(small / "codebooks" / "model")])
    (example,) = Dataset.from_parquet(str(other / "recorded_codes.parquet"), cache_dir=str(small / "cache"))
    encoded = model.eval().encode(
        whole_frames(np.pad(recordings[0], (0, -len(recordings[0]) % FRAME)))[None], num_quantizers=3
    )
    assert example["codes"] == encoded.audio_codes[:, 0].t().tolist() != codes.tolist()


def test_codes_of_what_was_added_to_the_corpus_join_those_that_are_there(small, monkeypatch):
    class FakeReader:
        def times(self, text: str, is_warped: bool, seconds: float) -> dict:
            phonemes = [{"symbol": "a", "start": 0.0, "end": seconds}]
            return {"reading": [[0.0, 0.0], [seconds, 1.0]], "phonemes": phonemes}

    def read(amplitude: float):
        for index, (_, _, waveform) in enumerate(voices(4, 5)):
            yield f"Sentence {index}.", "hibari", amplitude * waveform

    monkeypatch.setattr(codec_stages, "Reader", FakeReader)
    corpus = small / "corpus"
    main(["--run", str(small), "codebooks"])
    (corpus / "hibari.jsonl").unlink()
    (corpus / "hibari.i16").unlink()
    write_source(corpus, "hibari", read(1), hours=3 / 3600)
    write_source(corpus, "kokoro", [("Sentence 9.", "af", next(voices(1, 3))[2])])
    codes = ["--run", str(small), "codes", "--codebooks", "3"]
    main(codes)
    first = Dataset.from_parquet(str(small / "recorded_codes.parquet")).to_list()
    # More of it, louder: not the sentences that are there, and at the loudness of the others.
    later = (utterance for utterance in read(2) if utterance[0] in ("Sentence 2.", "Sentence 3."))
    write_source(corpus, "hibari", later, hours=7 / 3600)
    main(codes)
    both = Dataset.from_parquet(str(small / "recorded_codes.parquet"), cache_dir=str(small / "cache")).to_list()
    assert [len(first), len(both)] == [3, 5] and both[:3] == first
    assert {example["text"] for example in both} == {f"Sentence {index}." for index in (0, 1, 2, 3, 9)}
    assert all((example["phonemes"] is None) == (example["speaker"] == "af") for example in both)
    (_, recordings) = read_source(corpus, "hibari")
    at_once = codec_stages.at_loudness(whole_frames(recordings[2]))
    assert at_once.square().mean().sqrt() == pytest.approx(codec_stages.LOUDNESS, rel=1e-4)
    model = codec_stages.begin_stage("decoder", small).eval()
    expected = model.encode(at_once[None], num_quantizers=3).audio_codes[:, 0].t().tolist()
    assert next(example for example in both if example["text"] == "Sentence 2.")["codes"] == expected


def test_latents_hold_what_is_heard_of_a_frame():
    recordings = [(waveform * 32767).astype(np.int16) for _, _, waveform in voices(12, 5)]
    latents = SpectralLatents.fit(recordings[:8])
    waveform = whole_frames(recordings[8])
    values = latents(waveform[None])[0]
    assert values.shape == (len(waveform) // FRAME, LATENT) and 0.5 < values.pow(2).mean() < 2
    # The wave that is left of the frames has the pitch of the recording.
    wave = values[:, :NUM_WAVE] / latents.scales[0]
    wave = wave * wave.norm(dim=-1, keepdim=True) ** (1 / LOUDNESS_EXPONENT - 1)
    low = (wave @ latents.wave.t()).flatten().numpy()
    assert pitch_agreement(waveform.numpy(), low, RATE)["f0_accuracy"] > 0.9
    # The levels are those of the recording, and twice the amplitude is 6 dB more.
    levels = (values[:, NUM_WAVE:] / latents.scales[1]) @ latents.levels.t() + latents.mean
    expected = mel_levels(waveform).view(len(levels), -1)
    assert (levels - expected).pow(2).mean().sqrt() < 3
    louder = mel_levels(2 * waveform) - mel_levels(waveform)
    torch.testing.assert_close(louder.median(), torch.tensor(6.02), atol=0.01, rtol=0)


def test_latents_see_nothing_that_comes_later(tmp_path):
    draw = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(1, 4 * FRAME, generator=draw)
    latents = SpectralLatents.fit([(waveform[0] * 32767).numpy().astype(np.int16)])
    latents.save(tmp_path / "latents.safetensors")
    latents = SpectralLatents.load(tmp_path / "latents.safetensors")
    torch.testing.assert_close(latents(waveform)[:, :2], latents(waveform[:, : 2 * FRAME]))
    torch.testing.assert_close(convolved(waveform), integrated(waveform))


def test_a_stage_waits_while_it_is_paused(tmp_path, monkeypatch):
    pause, slept = tmp_path / "pause", []
    pause.touch()
    monkeypatch.setenv("TINY_FAMILY_PAUSE", str(pause))
    monkeypatch.setattr("examples.tiny_family.progress.time.sleep", lambda seconds: (slept.append(1), pause.unlink()))
    progress = Progress(tmp_path / "stage", dict)
    assert progress.step(1, {"mel": 1.0}, lambda: None) is False
    assert slept == [1]


def test_a_state_is_written_every_ten_minutes(tmp_path, monkeypatch):
    clock = iter([0.0, 599.0, 601.0, 700.0])
    monkeypatch.setattr("examples.tiny_family.progress.time.monotonic", lambda: next(clock))
    progress, saved = Progress(tmp_path, dict), []
    for number in range(3):
        progress.step(number, {}, lambda number=number: saved.append(number))
    assert saved == [1]


def test_sources_are_read_back_as_they_were_written(tmp_path):
    write_source(tmp_path, "tones", voices(3, 0), hours=3 / 3600)
    lines, recordings = read_source(tmp_path, "tones")
    # Two of two seconds are more than three seconds.
    assert [line["speaker"] for line in lines] == ["voice 0", "voice 1"]
    expected = [waveform for _, _, waveform in voices(2, 0)]
    for recording, waveform in zip(recordings, expected):
        np.testing.assert_allclose(recording / 32767, waveform.clip(-1, 1), atol=1e-4)
    # Those that come later are read on from there; what a call that was cut off left is overwritten.
    with open(tmp_path / "tones.i16", "ab") as samples:
        samples.write(b"cut")
    write_source(tmp_path, "tones", voices(1, 1), hours=5 / 3600)
    write_source(tmp_path, "tones", voices(1, 2), hours=5 / 3600)
    write_source(tmp_path, "tones", voices(1, 2))
    lines, recordings = read_source(tmp_path, "tones")
    assert len(lines) == 3
    np.testing.assert_allclose(recordings[2] / 32767, next(voices(1, 1))[2].clip(-1, 1), atol=1e-4)
    with pytest.raises(ValueError, match="make the corpus first"):
        codec_stages.load_sources(tmp_path, ("hibari",))


def test_a_source_goes_on_with_the_sentence_after_its_last(tmp_path):
    sentences = ["One.", "Two.", "Three."]
    assert unread(sentences, tmp_path, "hibari") == sentences
    write_source(tmp_path, "hibari", iter([("Two.", "hibari", np.zeros(RATE))]))
    assert unread(sentences, tmp_path, "hibari") == ["Three."]
    with pytest.raises(ValueError, match="not among the sentences now"):
        unread(["Three."], tmp_path, "hibari")


def test_glosses_become_sentences_without_the_held_out_ones(tmp_path, monkeypatch):
    gloss = '00001 | a dwelling (or home) that   serves as living quarters; "he has a good reputation"; "rape it and kill it"\n'
    (tmp_path / "data.noun").write_text(gloss, encoding="latin1")
    monkeypatch.setattr("examples.tiny_family.corpus.WORDNET", tmp_path)
    assert sorted(read_sentences(None)) == [
        "A dwelling that serves as living quarters.",
        "He has a good reputation.",
    ]
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("He has a good reputation\n")
    assert read_sentences(held_out) == ["A dwelling that serves as living quarters."]


def test_warped_voices_differ_and_stay_the_same():
    assert WarpedVoice.number(7) == WarpedVoice.number(7) != WarpedVoice.number(8)
    pitches = [WarpedVoice.number(number).pitch for number in range(50)]
    assert 0.5 <= min(pitches) < 0.6 and 1.2 < max(pitches) <= 1.35
