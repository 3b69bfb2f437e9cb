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
"""What a model cannot do is said, and kept where it is saved."""

import json

import pytest
import torch
from tiny_models import golden_processor
from transformers import AutoProcessor

from transformers_moss_tts import bundled_model


@pytest.fixture
def processor(tmp_path):
    """As one that is saved and loaded."""
    processor = golden_processor(codec_path="me/codec")
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    fields = json.loads(path.read_text())
    assert not {"languages", "max_speakers", "clones_voices"} & fields.keys()
    path.write_text(
        json.dumps(fields | {"languages": ["English", "Greek"], "max_speakers": 1, "clones_voices": False})
    )
    loaded = AutoProcessor.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")
    return AutoProcessor.from_pretrained(tmp_path / "again")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "Hi.", "language": "Klingon"}, "speaks English and Greek, not 'Klingon'"),
        ({"text": "你好，世界"}, "the text is in Chinese letters"),
        ({"text": "Привет."}, "the text is in Cyrillic letters"),
        ({"text": "[S1] Hi. [S2] You."}, "knows no dialogue"),
        ({"text": "[S1] Hi."}, "knows no dialogue"),
        ({"script": "[S1] Hi. [S2] You."}, "knows no dialogue"),
        ({"text": "Hi.", "reference": "a.wav"}, "clones no voices"),
        ({"text": ["Hi.", "Привет."]}, "Cyrillic"),
    ],
)
def test_what_was_not_taught_is_refused(processor, fields, message):
    with pytest.raises(ValueError, match=message):
        processor(**fields)


def test_a_chat_is_asked_as_a_text(processor):
    with pytest.raises(ValueError, match="clones no voices"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}])
    with pytest.raises(ValueError, match="'Klingon'"):
        processor.apply_chat_template([{"role": "user", "content": "Hi.", "language": "Klingon"}])


@pytest.mark.parametrize("text", ["Hi.", "Γειά σου.", "Say привет to my dear friend.", "1, 2, 3!", "✓"])
def test_other_texts_are_spoken(processor, text):
    assert processor(text=text, language="english")["input_ids"].shape[0] == 1


def test_a_model_may_be_taught_what_it_does_not_know(processor):
    message = {"role": "user", "text": "Привет.", "language": "Russian"}
    reply = processor.build_assistant_message([_codes(processor)])
    assert processor([[message, reply]], mode="computing_loss")["input_ids"].shape[0] == 1


def _codes(processor):
    return torch.ones(3, processor.model_config.n_vq, dtype=torch.long)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"languages": "English"}, TypeError),
        ({"languages": [1]}, TypeError),
        ({"max_speakers": 0}, ValueError),
        ({"max_speakers": "two"}, ValueError),
        ({"clones_voices": "yes"}, TypeError),
    ],
)
def test_fields_of_a_wrong_kind_are_refused(fields, error):
    processor = golden_processor()
    with pytest.raises(error, match=next(iter(fields))):
        type(processor)(processor.tokenizer, model_config=processor.model_config, **fields)


@pytest.mark.parametrize("name", ["moss-tts-tiny", "moss-tts-local-tiny"])
def test_the_bundled_models_say_what_they_know(name):
    abilities = AutoProcessor.from_pretrained(bundled_model(name)).abilities
    assert abilities.languages == ("English",) and abilities.max_speakers == 1
