"""The speaker example from recordings to an adapter that the pipeline speaks with."""

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
from peft import PeftModel
from safetensors.torch import load_file
from transformers import pipeline

from examples.tiny_family.adapt_speaker import load_model
from examples.tiny_family.align_readings import align, features_of, retime
from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.evaluation import load_scorer
from transformers_moss_tts.training import load_table


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    runpy.run_path(str(ROOT / "examples" / "benchmarks" / "random_checkpoint.py"))["build_random_checkpoint"](folder)
    return folder


def run(*arguments: object, example: str = "adapt_speaker") -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [example, *map(str, arguments)])
        runpy.run_module(f"examples.tiny_family.{example}", run_name="__main__")
    return printed.getvalue()


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_model_that_lies_in_half_precision_trains_in_another(bf16, dtype):
    assert load_model(bundled_model(), bf16).dtype == dtype


def test_a_speaker_is_learned(checkpoint, tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for number in range(8):
        save_audio(draw.normal(0, 0.1, 24000).astype(np.float32), tmp_path / f"{number}.wav", 24000)
        rows.append({"audio": f"{number}.wav", "text": f"Number {number}.", "speaker": "anna" if number else "ben"})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "run"
    common = [tmp_path, "--model", checkpoint, "--output", output, "--speaker", "anna", "--minutes", 0.1]
    # Her seven recordings last 0.96 s each, in whole frames.
    printed = run(*common, "--language", "English", "--steps", 2, "--eval-steps", 1, "--batch-size", 2)
    assert "5 recordings of 0.1 minutes, 1 to evaluate with" in printed and "trainable params" in printed
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    losses = [entry["eval_loss_codebook_1"] for entry in state["log_history"] if "eval_loss_codebook_1" in entry]
    assert len(losses) == 3 and losses[0] != losses[2]

    speak = pipeline("text-to-speech", model=str(checkpoint))
    options = {"generate_kwargs": {"max_new_tokens": 40, "seed": 0}}
    plain = speak("Hello.", **options)["audio"]
    speak.model = PeftModel.from_pretrained(speak.model, output / "adapter")
    adapted = speak("Hello.", **options)["audio"]
    assert plain.shape != adapted.shape or not np.array_equal(plain, adapted)

    sentences = tmp_path / "sentences.txt"
    sentences.write_text("Hello there.\nHow are you today?\n")
    printed = run(
        output,
        sentences,
        *(tmp_path / f"{n}.wav" for n in (6, 7)),
        "--model",
        checkpoint,
        example="measure_adaptation",
    )
    measured = output / "measured"
    table = (measured / "adaptation.md").read_text()
    assert table in printed and "| no reference |" in table and "| reference |" in table
    assert (measured / "adaptation.png").stat().st_size > 5000
    # Once for the model and once for each checkpoint.
    assert len(list(measured.glob("*/no_reference/*.wav"))) == 3 * 2


def test_a_codec_learns_a_speaker(checkpoint, tmp_path):
    draw = np.random.default_rng(0)
    codec = bundled_model("moss-audio-tokenizer-tiny")
    for number in range(4):
        save_audio(draw.normal(0, 0.1, 24000).astype(np.float32), tmp_path / f"{number}.wav", 24000)
        (tmp_path / f"{number}.txt").write_text(f"Number {number}.")
    output = tmp_path / "run"
    arguments = [tmp_path, "--codec", codec, "--codebooks", 4, "--output", output, "--minutes", 0.06]
    options = ["--steps", 2, "--batch-size", 2, "--crop-frames", 8, "--save-steps", 1, "--strength", 0.5]
    printed = run(*arguments, *options, example="adapt_codec")
    assert "3 recordings of 0.1 minutes" in printed
    settings = [
        json.loads((output / name / "adapter_config.json").read_text()) for name in ("checkpoint-2", "adapter")
    ]
    assert [setting["lora_alpha"] for setting in settings] == [0.5 * 2 * settings[0]["r"]] * 2
    assert all(name.startswith(("decoder.4.", "decoder.6.")) for name in settings[0]["target_modules"])

    speak = pipeline("text-to-speech", model=bundled_model())
    options = {"generate_kwargs": {"max_new_tokens": 40, "seed": 0}}
    plain = speak("Hello.", **options)["audio"]
    speak.processor.audio_tokenizer = PeftModel.from_pretrained(speak.processor.audio_tokenizer, output / "adapter")
    adapted = speak("Hello.", **options)["audio"]
    assert plain.shape == adapted.shape and not np.array_equal(plain, adapted)

    sentences = tmp_path / "sentences.txt"
    sentences.write_text("Hello there.\nHow are you today?\n")
    recordings = [tmp_path / "2.wav", tmp_path / "3.wav"]
    run(output, sentences, *recordings, "--model", bundled_model(), "--codec", example="measure_adaptation")
    assert (output / "measured" / "adapter" / "no_reference" / "000.wav").exists()


def test_a_generator_learns_from_what_it_clones(tmp_path):
    voices = [
        Path(bundled_model("moss-audio-tokenizer-tiny-bm-george"), "voice.ogg"),
        ROOT / "examples/assets/reference.ogg",
    ]
    rows = [{"audio": str(voice), "text": "Hello.", "speaker": "anna"} for voice in voices]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sentences = ["The birds sing in the morning.", "He went to the city.", "The children play in the garden."]
    (tmp_path / "sentences.txt").write_text("\n".join([*sentences, "Xqvzt prrk dlmn wfffg."]))
    table, output = tmp_path / "cloned.parquet", tmp_path / "run"
    arguments = [tmp_path, tmp_path / "sentences.txt", "--model", bundled_model(), "--output", table]
    run(*arguments, "--worst", "inf", example="clone_sentences")
    assert len(load_table(table)) == 4
    printed = run(*arguments, "--worst", 0.8, example="clone_sentences")
    cloned = load_table(table)
    # What no one understands is no example of how to speak.
    assert 2 <= len(cloned) <= 3 and set(cloned["text"]) <= set(sentences)
    assert f"{len(cloned)} of 4 sentences" in printed

    common = [table, "--model", bundled_model(), "--output", output, "--eval-steps", 1, "--batch-size", 2]
    for steps in (1, 2):
        # The second run goes on from the checkpoint of the first.
        run(*common, "--steps", steps, "--strength", 0.3, "--reference-share", 0.5)
    for name in ("checkpoint-1", "checkpoint-2", "adapter"):
        config = json.loads((output / name / "adapter_config.json").read_text())
        assert config["lora_alpha"] == pytest.approx(0.3 * 2 * config["r"])
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    # Each run evaluates where it begins.
    assert [entry["step"] for entry in state["log_history"] if "eval_loss" in entry] == [0, 1, 1, 2]

    recordings = [tmp_path / "sentences.txt", *voices, "--model", bundled_model(), "--count", 2]
    spoken = []
    for options in ([], ["--codec-adapter", voices[0].parent]):
        run(output, *recordings, *options, example="measure_adaptation")
        measured = output / "measured"
        spoken.append(
            [load_audio(measured / name / "no_reference" / "000.wav", 24000) for name in ("before", "adapter")]
        )
        measured.rename(output / f"measured_{len(spoken)}")
    (before, generator), (before_again, both) = spoken
    # It says the same, in another voice, and only after the adaptation.
    assert np.array_equal(before, before_again)
    assert generator.shape == both.shape and not np.array_equal(generator, both)


def test_a_recording_is_timed_as_a_reading():
    encoder = load_scorer("asr", "whisper-base-short")
    speech, other = (
        load_audio(path, 24000)
        for path in (
            ROOT / "examples/assets/reference.ogg",
            Path(bundled_model("moss-audio-tokenizer-tiny-bm-george"), "voice.ogg"),
        )
    )
    half = len(speech) // 2
    # Slower at first, then faster.
    parts = [
        librosa.effects.time_stretch(speech[:half], rate=0.8),
        librosa.effects.time_stretch(speech[half:], rate=1.25),
    ]
    said = np.concatenate(parts)
    features = [features_of(waveform, 24000, encoder) for waveform in (speech, said, other)]
    cost, moments = align(features[0], features[1])
    assert cost < 0.3 < align(features[2], features[1])[0]
    timed = retime(speech, moments, 24000, len(said))

    def distance(waveform: np.ndarray) -> float:
        mels = [librosa.feature.melspectrogram(y=part[: len(said)], sr=24000) for part in (waveform, said)]
        return np.abs(np.subtract(*(np.log(mel + 1e-3) for mel in mels))).mean()

    assert timed.shape == said.shape
    evenly = librosa.effects.time_stretch(speech, rate=len(speech) / len(said))
    assert distance(timed) < 0.7 * distance(np.pad(evenly, (0, 4800)))


def test_a_codec_learns_from_what_a_generator_says(tmp_path):
    speak = pipeline("text-to-speech", model=bundled_model())
    for number, text in enumerate(("The birds sing in the morning.", "The children play in the garden.")):
        speech = speak(text, generate_kwargs={"max_new_tokens": 80, "seed": 1})
        speak.processor.save_audio(speech["audio"], tmp_path / f"{number}.wav")
        (tmp_path / f"{number}.txt").write_text(text)
    aligned = tmp_path / "aligned"
    arguments = [tmp_path, "--model", bundled_model(), "--output", aligned, "--readings", 2]
    printed = run(*arguments, "--worst", 0.5, example="align_readings")
    rows = load_table(aligned)
    assert 1 <= len(rows) <= 4 and f"{len(rows)} of 4 readings" in printed
    samples = 24000 // 12.5
    assert all(len(load_audio(row["audio"], 24000)) == samples * len(row["codes"]) for row in rows)

    common = [tmp_path, "--codec", bundled_model("moss-audio-tokenizer-tiny"), "--codebooks", 4, "--crop-frames", 8]
    adapters = []
    for options in ([], ["--aligned", aligned, "--aligned-share", 1.0]):
        output = tmp_path / f"run_{len(adapters)}"
        run(*common, "--output", output, "--steps", 2, "--batch-size", 2, *options, example="adapt_codec")
        adapters.append(load_file(output / "adapter" / "adapter_model.safetensors"))
    assert any(not torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])
