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
from types import SimpleNamespace

import pytest

from transformers_moss_tts import MossTTSDelayConfig, MossTTSLocalConfig, MossTTSLocalV1Config
from transformers_moss_tts.moss_tts.text_normalization import normalize_description
from transformers_moss_tts.moss_tts.variants import VARIANTS, find_variant, get_variant


def delay(**fields):
    return SimpleNamespace(model_type="moss_tts_delay", **fields)


NAMES = {
    "OpenMOSS-Team/MOSS-TTS": "MOSS-TTS",
    "OpenMOSS-Team/MOSS-TTS-v1.5": "MOSS-TTS-v1.5",
    "OpenMOSS-Team/MOSS-TTSD-v1.0": "MOSS-TTSD-v1.0",
    "OpenMOSS-Team/MOSS-VoiceGenerator": "MOSS-VoiceGenerator",
    "OpenMOSS-Team/MOSS-SoundEffect": "MOSS-SoundEffect",
    "/hub/models--OpenMOSS-Team--MOSS-TTSD-v1.0/snapshots/0123": "MOSS-TTSD-v1.0",
    "/modelscope/openmoss/MOSS-TTSD-v1___0": "MOSS-TTSD-v1.0",
    "anna/moss-tts-v1.5-dutch": "MOSS-TTS-v1.5",
    "runs/MOSS-TTS": "MOSS-TTS",
    "golden/moss_tts_delay": "MOSS-TTS-v1.5",
    "runs/moss_voice_generator": "MOSS-VoiceGenerator",
    "runs/anna": "MOSS-TTS-v1.5",
    "MOSS-TTSD-v1.0/checkpoint-500": "MOSS-TTS-v1.5",
}


@pytest.mark.parametrize(("checkpoint", "variant"), NAMES.items())
def test_names_of_repositories(checkpoint, variant):
    assert find_variant(delay(), checkpoint).name == variant
    assert find_variant(delay(name_or_path=checkpoint)).name == variant


def test_a_guess_is_logged_once(caplog):
    with caplog.at_level("WARNING"):
        for _ in range(2):
            find_variant(delay(), "OpenMOSS-Team/MOSS-SoundEffect")
            find_variant(delay(), "runs/of-which-variant")
    (record,) = caplog.records
    assert "runs/of-which-variant is read as MOSS-TTS-v1.5" in record.message


def test_what_is_certain_comes_before_the_name():
    ttsd = {"temperature": 1.1, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1, "max_new_tokens": 2000}
    assert find_variant(delay(), "runs/anna", ttsd).name == "MOSS-TTSD-v1.0"
    assert find_variant(delay(), "runs/MOSS-TTS", ttsd | {"temperature": 1.0}).name == "MOSS-TTS"
    saved = delay(moss_tts_variant="MOSS-SoundEffect")
    assert find_variant(saved, "OpenMOSS-Team/MOSS-TTSD-v1.0", ttsd).name == "MOSS-SoundEffect"
    assert find_variant(MossTTSLocalV1Config(), "MOSS-TTSD-v1.0").name == "MOSS-TTS-Local-Transformer"
    assert find_variant(MossTTSLocalConfig(), "MOSS-TTSD-v1.0").name == "MOSS-TTS-Local-Transformer-v1.5"
    assert find_variant(MossTTSDelayConfig()).name == "MOSS-TTS-v1.5"


def test_names_of_variants():
    for name, variant in VARIANTS.items():
        assert get_variant(name) is get_variant(f"OpenMOSS-Team/{name.lower()}") is variant
    with pytest.raises(ValueError, match=r"MOSS-TTSD-v1\.0"):
        get_variant("TTS")
    with pytest.raises(ValueError, match="cannot be of the variant"):
        find_variant(delay(moss_tts_variant="MOSS-TTS-Local-Transformer"))


def test_sampling():
    assert VARIANTS["MOSS-SoundEffect"].sampling == {
        "audio_temperature": 1.5,
        "audio_top_p": 0.6,
        "audio_top_k": 50,
        "audio_repetition_penalty": 1.2,
        "text_temperature": 1.5,
        "text_top_p": 1.0,
        "text_top_k": 50,
    }


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("A calm voice.\nOld [laughs], {low}tired", "A calm voice. Old , tired"),
        ("他说【你好】，再见！！！", "他说，你好，再见！"),
        ("《红楼梦》是书。。。？", "，红楼梦，是书。"),
        ("as it is: 1.5 (yes)", "as it is: 1.5 (yes)"),
    ],
)
def test_descriptions(text, normalized):
    assert normalize_description(text) == normalized
