"""The released repositories load as they lie on the Hub, from a folder and from the cache, and no remote code is run."""

import json
from types import SimpleNamespace

import pytest
import torch
from released.stand_ins import CODECS, GENERATORS
from transformers import AutoConfig, AutoModel, AutoModelForAudioTokenization, AutoModelForTextToWaveform

from transformers_moss_tts import MossTTSLocalModel
from transformers_moss_tts.loading import released_config


CONFIGS = {
    "MOSS-TTS-Local-Transformer": "MossTTSLocalV1Config",
    "MOSS-TTS-Local-Transformer-v1.5": "MossTTSLocalConfig",
    "MOSS-TTS-Nano": "MossTTSNanoConfig",
} | dict.fromkeys(CODECS, "MossAudioTokenizerConfig")


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=["", "trusted"])
@pytest.mark.parametrize("source", ["folder", "hub"])
@pytest.mark.parametrize("name", [*GENERATORS, *CODECS])
def test_models_load(released_folders, released, name, source, options):
    path = released(name) if source == "hub" else released_folders / name
    own_door = AutoModelForAudioTokenization if name in CODECS else AutoModelForTextToWaveform
    door = own_door if source == "hub" else AutoModel
    expected = CONFIGS.get(name, "MossTTSDelayConfig")
    assert type(AutoConfig.from_pretrained(path, **options)).__name__ == expected
    assert type(door.from_pretrained(path, **options)).__name__ == expected.replace("Config", "Model")


def attention_of(model) -> set[str]:
    return {module.config._attn_implementation for module in model.modules() if hasattr(module, "config")}


@pytest.mark.parametrize("door", [AutoModel, MossTTSLocalModel])
def test_attention_of_the_config_is_a_preference(released, door):
    name = "MOSS-TTS-Local-Transformer-v1.5"
    config = AutoConfig.from_pretrained(released(name))
    assert config.attention_preference == "flash_attention_2"
    nested = {"language_config": config.language_config.to_dict() | {"attn_implementation": "flash_attention_3"}}
    for folder in (
        released(name),
        released(name, config={"attn_implementation": "a/kernel"}),
        released(name, config=nested),
    ):
        assert attention_of(door.from_pretrained(folder)) == {"sdpa"}
    eager = released(name, config={"attn_implementation": "eager"})
    assert attention_of(door.from_pretrained(eager)) == {"eager"}
    assert attention_of(door.from_pretrained(eager, attn_implementation="sdpa")) == {"sdpa"}
    with pytest.raises(ImportError, match="FlashAttention2"):
        door.from_pretrained(released(name), attn_implementation="flash_attention_2")


def test_attention_preference_is_saved_as_it_came(released, tmp_path):
    model = AutoModel.from_pretrained(released("MOSS-TTS-Local-Transformer-v1.5"))
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["attn_implementation"] == "flash_attention_2"
    assert attention_of(AutoModel.from_pretrained(tmp_path / "saved")) == {"sdpa"}


@pytest.mark.parametrize(
    ("has_flash", "dtype", "device", "expected"),
    [
        (True, torch.bfloat16, "cuda", "flash_attention_2"),
        (True, torch.float32, "cuda", None),
        (True, torch.bfloat16, "cpu", None),
        (False, torch.bfloat16, "cuda", None),
    ],
)
def test_flash_attention_needs_its_package_a_gpu_and_half_precision(monkeypatch, has_flash, dtype, device, expected):
    """A model is stood in for: no machine of the tests has flash attention."""
    monkeypatch.setattr(released_config, "is_flash_attn_2_available", lambda: has_flash)
    chosen = []
    config = SimpleNamespace(attention_preference="flash_attention_2", _attn_implementation="sdpa")
    model = SimpleNamespace(
        config=config, device=torch.device(device), dtype=dtype, set_attn_implementation=chosen.append
    )
    released_config.follow_attention_preference(model)
    assert chosen == [expected] * (expected is not None)
