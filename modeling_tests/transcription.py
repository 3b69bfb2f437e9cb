"""What the offline speech recognizer hears, and how far it is from the text."""

import functools
from pathlib import Path

from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.evaluation import load_scorer
from transformers_moss_tts.evaluation.measures.text_errors import count_errors
from transformers_moss_tts.evaluation.scorers import RATE


@functools.cache
def _recognizer():
    return load_scorer("asr", "whisper-base")


def transcribe(path: Path) -> str:
    return _recognizer().transcribe(load_audio(path, RATE), "en")


def word_error_rate(texts: list[str], heard: list[str]) -> float:
    """Of all texts together."""
    errors = [count_errors(text, transcript, "en") for text, transcript in zip(texts, heard)]
    return sum(item.errors for item in errors) / sum(item.units for item in errors)
