"""The command `moss-tts`, as a process of its own and through its entry point."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

from transformers_moss_tts import MossTTSDelayModel, cli
from transformers_moss_tts.audio_io import save_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.max_new_tokens = 40
    model.generation_config.text_temperature = 0.0  # it speaks at every seed
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return str(folder)


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess:
    command = os.path.join(os.path.dirname(sys.executable), "moss-tts")
    return subprocess.run([command, *arguments], input=text, capture_output=True, text=True, timeout=300)


def test_a_text_becomes_a_file(folder, tmp_path):
    target = tmp_path / "new" / "hello.wav"
    result = run("Hello there.", "-o", str(target), "--model", folder, "--seed", "3", "--duration", "1")
    assert result.returncode == 0, result.stderr
    waveform, rate = soundfile.read(target)
    assert rate == 24000 and len(waveform) > 0
    assert str(target) in result.stdout and "real time" in result.stdout
    assert "speaking" in result.stderr and "/12 " in result.stderr


def test_the_bundled_model_speaks_without_model(tmp_path):
    target = tmp_path / "hello.wav"
    assert cli.main(["Hello there.", "-o", str(target), "--quiet"]) == 0
    waveform, rate = soundfile.read(target)
    assert rate == 24000 and 0.5 < len(waveform) / rate < 5 and np.abs(waveform).max() > 0.05


def test_text_comes_from_standard_input_or_a_file(folder, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("hello world\n", encoding="utf-8")
    common = ["--model", folder, "--seed", "3", "--quiet"]
    assert cli.main(["hello world", "-o", str(tmp_path / "argument.wav"), *common]) == 0
    assert cli.main(["speak", "hello world", "-o", str(tmp_path / "command.wav"), *common]) == 0
    assert cli.main(["--text-file", str(tmp_path / "text.txt"), "-o", str(tmp_path / "file.wav"), *common]) == 0
    for name, arguments in (("dash", ["--text-file", "-"]), ("pipe", [])):
        monkeypatch.setattr("sys.stdin", io.StringIO("hello world\n"))
        assert cli.main([*arguments, "-o", str(tmp_path / f"{name}.wav"), *common]) == 0
    expected = soundfile.read(tmp_path / "argument.wav")[0]
    for name in ("command", "file", "dash", "pipe"):
        np.testing.assert_array_equal(soundfile.read(tmp_path / f"{name}.wav")[0], expected)


def test_reference_language_and_seed_count(folder, tmp_path, capsys):
    save_audio(np.random.default_rng(0).normal(0, 0.1, 9600).astype(np.float32), tmp_path / "voice.wav", 24000)
    spoken = {}
    for name, options in {
        "plain": [],
        "again": [],
        "seed": ["--seed", "4"],
        "reference": ["--reference", str(tmp_path / "voice.wav")],
        "language": ["--language", "English"],
    }.items():
        target = tmp_path / f"{name}.wav"
        assert cli.main(["hello world", "-o", str(target), "--model", folder, "--quiet", "--seed", "3", *options]) == 0
        spoken[name] = soundfile.read(target)[0]
    np.testing.assert_array_equal(spoken["plain"], spoken["again"])
    for name in ("seed", "reference", "language"):
        assert len(spoken[name]) != len(spoken["plain"]) or not np.allclose(spoken[name], spoken["plain"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["  "], "nothing to say"),
        (["--text-file", "missing.txt"], "missing.txt"),
        (["hello", "--reference", "missing.wav"], "missing.wav"),
        (["hello", "--model", "missing/model"], "missing/model"),
        (["hello", "-o", "hello.xyz"], "xyz"),
    ],
)
def test_what_cannot_be_done_is_said(folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["-o", "hello.wav", "--model", folder, "--quiet", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("moss-tts: ") and message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["hello"], ["hello", "-o", "a.wav", "--duration", "0"], ["hello", "--text-file", "a.txt", "-o", "a.wav"]],
)
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2


def test_help_has_examples():
    result = run("--help")
    assert result.returncode == 0
    assert "examples:" in result.stdout and "exit codes:" in result.stdout
    assert all(f"moss-tts {name}" in result.stdout for name in cli.COMMANDS)
