"""A small checkpoint, and recordings of two voices."""

import json
from pathlib import Path

import numpy as np
import pytest
from quick_scorers import FixedASR, PeakMOS, SpectrumEncoder
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.evaluation import register_scorer


TEXTS = ("A big dog barks.", "The cat sleeps.", "Birds sing at dawn.")


@pytest.fixture(scope="session", autouse=True)
def scorers():
    """Names of the quick scorers, as arguments of `evaluate`."""
    register_scorer("asr", "test-asr", FixedASR)
    register_scorer("speaker", "test-speaker", SpectrumEncoder)
    register_scorer("mos", "test-mos", PeakMOS)
    return {"asr": "test-asr", "speaker": "test-speaker", "mos": "test-mos", "progress": False}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    """The golden generator, which speaks at every seed, with a codec of random weights."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.max_new_tokens = 40
    model.generation_config.text_temperature = 0.0
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """`meta.lst`, `recordings.jsonl` and `lines.txt` with recordings of noise of two voices."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    recordings = []
    for number, text in enumerate(TEXTS + TEXTS[:1]):
        noise = draw.normal(0, 0.1, 24000 + 1200 * number).astype(np.float32)
        if number % 2:
            noise = np.convolve(noise, np.ones(8) / 8, mode="same").astype(np.float32)
        save_audio(noise, folder / f"{number}.wav", 24000)
        recordings.append({"audio": f"{number}.wav", "text": text, "speaker": f"speaker {number % 2}"})
    (folder / "recordings.jsonl").write_text("".join(json.dumps(recording) + "\n" for recording in recordings))
    (folder / "lines.txt").write_text("\n".join(TEXTS) + "\n")
    lines = [f"id{number}|The cat sleeps.|{number}.wav|{text}" for number, text in enumerate(TEXTS)]
    (folder / "meta.lst").write_text("\n".join(lines) + "\n")
    return folder
