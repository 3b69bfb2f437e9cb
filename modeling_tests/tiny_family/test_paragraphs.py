"""Sentences that are said one after the other."""

import pytest
from datasets import Dataset

from examples.tiny_family.paragraphs import join_examples, paragraphs


def example(text: str, frames: int, speaker: str = "a", is_timed: bool = True) -> dict:
    seconds = frames / 12.5
    return {
        "text": text,
        "speaker": speaker,
        "language": "English",
        "codes": [[len(text), index] for index in range(frames)],
        "reading": [[0.0, 0.0], [seconds, 1.0]] if is_timed else None,
        "phonemes": [{"symbol": "a", "start": 0.0, "end": seconds}] if is_timed else None,
    }


def test_times_go_on_where_the_sentence_before_ended():
    joined = join_examples([example("One.", 10), example("Number two.", 20)], 12.5)
    assert joined["text"] == "One. Number two." and joined["seconds"] == pytest.approx(2.4)
    assert joined["codes"] == example("One.", 10)["codes"] + example("Number two.", 20)["codes"]
    times, shares = zip(*joined["reading"])
    assert times == pytest.approx((0, 0.8, 0.8, 2.4)) and shares == pytest.approx((0, 4 / 16, 5 / 16, 1))
    assert [(item["start"], item["end"]) for item in joined["phonemes"]] == [(0, 0.8), (0.8, pytest.approx(2.4))]
    untimed = join_examples([example("One.", 10), example("Two.", 20, is_timed=False)], 12.5)
    assert untimed["reading"] is None and untimed["phonemes"] is None and len(untimed["codes"]) == 30


def test_every_sentence_is_in_a_paragraph_of_its_speaker():
    spoken = [example("x" * (2 + index), 10, "a") for index in range(7)]
    table = Dataset.from_list([*spoken, example("Alone.", 10, "b"), *(example("Who.", 9, "c") for _ in range(3))])
    found = paragraphs(table, (2, 3), 12.5).to_list()
    texts = sorted(text for joined in found if joined["speaker"] == "a" for text in joined["text"].split())
    # One may be left over, and whoever has one sentence alone.
    assert set(texts) <= {item["text"] for item in spoken} and len(texts) >= 6 and len(set(texts)) == len(texts)
    assert {joined["speaker"] for joined in found} == {"a", "c"}
    assert all(2 <= len(joined["text"].split()) <= 3 for joined in found)
    # Said at about the same pace.
    for joined in found:
        sizes = sorted(map(len, joined["text"].split()))
        assert sizes[-1] - sizes[0] < 3
    with pytest.raises(ValueError, match="No speaker has 4 sentences"):
        paragraphs(table.select([7, 8]), (4, 5), 12.5)
