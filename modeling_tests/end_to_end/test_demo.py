"""The demo as its user runs it: a process of its own, and what a speech recognizer understands of it."""

import os
import subprocess
import sys
from pathlib import Path

import soundfile
from transcription import transcribe, word_error_rate


ROOT = Path(__file__).parents[2]


def test_the_demo_is_understood(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert result.returncode == 0, result.stderr
    assert "times faster than real time" in result.stdout
    assert (tmp_path / "spectrograms.png").stat().st_size > 10_000
    sys.path.insert(0, str(ROOT / "examples"))
    from demo import CLONED, SENTENCE

    paths = [tmp_path / "speech.wav", tmp_path / "cloned.wav"]
    assert all(0.5 < soundfile.info(path).duration < 15 for path in paths)
    heard = [transcribe(path) for path in paths]
    assert word_error_rate([SENTENCE, CLONED], heard) <= 0.25, heard


def test_the_recognizer_tells_texts_apart():
    """The scorer itself: a recording of Kokoro is understood, and another text is not what it says."""
    heard = transcribe(ROOT / "examples" / "assets" / "reference.ogg")
    assert len(heard.split()) >= 3
    assert word_error_rate([heard], [heard]) == 0
    assert word_error_rate(["The quick brown fox jumps over the lazy dog."], [heard]) > 0.5
