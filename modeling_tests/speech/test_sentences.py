"""Sentences, of whole texts and of texts that come in pieces."""

import pytest

from transformers_moss_tts.speech import iterate_sentences, split_sentences


TEXTS = [
    ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    (
        "Dr. Hill met J. R. Stone, etc. and left. Pi is 3.14. See a.txt now.",
        ["Dr. Hill met J. R. Stone, etc. and left.", "Pi is 3.14.", "See a.txt now."],
    ),
    ('He said "Stop!" Then he left...  So?', ['He said "Stop!"', "Then he left...", "So?"]),
    ("你好。真的吗？！“是的。”他说。", ["你好。", "真的吗？！", "“是的。”", "他说。"]),
    ("A title\n\nA text\nof two lines.\n \nThe end", ["A title", "A text\nof two lines.", "The end"]),
    ("1. First of all. 2. Second.", ["1. First of all.", "2. Second."]),
    ("यह है। वह भी॥", ["यह है।", "वह भी॥"]),
    ("No end at all", ["No end at all"]),
    (" \n\n ", []),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[text[:12] for text, _ in TEXTS])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_sentences_are_the_same_in_whatever_pieces_they_come(text, expected, size):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(iterate_sentences(pieces)) == expected


def test_a_sentence_is_there_before_the_next_is_written():
    written = []

    def writer():
        for piece in ("Good", " morning", ".", " How", " are you?"):
            written.append(piece)
            yield piece

    sentences = iterate_sentences(writer())
    assert next(sentences) == "Good morning." and written == ["Good", " morning", ".", " How"]
    assert list(sentences) == ["How are you?"]


def test_a_long_text_without_an_end_takes_linear_time():
    for run in ("x" * 10**6, "!" * 10**6, "a.b" * 10**5, "Mr. " * 10**5 + "x", "…" * 10**6, " \n" * 10**5 + "x"):
        assert split_sentences(run + " it. There")[-1] == "There"


def test_pieces_that_are_no_text_are_refused():
    with pytest.raises(TypeError, match="must be strings, got int"):
        list(iterate_sentences(["a", 3]))
