"""The codec's demo as its user runs it, with the bundled model, and what a speech recognizer understands of it."""

import subprocess
import sys
from pathlib import Path

from transcription import transcribe, word_error_rate


ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "examples" / "assets" / "reference.ogg"


def test_the_decoded_recording_is_understood(tmp_path):
    script = ROOT / "examples" / "codec_round_trip.py"
    model = ROOT / "model_cards" / "moss-audio-tokenizer-tiny"
    command = [sys.executable, str(script), "--model", str(model), "--output", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    (decoded,) = tmp_path.glob("*.wav")
    said, heard = transcribe(RECORDING), transcribe(decoded)
    assert len(said.split()) >= 3
    assert word_error_rate([said], [heard]) <= 0.25, (said, heard)


def test_the_recognizer_tells_texts_apart():
    heard = transcribe(RECORDING)
    assert word_error_rate([heard], [heard]) == 0
    assert word_error_rate(["The quick brown fox jumps over the lazy dog."], [heard]) > 0.5
