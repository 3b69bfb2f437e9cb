"""`moss-tts --stream`: played, piped and written while it is generated."""

import io
import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

from transformers_moss_tts import MossTTSDelayModel, cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.max_new_tokens = 24
    model.generation_config.text_temperature = 0.0  # it speaks at every seed
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def said(folder) -> list[str]:
    # Random weights are no speech: what their guards say is accepted.
    return ["hello world", "--model", folder, "--seed", "3", "--stream", "--allow-cut"]


def piped(said, capfdbinary, *more) -> bytes:
    assert cli.main([*said, "-o", "-", *more]) == 0
    output = capfdbinary.readouterr()
    assert b"first after" in output.err and b"ahead" in output.err
    return output.out


def test_a_pipe_gets_what_a_file_gets(said, tmp_path, capfdbinary):
    wave, raw = piped(said, capfdbinary), piped(said, capfdbinary, "--raw")
    (tmp_path / "piped.wav").write_bytes(wave)
    samples, rate = soundfile.read(tmp_path / "piped.wav", dtype="int16")
    assert rate == 24000 and len(samples) > 0
    assert wave[4:8] == b"\xff" * 4 and wave.endswith(raw) and samples.tobytes() == raw
    assert cli.main([*said, "-o", str(tmp_path / "new" / "file.flac"), "--quiet"]) == 0
    written = soundfile.read(tmp_path / "new" / "file.flac", dtype="int16")[0]
    assert written.shape == samples.shape and np.abs(written.astype(int) - samples).max() <= 1


def test_a_player_gets_the_samples(said, tmp_path, monkeypatch, capfdbinary):
    expected = piped(said, capfdbinary, "--raw")
    player = tmp_path / "aplay"
    player.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/options\ncat > {tmp_path}/played\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert cli.main(said) == 0
    assert (tmp_path / "played").read_bytes() == expected
    assert (tmp_path / "options").read_text().split()[-4:] == ["-r", "24000", "-c", "1"]
    assert not list(tmp_path.glob("*.wav"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert cli.main(said) == 2
    assert b"no program that plays streams" in capfdbinary.readouterr().err


def test_a_text_is_spoken_while_it_is_written(folder, tmp_path):
    command = [
        sys.executable,
        "-m",
        "moss_tts_command",
        "--stream",
        "-o",
        "-",
        "--raw",
        "--model",
        folder,
        "--seed",
        "3",
    ]
    process = subprocess.Popen(
        [*command, "--allow-cut"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    kill = threading.Timer(200, process.kill)
    kill.start()
    try:
        process.stdin.write("hello wörld. And".encode())
        process.stdin.flush()
        # The first sentence is heard while the second is written.
        first = process.stdout.read(3840)
        rest, error = process.communicate(b" more.")
    finally:
        kill.cancel()
    assert len(first) == 3840 and len(rest) > 0 and process.returncode == 0, error


def test_a_closed_pipe_ends_it_quietly(said):
    read, write = os.pipe()
    command = [sys.executable, "-m", "moss_tts_command", *said, "-o", "-", "--quiet"]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.read(read, 44)
    os.close(read)
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 141
    assert b"moss-tts:" not in error and b"Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hi", "-o", "-"], "give `--stream` too"),
        (["hi", "-o", "a.wav", "--raw"], "`--stream -o -` too"),
        (["hi", "--stream", "--quiet"], "plays nothing"),
        (["hi", "--stream", "--timings", "a.srt"], "takes no `--timings`"),
        (["--stream", "--text-file", "-", "--duration", "2", "-o", "-"], "sentence by sentence"),
    ],
)
def test_options_without_effect_are_refused(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_guard_that_acts_is_named(folder, tmp_path, capsys):
    arguments = ["hello world", "--model", folder, "--stream", "--seed", "3", "--max-new-tokens", "13"]
    assert cli.main([*arguments, "-o", str(tmp_path / "a.wav"), "--quiet"]) == 1
    assert "limit" in capsys.readouterr().err and soundfile.info(tmp_path / "a.wav").frames > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"", "the text is empty"), (b"hi [pause soon]", "is no pause"), (b"... !", "no digit"), (b"\xff", "UTF-8")],
)
def test_a_text_that_is_none_leaves_a_file_alone(folder, tmp_path, monkeypatch, capsys, text, message):
    file = tmp_path / "speech.wav"
    file.write_bytes(b"an earlier one")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert cli.main(["--stream", "--model", folder, "-o", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert file.read_bytes() == b"an earlier one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_a_full_disk_leaves_what_was_said(said, tmp_path, capsys, suffix):
    """A file that may grow no further gives the errors of a full disk."""
    file = tmp_path / f"speech{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        assert cli.main([*said, "-o", str(file)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{str(file)!r}" in capsys.readouterr().err
    assert 0 < len(soundfile.read(file)[0]) <= 4_000
    assert list(tmp_path.iterdir()) == [file]
