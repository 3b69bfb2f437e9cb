"""Word and character errors."""

import pytest

from transformers_moss_tts.evaluation.measures.text_errors import (
    align,
    count_errors,
    language_name,
    rate_name,
    units_of,
)


def test_spelling_and_punctuation_are_no_errors():
    errors = count_errors(
        "The colour of Mr. Smith's 21st cat isn't grey!", "the color of mister smith's 21st cat is not gray", "en"
    )
    assert errors.errors == 0 and errors.rate == 0


def test_words_count():
    errors = count_errors("One small step for a man", "One tall step for man kind", "en")
    assert (errors.errors, errors.units) == (3, 6)
    assert not errors.is_cut


def test_chinese_counts_simplified_characters():
    assert rate_name("zh") == "CER" and rate_name("en") == "WER"
    assert units_of("漢語，很好！", "zh") == ["汉", "语", "很", "好"]
    errors = count_errors("汉语很好", "漢語 不好", "zh")
    assert (errors.errors, errors.units) == (1, 4)


@pytest.mark.parametrize(
    "heard,is_cut",
    [
        ("a big dog barks loudly", False),
        ("a big dog", True),
        ("", True),
        ("a big dog barks", False),
        ("big dog barks loudly", False),
    ],
)
def test_a_missing_end_is_a_cut(heard, is_cut):
    assert count_errors("A big dog barks loudly.", heard, "en").is_cut == is_cut


def test_an_ellipsis_is_no_word():
    assert units_of("Wait... what...", "en") == ["wait", "what"]


def test_errors_fall_into_the_pieces_in_which_they_are_heard():
    said = "a b c d e f".split()
    counts, missing = align(said, ["a b x".split(), "d y e".split(), []])
    assert counts == [(1, 3), (2, 3), (0, 0)]
    assert missing == 1
    assert align(said, [[]]) == ([(6, 6)], 6)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="no words are left"):
        count_errors("...", "one", "en")
    with pytest.raises(ValueError, match="'xx'"):
        language_name("xx")
    assert (language_name("en"), language_name("zh")) == ("English", "Chinese")
