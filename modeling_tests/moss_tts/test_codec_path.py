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
"""The name of a processor's codec: what is saved, moved and loaded."""

import json
import shutil

import pytest
from tiny_models import golden_processor, small_codec
from transformers import AutoModel, AutoProcessor

from transformers_moss_tts import MossTTSDelayProcessor, bundled_model


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs") / "codec"
    small_codec().save_pretrained(folder)
    return folder


def saved_name(folder) -> str:
    return json.loads((folder / "processor_config.json").read_text())["audio_tokenizer_name_or_path"]


def codec_of(folder) -> str:
    return AutoProcessor.from_pretrained(folder).audio_tokenizer.name_or_path


def test_a_codec_from_a_relative_path_is_found_from_anywhere(codec_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(codec_folder.parent)
    golden_processor(AutoModel.from_pretrained("codec")).save_pretrained(tmp_path / "constructed")
    golden_processor(codec_path="codec").save_pretrained(tmp_path / "named")
    AutoProcessor.from_pretrained(tmp_path / "named", codec_path="codec").save_pretrained(tmp_path / "loaded")
    processor = golden_processor()
    processor.audio_tokenizer = AutoModel.from_pretrained("codec")
    processor.save_pretrained(tmp_path / "replaced")
    monkeypatch.chdir(tmp_path)
    for how in ("constructed", "named", "loaded", "replaced"):
        assert saved_name(tmp_path / how) == codec_of(tmp_path / how) == str(codec_folder), how


@pytest.mark.parametrize(("codec", "name"), [("voice/codec", "codec"), ("codec", "../codec")])
def test_codecs_inside_and_beside_move_along(codec_folder, tmp_path, codec, name):
    shutil.copytree(codec_folder, tmp_path / "here" / codec)
    golden_processor(codec_path=str(tmp_path / "here" / codec)).save_pretrained(tmp_path / "here" / "voice")
    assert saved_name(tmp_path / "here" / "voice") == name
    (tmp_path / "here").rename(tmp_path / "there")
    assert codec_of(tmp_path / "there" / "voice") == str(tmp_path / "there" / codec)
    # Saved elsewhere, it is still the same codec.
    AutoProcessor.from_pretrained(tmp_path / "there" / "voice").save_pretrained(tmp_path / "far" / "voice")
    assert codec_of(tmp_path / "far" / "voice") == str(tmp_path / "there" / codec)


def test_a_bundled_codec_is_saved_along(tmp_path):
    processor = AutoProcessor.from_pretrained(bundled_model())
    processor.save_pretrained(tmp_path / "tuned")
    # Where it lies here nobody else has it.
    (tmp_path / "tuned").rename(tmp_path / "elsewhere")
    assert saved_name(tmp_path / "elsewhere") == "codec"
    again = AutoProcessor.from_pretrained(tmp_path / "elsewhere")
    again.save_pretrained(tmp_path / "tuned" / "twice")
    shutil.rmtree(tmp_path / "elsewhere")
    assert codec_of(tmp_path / "tuned" / "twice") == str(tmp_path / "tuned" / "twice" / "codec")


def test_hub_ids_stay(tmp_path):
    golden_processor(codec_path="me/codec").save_pretrained(tmp_path)
    assert saved_name(tmp_path) == "me/codec"


@pytest.mark.parametrize("name", ["../../codec", "codec/../../../codec", "..", "a/../../b/../../c"])
def test_no_name_leads_out_of_a_folder(codec_folder, tmp_path, name):
    golden_processor(codec_path="codec").save_pretrained(tmp_path)
    config = tmp_path / "processor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"audio_tokenizer_name_or_path": name}))
    with pytest.raises(ValueError, match="`codec_path=`"):
        AutoProcessor.from_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path, codec_path=codec_folder).audio_tokenizer is not None


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ([1], "JSON object"),
        ({"audio_tokenizer_name_or_path": 5}, "must be a string, got 5"),
        ({"variant": 5}, "no variant 5"),
    ],
)
def test_fields_of_a_wrong_kind(tmp_path, fields, match):
    golden_processor().save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=match):
        MossTTSDelayProcessor.from_pretrained(tmp_path)


def test_a_codec_of_this_machine_is_not_pushed(local_hub, codec_folder):
    processor = golden_processor(AutoModel.from_pretrained(codec_folder))
    with pytest.raises(ValueError, match="nobody else has"):
        processor.push_to_hub("me/voice")
    assert local_hub.repositories == {}


def test_a_codec_whose_config_is_damaged_is_named(tmp_path, codec_folder):
    shutil.copytree(codec_folder, tmp_path / "codec")
    config = json.loads((tmp_path / "codec" / "config.json").read_text()) | {"auto_map": False}
    (tmp_path / "codec" / "config.json").write_text(json.dumps(config))
    golden_processor(codec_path="codec").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="codec cannot be loaded, its config"):
        _ = AutoProcessor.from_pretrained(tmp_path).audio_tokenizer
