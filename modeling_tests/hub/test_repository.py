"""What `save_pretrained` of model and processor writes is a whole repository, laid out and named as the release's are."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer, GenerationConfig

from transformers_moss_tts import MossTTSDelayProcessor, MossTTSLocalProcessor, MossTTSLocalV1Processor


PROCESSORS = {
    "moss_tts_delay": MossTTSDelayProcessor,
    "moss_tts_local": MossTTSLocalV1Processor,
    "moss_tts_local_v1_5": MossTTSLocalProcessor,
}
# The names under which vLLM-Omni (`moss_tts/pipeline.py`) and SGLang-Omni (`moss_tts/config.py`, `moss_tts_local/config.py`)
# find their implementations. That of v1.0 is told from the delay pattern by its fields.
NAMES = {
    "moss_tts_delay": ("MossTTSDelayModel", "moss_tts_delay"),
    "moss_tts_local": ("MossTTSDelayModel", "moss_tts_delay"),
    "moss_tts_local_v1_5": ("MossTTSLocalModel", "moss_tts_local"),
}


@pytest.fixture(params=list(PROCESSORS))
def release(request, golden_folder) -> Path:
    return golden_folder / request.param


@pytest.fixture
def folder(release, tmp_path) -> Path:
    model = AutoModel.from_pretrained(release)
    model.generation_config.audio_temperature = 0.9
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    PROCESSORS[release.name](
        AutoTokenizer.from_pretrained(release),
        model_config=AutoConfig.from_pretrained(release),
        codec_path="OpenMOSS-Team/MOSS-Audio-Tokenizer",
    ).save_pretrained(tmp_path)
    return tmp_path


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_nothing_is_missing(release, folder):
    index = read(folder, "model.safetensors.index.json")["weight_map"]
    shards = set(index.values())
    assert len(shards) > 1 and not (folder / "model.safetensors").exists()
    others = {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "moss_tts_plugin.py",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {path.name for path in folder.iterdir()} == shards | others


def test_the_shards_hold_the_released_tensors(release, folder):
    index = read(folder, "model.safetensors.index.json")["weight_map"]
    released, saved = load_file(release / "model.safetensors"), {}
    for shard in set(index.values()):
        tensors = load_file(folder / shard)
        assert all(index[name] == shard for name in tensors)
        saved |= tensors
    assert saved.keys() == released.keys()
    assert all(torch.equal(saved[name], released[name]) for name in released)


def test_names_are_those_that_servers_look_for(release, folder):
    config, processor = read(folder, "config.json"), read(folder, "processor_config.json")
    architecture, model_type = NAMES[release.name]
    assert (config["architectures"], config["model_type"]) == ([architecture], model_type)
    assert ("local_num_layers" in config) == (release.name == "moss_tts_local")
    assert processor["processor_class"] == PROCESSORS[release.name].__name__
    assert processor["audio_tokenizer_name_or_path"] == "OpenMOSS-Team/MOSS-Audio-Tokenizer"
    # SGLang-Omni loads the processor through it.
    assert processor["auto_map"]["AutoProcessor"].endswith(processor["processor_class"])
    assert GenerationConfig.from_pretrained(folder).audio_temperature == 0.9


def test_a_codec_is_whole_too(golden_folder, tmp_path):
    AutoModel.from_pretrained(golden_folder / "moss_audio_tokenizer").save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "moss_tts_plugin.py"}
    assert read(tmp_path, "config.json")["architectures"] == ["MossAudioTokenizerModel"]


def test_weights_in_pickles_are_not_loaded(release, tmp_path):
    model = AutoModel.from_pretrained(release)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        AutoModel.from_pretrained(tmp_path)


def test_code_of_a_codec_that_a_checkpoint_names_does_not_run(folder, tmp_path, monkeypatch):
    """Trust in a checkpoint, which needs none, is not handed on to another repository."""
    codec = tmp_path / "codec"
    codec.mkdir()
    fields = {"model_type": "other", "auto_map": {"AutoConfig": "other.Config", "AutoModel": "other.Model"}}
    (codec / "config.json").write_text(json.dumps(fields))
    (codec / "other.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    processor = read(folder, "processor_config.json") | {"audio_tokenizer_name_or_path": "codec"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    assert not (tmp_path / "ran").exists()
