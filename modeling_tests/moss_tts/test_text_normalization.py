"""Text normalisation on its own; its golden cases are in moss_tts/test_golden_moss_tts.py."""

import random

import pytest

from transformers_moss_tts.moss_tts.text_normalization import normalize_text


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
    for _ in range(300):
        text = "".join(draw.choices(ALPHABET, k=draw.randint(0, 25)))
        once = normalize_text(text)
        assert normalize_text(once) == once, repr(text)
        assert once == once.strip()


@pytest.mark.parametrize(
    "text,expected",
    [
        ("- - nested", "nested"),
        ("> > quote", "quote"),
        ("a\u200bb", "ab"),
        ("\ue000 private use", "private use"),
        ("see https://x.y/a-b--c ...... now", "see https://x.y/a-b--c。now"),
        ("[S1] hi [laugh] {whisper}", "[S1] hi [laugh] {whisper}"),
    ],
)
def test_examples(text, expected):
    assert normalize_text(text) == expected
