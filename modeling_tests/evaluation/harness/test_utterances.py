"""Data sets: what is read of them, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.evaluation import Utterance, read_utterances


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "prompt-wavs").mkdir()
    for name in ("one", "two"):
        save_audio(np.full(2400, 0.1, dtype=np.float32), tmp_path / "prompt-wavs" / f"{name}.wav", 24000)
    return tmp_path


def write(path: Path, *lines: str | dict) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_the_published_layout(folder):
    lines = [
        "id-1|What one says.|prompt-wavs/one.wav|Say this.",
        "id-2|Two.|prompt-wavs/two.wav|And that.|prompt-wavs/one.wav",
    ]
    first, second = read_utterances(write(folder / "meta.lst", *lines))
    assert first == Utterance("id-1", "Say this.", folder / "prompt-wavs/one.wav", "What one says.")
    assert second.recording == folder / "prompt-wavs/one.wav" and second.text == "And that."


def test_sentences_and_recordings(folder):
    sentences = read_utterances(write(folder / "lines.txt", "One.", "", "Two."))
    assert [(item.id, item.text) for item in sentences] == [("0001", "One."), ("0003", "Two.")]
    recordings = read_utterances(folder)
    assert [item.id for item in recordings] == ["prompt-wavs_one", "prompt-wavs_two"]
    (single,) = read_utterances(folder / "prompt-wavs" / "two.wav")
    assert single.recording == folder / "prompt-wavs" / "two.wav"


def test_speakers_lend_each_other_references(folder):
    lines = [
        {"audio": "prompt-wavs/one.wav", "text": "One.", "speaker": "anna"},
        {"audio": "prompt-wavs/two.wav", "text": "Two.", "speaker": "anna"},
        {"audio": "prompt-wavs/two.wav", "text": "Three.", "speaker": "bert", "id": "b"},
    ]
    one, two, alone = read_utterances(write(folder / "recordings.jsonl", *lines))
    assert (one.reference, one.reference_text) == (two.recording, "Two.")
    assert (two.reference, two.reference_text) == (one.recording, "One.")
    assert alone.reference is None and alone.id == "b"


def test_ids_stay_in_their_folder(folder):
    lines = [
        {"id": "../../etc/passwd", "text": "One."},
        {"id": "a b:c", "text": "Two."},
        {"id": "..", "text": "Three."},
    ]
    ids = [item.id for item in read_utterances(write(folder / "recordings.jsonl", *lines))]
    assert ids == ["etc_passwd", "a_b_c", "_"]


@pytest.mark.parametrize(
    "name,lines,message",
    [
        ("meta.lst", ["id|prompt|missing.wav|text"], "missing.wav"),
        ("meta.lst", ["id|prompt-wavs/one.wav|text"], "Line 1"),
        ("meta.lst", ["id|a|prompt-wavs/one.wav|b"] * 2, "'id' comes more than once"),
        ("meta.lst", ["", " "], "empty"),
        ("recordings.jsonl", ["{"], "no JSON"),
        ("recordings.jsonl", [{"speaker": "anna"}], "`text` or `audio`"),
        ("recordings.csv", ["a,b"], ".jsonl"),
    ],
)
def test_what_cannot_be_read_is_said(folder, name, lines, message):
    with pytest.raises(ValueError, match=message):
        read_utterances(write(folder / name, *lines))


def test_missing_and_empty_places(tmp_path):
    with pytest.raises(ValueError, match="no data at"):
        read_utterances(tmp_path / "missing.lst")
    with pytest.raises(ValueError, match="empty"):
        read_utterances(tmp_path)
