"""The scripts that adapt the tiny models to a speaker, a step each, on noise and random weights."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from examples.tiny_family import measure_adaptation
from examples.tiny_family.adapt_speaker import load_model
from examples.tiny_family.align_readings import align, retime
from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.training import load_table


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    runpy.run_path(str(ROOT / "examples" / "benchmarks" / "random_checkpoint.py"))["build_random_checkpoint"](folder)
    return folder


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Four recordings of anna, of 0.96 s in whole frames, and one of ben."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "recordings"
    folder.mkdir()
    examples = []
    for number in range(5):
        save_audio(draw.normal(0, 0.1, 24000).astype(np.float32), folder / f"{number}.wav", 24000)
        examples.append(
            {"audio": f"{number}.wav", "text": f"Number {number}.", "speaker": "anna" if number else "ben"}
        )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    return folder


def run(script: str, *arguments: object) -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_module(f"examples.tiny_family.{script}", run_name="__main__")
    return printed.getvalue()


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_model_that_lies_in_half_precision_trains_in_another(bf16, dtype):
    assert load_model(str(bundled_model()), bf16).dtype == dtype


def test_a_generator_learns_a_speaker_from_what_it_clones(checkpoint, recordings, tmp_path):
    (tmp_path / "sentences.txt").write_text("One.\nTwo.\nThree.\n")
    table, output = tmp_path / "cloned.parquet", tmp_path / "run"
    # Random weights say nothing that a recognizer could judge.
    options = ["--worst", "inf", "--speaker", "anna", "--minutes", 0.06, "--max-new-tokens", 250]
    arguments = [recordings, tmp_path / "sentences.txt", "--model", checkpoint, "--output", table]
    assert "3 recordings" in run("clone_sentences", *arguments, *options)
    cloned = load_table(table)
    assert set(cloned["text"]) <= {"One.", "Two.", "Three."} and set(cloned["speaker"]) == {"anna"}

    options = ["--steps", 1, "--eval-steps", 1, "--batch-size", 2, "--strength", 0.3, "--reference-share", 0.5]
    run("adapt_speaker", table, "--model", checkpoint, "--output", output, *options)
    for name in ("checkpoint-1", "adapter"):
        config = json.loads((output / name / "adapter_config.json").read_text())
        assert config["lora_alpha"] == pytest.approx(0.3 * 2 * config["r"])


def test_a_codec_learns_a_speaker(recordings, tmp_path):
    aligned, output = tmp_path / "aligned", tmp_path / "run"
    aligned.mkdir()
    save_audio(np.random.default_rng(1).normal(0, 0.1, 23040).astype(np.float32), aligned / "0.flac", 24000)
    example = {"audio": "0.flac", "text": "One.", "codes": [[1, 2, 3, 4]] * 12, "cost": 0.1}
    (aligned / "metadata.jsonl").write_text(json.dumps(example) + "\n")
    codec = bundled_model("moss-audio-tokenizer-tiny")
    arguments = [recordings, "--codec", codec, "--codebooks", 4, "--output", output, "--minutes", 0.06]
    options = ["--steps", 1, "--batch-size", 2, "--crop-frames", 8, "--strength", 0.5, "--shifts", 0, "--aligned"]
    assert "3 recordings of 0.1 minutes" in run("adapt_codec", *arguments, *options, aligned)
    config = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert config["lora_alpha"] == config["r"]
    speak = measure_adaptation.load_pipeline(str(bundled_model()), None, output / "adapter")
    assert speak("Hello.", generate_kwargs={"max_new_tokens": 20, "seed": 0})["audio"].size


def test_a_recording_is_timed_as_a_reading():
    speech = load_audio(ROOT / "examples/assets/reference.ogg", 24000)[:36000]
    half = len(speech) // 2
    # Slower at first, then faster.
    parts = [librosa.effects.time_stretch(part, rate=r) for part, r in ((speech[:half], 0.8), (speech[half:], 1.25))]
    said = np.concatenate(parts)

    def mel(waveform: np.ndarray) -> np.ndarray:
        """50 frames a second, as the encoder of a recognizer has."""
        return np.log(librosa.feature.melspectrogram(y=waveform, sr=24000, hop_length=480) + 1e-3).T

    cost, moments = align(mel(speech), mel(said))
    assert cost < align(mel(speech[::-1].copy()), mel(said))[0]
    timed = retime(speech, moments, 24000, len(said))
    assert timed.shape == said.shape
    evenly = librosa.effects.time_stretch(speech, rate=len(speech) / len(said))
    evenly = np.pad(evenly, (0, max(0, len(said) - len(evenly))))[: len(said)]
    assert np.abs(mel(timed) - mel(said)).mean() < 0.8 * np.abs(mel(evenly) - mel(said)).mean()


def test_what_an_adapter_changed_is_told(tmp_path, monkeypatch):
    run_folder = tmp_path / "run"
    (run_folder / "checkpoint-2").mkdir(parents=True)
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    (run_folder / "checkpoint-2" / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    (tmp_path / "sentences.txt").write_text("One.\nTwo.\n")
    spoken = []

    class Speaker:
        processor = type("Processor", (), {"save_audio": lambda self, audio, path: path.write_bytes(b"")})()

        def __call__(self, chat, generate_kwargs):
            spoken.append(chat[0]["content"])
            return {"audio": None}

    def evaluate(model, suite, folder, progress):
        value = {"value": 0.1 * len(spoken), "low": 0.0, "high": 1.0}
        return {"groups": {"all": {"sim": value, "wer": value}}}

    monkeypatch.setattr(measure_adaptation, "load_pipeline", lambda *arguments: Speaker())
    monkeypatch.setattr(measure_adaptation, "evaluate", evaluate)
    command = ["measure", run_folder, tmp_path / "sentences.txt", "a.wav", "b.wav", "--model", "model"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    measure_adaptation.main()
    table = (run_folder / "measured" / "adaptation.md").read_text()
    assert "| no reference | 0.200 [0.000, 1.000] | 0.600 [0.000, 1.000] | 20.0 %" in table
    assert (run_folder / "measured" / "adaptation.png").stat().st_size > 5000
    # Two sentences before and after, without a reference and with one.
    assert len(spoken) == 8 and [len(content) for content in spoken] == [1, 1, 2, 2] * 2
