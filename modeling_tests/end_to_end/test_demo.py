"""The demos as their user runs them, with the bundled models, and what a speech recognizer understands of them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import soundfile
from transcription import transcribe, word_error_rate


ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "examples" / "assets" / "reference.ogg"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    # As `make demo` does.
    environment = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return result.stdout


def test_what_is_spoken_is_understood(tmp_path):
    printed = run("speak/demo.py", "--output", tmp_path)
    assert printed.count(" real time") == 2
    assert (tmp_path / "spectrograms.png").stat().st_size > 10_000
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "speak" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    paths = [tmp_path / "speech.wav", tmp_path / "cloned.wav"]
    assert all(1 < soundfile.info(path).duration < 10 for path in paths)
    heard = [transcribe(path) for path in paths]
    assert word_error_rate([demo.SENTENCE, demo.CLONED], heard) <= 0.25, heard


def test_the_decoded_recording_is_understood(tmp_path):
    run(
        "speak/codec_round_trip.py",
        "--model",
        ROOT / "model_cards" / "moss-audio-tokenizer-tiny",
        "--output",
        tmp_path,
    )
    (decoded,) = tmp_path.glob("*.wav")
    said, heard = transcribe(RECORDING), transcribe(decoded)
    assert len(said.split()) >= 3
    assert word_error_rate([said], [heard]) <= 0.25, (said, heard)


def test_the_recognizer_tells_texts_apart():
    heard = transcribe(RECORDING)
    assert word_error_rate([heard], [heard]) == 0
    assert word_error_rate(["The quick brown fox jumps over the lazy dog."], [heard]) > 0.5
