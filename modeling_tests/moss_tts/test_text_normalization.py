"""Text normalisation on its own; its golden cases are in moss_tts/test_golden_moss_tts.py."""

import random
import time

import pytest

from transformers_moss_tts.moss_tts.text_normalization import normalize_description, normalize_text


ALPHABET = list("ab1 9.,;:!?-—–#@/+*>()[]{}<=→【】《》「」『』。，！？…\n\t\r\u3000\u200b你好テス_~%&'\"") + [
    "https://a.b/c?d=e",
    "x@y.zz",
    "v2.3.1",
    "- ",
    "1. ",
    "## ",
    "> ",
    "......",
    "\ue000",
]


@pytest.mark.parametrize("seed", range(20))
def test_twice_is_once(seed):
    draw = random.Random(seed)
    for _ in range(100):
        text = "".join(draw.choices(ALPHABET, k=draw.randint(0, 25)))
        once = normalize_text(text)
        assert normalize_text(once) == once, repr(text)
        assert once == once.strip()


@pytest.mark.parametrize(
    "text,expected",
    [
        ("- - nested", "nested"),
        ("one\n- - two", "one。two"),
        ("【a】【b】c", "a。b。c"),
        ("【【a】b】c", "a。b。c"),
        ("《歌》。《曲》是《书》", "歌。《曲》是《书》"),
        ("-> -> -- --", "，。"),
        ("a-1_b 1.1_a 1.1_-1.5", "a-1_b 1.1_a 1.1_-1.5"),
        ("1.1 你a.b你1.1你", "1.1你 a.b 你1.1你"),
        ("lone \ud800 and \x00", "lone and"),
        ("> > quote", "quote"),
        ("a\u200bb", "ab"),
        ("\ue000 private use", "private use"),
        ("see https://x.y/a-b--c ...... now", "see https://x.y/a-b--c。now"),
        ("[S1] hi [laugh] {whisper}", "[S1] hi [laugh] {whisper}"),
    ],
)
def test_examples(text, expected):
    assert normalize_text(text) == expected


# Repeated, each looks as if a pattern could match for as long as the text goes on.
UNITS = [
    "- ",
    "【a】",
    "【",
    "。【",
    "《",
    "。《a",
    "a》",
    "[a](http://b",
    "[",
    "..a_",
    "1.",
    "a_-",
    "a%",
    "%",
    "a@b.",
    "\xa0",
    "你a",
]
UNITS += ["-", "<-", "-> ", "— ", "_", "http://", "\n- ", "1. ", "#", "? 【", "{", "x\xa0", "a.b你", ".", "a@"]


@pytest.mark.parametrize("unit", UNITS)
def test_takes_time_linear_in_the_length(unit):
    seconds = []
    for length in (4000, 64000):
        text = f"a{unit * (length // len(unit))}_x"
        start = time.process_time()
        normalize_text(text)
        normalize_description(text)
        seconds.append(time.process_time() - start)
    # Sixteen times the text; a quadratic rule takes 256 times the time.
    assert seconds[1] < 0.1 or seconds[1] < 60 * seconds[0]


def test_of_something_else():
    with pytest.raises(TypeError, match="`text` must be a string, got int"):
        normalize_text(3)
