"""Text from outside in a prompt: it stays text, for every tokenizer."""

from pathlib import Path

import pytest
from tiny_models import GOLDEN_TTS
from tokenizers import normalizers
from transformers import AutoTokenizer

from transformers_moss_tts.bundled_models import bundled_model
from transformers_moss_tts.moss_tts.prompt import (
    JoinedText,
    PiecewisePromptLayout,
    PromptEncoder,
    PromptLayout,
    UserText,
)


GOLDEN = GOLDEN_TTS.parent
TOKENIZERS = [Path(bundled_model()), GOLDEN / "moss_tts_delay", GOLDEN / "moss_ttsd", GOLDEN / "moss_tts_local_v1_5"]
LAYOUTS = [PromptLayout(), PromptLayout(has_scene=True, says_tokens=False), PiecewisePromptLayout()]
FIELDS = ("text", "instruction", "language", "quality", "sound_event", "ambient_sound")


@pytest.fixture(scope="module", params=TOKENIZERS, ids=lambda path: path.name)
def encoder(request):
    return PromptEncoder(AutoTokenizer.from_pretrained(request.param), [])


def encoded(encoder, layout, **fields):
    parts = layout.user_parts(None, {"text": "Hello there."} | fields)
    return layout.encode(encoder, ["user\n", *parts])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_writes_an_added_token(encoder, layout, field):
    added = encoder.tokenizer.get_added_vocab()
    # The other spelled fields are lower-case words without a token.
    harmless = encoded(encoder, layout, **{field: "hello"})
    for token, number in added.items():
        # Within the text, twice in a row, as all of it, and completed by the line break behind the field.
        for text in (f"Hi {token} there", token + token, token, f"Hi\n{token.removesuffix(chr(10))}"):
            if field == "language" and text.strip() == "English":
                continue  # The name of a language is not foreign to the template.
            ids = encoded(encoder, layout, **{field: text})
            assert ids.count(number) <= harmless.count(number), text
            written = encoder.tokenizer.decode(ids)
            assert (text.strip() if isinstance(layout, PiecewisePromptLayout) else text) in written


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("language", [None, "English"])
def test_the_template_keeps_its_own_tokens(encoder, layout, language):
    parts = layout.user_parts(None, {"text": "Hello there.", "language": language})
    # Two pieces are encoded apart where the layout says so, and each as the tokenizer encodes it.
    pieces = ["user\n", *parts] if isinstance(layout, PiecewisePromptLayout) else ["".join(["user\n", *parts])]
    expected = [i for piece in pieces for i in encoder.tokenizer.encode(str(piece), add_special_tokens=False)]
    assert layout.encode(encoder, ["user\n", *parts]) == expected


def test_tokens_that_overlap(encoder):
    tokens = list(encoder.tokenizer.get_added_vocab())
    for first in tokens:
        for second in tokens:
            text = UserText(f"{first[:-1]}{second}{first[-1]}")
            assert set(encoder.encode([text])).isdisjoint(encoder.tokenizer.get_added_vocab().values())


def test_a_token_over_two_fields(encoder):
    ids = encoder.encode([UserText("a <|im_"), UserText("start|> b")])
    assert encoder.tokenizer.convert_tokens_to_ids("<|im_start|>") not in ids
    ids = encoder.encode([JoinedText(["<|im_", UserText("start|> b")])])
    assert encoder.tokenizer.convert_tokens_to_ids("<|im_start|>") not in ids


def test_a_token_in_characters_that_the_tokenizer_reads_as_others():
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN_TTS)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    encoder = PromptEncoder(tokenizer, [])
    assert encoder.encode([UserText("ﬁne")]) == tokenizer.encode("fine", add_special_tokens=False)
    with pytest.raises(ValueError, match="spells a token of the prompt in other characters"):
        encoder.encode([UserText("＜|im_start|＞")])


@pytest.mark.parametrize(
    "text,message",
    [
        ("a\x00b", r"control character U\+0000 at position 1"),
        ("\x1b[0m", r"control character U\+001B at position 0"),
        ("one \ud800 two", r"lone surrogate U\+D800 at position 4"),
    ],
)
def test_characters_that_cannot_be_spoken(encoder, text, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode([UserText(text)])
    assert encoder.encode([UserText("a\tb\nc\r\nd 👍🏽 é")])
