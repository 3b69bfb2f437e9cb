"""The configurations of the family: which class a config.json is of, and which values are refused."""

import json

import pytest
from tiny_models import tiny_local_config, tiny_local_v1_config, tiny_tts_config
from transformers import AutoConfig

from transformers_moss_tts import (
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
)


GOLDEN = {
    "moss_tts_delay": (MossTTSDelayConfig, MossTTSDelayModel),
    "moss_tts_local": (MossTTSLocalV1Config, MossTTSLocalV1Model),
    "moss_tts_local_v1_5": (MossTTSLocalConfig, MossTTSLocalModel),
}
TINY = {"delay": tiny_tts_config, "local v1.0": tiny_local_v1_config, "local v1.5": tiny_local_config}


@pytest.mark.parametrize("wrong", GOLDEN)
@pytest.mark.parametrize("folder", GOLDEN)
def test_a_folder_of_another_class_names_its_own(golden_folder, folder, wrong):
    config_class, model_class = GOLDEN[folder]
    wrong_classes = GOLDEN[wrong]
    if wrong == folder:
        assert type(config_class.from_pretrained(golden_folder / folder)) is config_class
        return
    for loader in wrong_classes:
        with pytest.raises(ValueError, match=f"use {config_class.__name__} and {model_class.__name__}, or AutoConfig"):
            loader.from_pretrained(golden_folder / folder)


def test_a_config_of_no_class_of_the_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with pytest.raises(ValueError, match="'llama'"):
        MossTTSDelayConfig.from_pretrained(tmp_path)


def test_auto_config_makes_both_classes_of_one_model_type():
    assert type(AutoConfig.for_model("moss_tts_delay")) is MossTTSDelayConfig
    assert type(AutoConfig.for_model("moss_tts_delay", local_num_layers=2)) is MossTTSLocalV1Config


@pytest.mark.parametrize("name", TINY)
def test_a_saved_config_is_read_back(tmp_path, name):
    config = TINY[name](moss_tts_variant="MOSS-TTSD-v1.0")
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")
    assert type(loaded) is type(config) and loaded.moss_tts_variant == "MOSS-TTSD-v1.0"
    assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "config.json").read_text()
    assert AutoConfig.from_pretrained(tmp_path, n_codebooks=3).n_vq == 3


BAD_VALUES = [
    ("n_vq", 0),
    ("n_vq", 2**31),
    ("audio_vocab_size", -1),
    ("audio_vocab_size", 2**40),
    ("audio_pad_code", 17),
    ("sampling_rate", 0),
    ("pad_token_id", -1),
    ("im_start_token_id", 100),
    ("audio_start_token_id", 1_000_000),
    ("audio_assistant_gen_slot_token_id", 2**70),
    ("initializer_range", float("nan")),
]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("field,value", BAD_VALUES)
def test_bad_values_are_refused_by_name(name, field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        TINY[name](**{field: value})


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads"])
@pytest.mark.parametrize("name", TINY)
def test_absurd_backbones_are_refused_before_they_are_built(name, field):
    language_config = TINY[name]().language_config.to_dict() | {field: 2**31}
    with pytest.raises(ValueError, match=f"`language_config.{field}` must be at least 1 and at most"):
        TINY[name](language_config=language_config)


@pytest.mark.parametrize(
    "build,fields,name",
    [
        (tiny_local_v1_config, {"local_num_layers": 2**31}, "local_num_layers"),
        (tiny_local_v1_config, {"additional_mlp_ffn_hidden_size": 2**40}, "additional_mlp_ffn_hidden_size"),
        (tiny_local_config, {"gpt2_config": {"n_layer": 2**31}}, "gpt2_config.n_layer"),
        (tiny_local_config, {"gpt2_config": {"n_head": 0}}, "gpt2_config.n_head"),
        (tiny_local_config, {"gpt2_config": {"attn_pdrop": 1e308}}, "gpt2_config.attn_pdrop"),
    ],
)
def test_absurd_local_transformers_are_refused(build, fields, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        build(**fields)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("field,value", [("hidden_act", "sillu"), ("pad_token_id", 100), ("pad_token_id", -1)])
def test_a_backbone_that_cannot_be_built_is_refused_by_name(name, field, value):
    language_config = TINY[name]().language_config.to_dict() | {field: value}
    with pytest.raises(ValueError, match=f"`language_config.{field}`"):
        TINY[name](language_config=language_config)


def test_an_unknown_activation_of_the_local_transformer_is_refused():
    with pytest.raises(ValueError, match=r"`gpt2_config\.activation_function` must be one of .*, got 'sillu'"):
        tiny_local_config(gpt2_config={"activation_function": "sillu"})


@pytest.mark.parametrize("folder", GOLDEN)
@pytest.mark.parametrize("implementation", ["flash_attention_2", "somebody/kernels"])
def test_a_preferred_attention_that_is_missing_gives_way_to_sdpa(golden_folder, tmp_path, folder, implementation):
    config = json.loads((golden_folder / folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"attn_implementation": implementation}))
    for config in (AutoConfig.from_pretrained(tmp_path), GOLDEN[folder][0].from_pretrained(tmp_path)):
        assert GOLDEN[folder][1](config).config._attn_implementation == "sdpa"
    # An argument is no preference.
    config = AutoConfig.from_pretrained(tmp_path, attn_implementation=implementation)
    with pytest.raises((ImportError, ValueError)):
        GOLDEN[folder][1](config)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_preferred_attention_that_is_there_is_taken(golden_folder, tmp_path, implementation):
    config = json.loads((golden_folder / "moss_tts_delay" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"attn_implementation": implementation}))
    assert AutoConfig.from_pretrained(tmp_path)._attn_implementation == implementation
