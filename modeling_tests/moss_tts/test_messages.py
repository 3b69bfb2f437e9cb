# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Messages: what is kept, in which order, and what is refused."""

import numpy as np
import pytest
import torch
from tiny_models import golden_processor


@pytest.fixture(scope="module")
def processor():
    return golden_processor()


CODES = torch.zeros(3, 8, dtype=torch.long)
TEXT, AUDIO = {"type": "text", "text": "Hello."}, {"type": "audio", "audio": CODES}
NAN = float("nan")


def chat(*content, role="user", **fields):
    return [{"role": role, "content": list(content), **fields}]


BAD_MESSAGES = {
    "misspelt key of a chat": (lambda p: p.apply_chat_template(chat(TEXT, lanugage="English")), "lanugage"),
    "key of another form": (lambda p: p.apply_chat_template(chat(TEXT, reference=CODES)), "reference"),
    "misspelt key of a message": (lambda p: p([[{"role": "user", "text": "a", "languge": "English"}]]), "languge"),
    "a field beside the content": (
        lambda p: p([[{"role": "user", "content": "a", "language": "English"}]]),
        "has no language",
    ),
    "misspelt key of an item": (lambda p: p.apply_chat_template(chat(TEXT | {"lang": "en"})), "lang"),
    "two sources of an item": (lambda p: p.apply_chat_template(chat(TEXT, AUDIO | {"path": "a.wav"})), "needs one of"),
    "a rate of codes": (
        lambda p: p.apply_chat_template(chat(TEXT, AUDIO | {"sampling_rate": 24000})),
        "Only an array",
    ),
    "audio inside of a text": (lambda p: p.apply_chat_template(chat(TEXT, AUDIO, TEXT)), "before or behind"),
}


@pytest.mark.parametrize(("call", "match"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_bad_messages(processor, call, match):
    with pytest.raises(ValueError, match=match):
        call(processor)


def test_keys_without_a_value_are_missing(processor):
    expected = processor(text="Hello.")["input_ids"]
    message = {"role": "user", "content": [TEXT | {"audio": None}], "speaker": None}
    assert torch.equal(processor.apply_chat_template([message])["input_ids"], expected)


@pytest.mark.parametrize("field", ["language", "instruction", "quality", "sound_event", "ambient_sound"])
@pytest.mark.parametrize("value", [True, 3, 0.5, NAN, {"tone": "calm"}, b"calm"], ids=str)
def test_fields_are_strings(processor, field, value):
    with pytest.raises(TypeError, match=f"`{field}` must be a string"):
        processor(text="Hello.", **{field: value})


@pytest.mark.parametrize(
    "value",
    [True, "5", NAN, np.float64("nan"), float("inf"), 1e300, 10**400, -1, [[5]]],
    ids=lambda value: str(value)[:9],
)
def test_lengths_are_numbers(processor, value):
    for field in ("tokens", "duration_seconds"):
        with pytest.raises((TypeError, ValueError), match=field):
            processor(text="Hello.", **{field: value})


def test_a_reply_keeps_its_order(processor):
    first, second = (torch.full((4, 8), code) for code in (1, 2))
    one, two = ({"type": "text", "text": text} for text in ("One.", "Two <|audio|>."))

    def reply(*content):
        return processor.apply_chat_template([*chat(TEXT), *chat(*content, role="assistant")])["input_ids"][0]

    audio = [{"type": "audio", "audio": codes} for codes in (first, second)]
    tokens = reply(one, audio[0], two, audio[1])
    spoken = tokens[:, 1] != processor.model_config.audio_pad_code
    assert tokens[spoken, 1].tolist() == [1] * 4 + [2] * 4
    starts = (tokens[:, 0] == processor.model_config.audio_start_token_id).nonzero().flatten().tolist()
    between = processor.tokenizer.decode(tokens[:, 0])
    assert len(starts) == 2
    assert between.index("One.") < between.index("<|audio_start|>") < between.index("Two <|audio|>.")
    assert not torch.equal(tokens, reply(one, two, *audio))


def test_a_chat_that_ends_with_the_reply(processor):
    messages = [*chat(TEXT), *chat(AUDIO, role="assistant")]
    whole, left_open = (
        processor(
            [[processor.build_user_message(text="Hello."), processor.build_assistant_message([CODES])]], mode=mode
        )
        for mode in ("computing_loss", "continuation")
    )
    for options, expected in (
        ({}, whole),
        ({"add_generation_prompt": False}, whole),
        ({"add_generation_prompt": True}, left_open),
        ({"continue_final_message": True}, left_open),
    ):
        assert torch.equal(processor.apply_chat_template(messages, **options)["input_ids"], expected["input_ids"])
