"""Checkpoints and adapters of strangers: what is refused, by what name, before it costs or runs anything."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import GOLDEN_CODEC, GOLDEN_TTS, golden_processor, tiny_codec, tiny_local, tiny_local_v1, tiny_tts
from transformers import AutoModel

from transformers_moss_tts import MossAudioTokenizerModel, MossTTSDelayModel


class Unpickled(Exception):
    pass


class Pickle:
    """Raises an error where it is opened."""

    def __reduce__(self):
        return _raise, ()


def _raise():
    raise Unpickled


@pytest.fixture(params=[GOLDEN_TTS, GOLDEN_CODEC], ids=["generator", "codec"])
def folder(request, tmp_path):
    """A copy of a golden checkpoint that a test may damage."""
    ignore = shutil.ignore_patterns("golden*")
    return Path(shutil.copytree(request.param, tmp_path / "model", ignore=ignore))


def write_index(folder, file, **fields):
    names = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, file)} | fields
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def change_config(folder, **fields):
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value != ...}))


@pytest.mark.parametrize("file", ["weights.bin", "pytorch_model.bin", "model-00001-of-00001.pt", "weights"])
def test_an_index_that_names_a_pickle(folder, file):
    write_index(folder, file)
    torch.save(Pickle(), folder / file)
    (folder / "model.safetensors").unlink()
    change_config(folder, dtype=...)
    with pytest.raises(ValueError, match=rf"'{file}', which were refused.*save_file"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "weights.bin"])
def test_a_pickle_that_is_the_checkpoint(folder, name):
    torch.save(Pickle(), folder / name)
    (folder / "model.safetensors").unlink()
    for options in ({}, {"use_safetensors": None}, {"weights_only": False}):
        with pytest.raises(OSError, match="save_file"):
            AutoModel.from_pretrained(folder, **options)
    with pytest.raises(ValueError, match="save_file"):
        AutoModel.from_pretrained(folder, use_safetensors=False)
    change_config(folder, transformers_weights=name)
    with pytest.raises(ValueError, match="transformers_weights"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("file", ["../other.safetensors", "{}/other.safetensors", "a/../../other.safetensors"])
def test_an_index_that_leads_out_of_its_folder(folder, file):
    file = file.format(folder.parent)
    write_index(folder, file)
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    with pytest.raises(ValueError, match="not in its folder"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "no JSON"), ("[]", "weight_map"), ('{"weight_map": {}}', "metadata"), ('{"metadata": {}}', "weight_map")],
)
def test_an_index_that_is_none(folder, content, message):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        AutoModel.from_pretrained(folder)


def test_a_missing_shard(folder):
    write_index(folder, "model-00001-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model-00001-of-00002\.safetensors"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 4, 1000, -1])
def test_a_file_that_broke_off(folder, size):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"damaged .* download (it|them) again"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder, value):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if name.endswith(("norm1.weight", "_layernorm.weight")))
    weights[name][3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 weights of .* are NaN or infinite .*{name}"):
        AutoModel.from_pretrained(folder)


def test_large_weights_are_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name].fill_(3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert AutoModel.from_pretrained(folder) is not None


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_weights_of_a_wrong_kind(folder, dtype):
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name].to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"'{name}' in .* not a floating point number"):
        AutoModel.from_pretrained(folder)


def test_weights_of_another_shape(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if name.endswith(("norm.weight", "norm1.weight")))
    weights[name] = weights[name][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"other shapes than its config\.json says"):
        AutoModel.from_pretrained(folder)


def test_a_config_of_a_far_larger_model_is_not_built():
    """Whatever the sizes are: weights that no file has are not allocated."""
    config = MossTTSDelayModel.config_class.from_pretrained(GOLDEN_TTS)
    config.language_config.intermediate_size = 2**20
    for options in ({}, {"output_loading_info": True}):
        with pytest.raises(ValueError, match=r"describes a model of [0-9,]+ weights, but the files"):
            MossTTSDelayModel.from_pretrained(GOLDEN_TTS, config=config, **options)


@pytest.mark.parametrize(
    "field", ["encoder_kwargs", "quantizer_kwargs", "version", "quantizer_dropout", "sampling_rate"]
)
@pytest.mark.parametrize("value", [[{}], {"a": 1}, [None], "x", -1, 2**31, 1e300])
def test_fields_of_any_kind(tmp_path, field, value):
    """Refused by a name, or taken; never another error."""
    fields = json.loads((GOLDEN_CODEC / "config.json").read_text()) | {field: value}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    try:
        MossAudioTokenizerModel.config_class.from_pretrained(tmp_path)
    except (ValueError, TypeError) as error:
        assert field in str(error)


def test_parameters_of_generation_of_another_kind_are_named(tmp_path):
    tiny_tts().save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text()) | {"max_new_tokens": ""}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="`max_new_tokens` must be a whole number"):
        MossTTSDelayModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_a_config_that_is_no_object(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((ValueError, TypeError, OSError)):
        MossAudioTokenizerModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("build", [tiny_tts, tiny_local, tiny_codec])
def test_an_adapter_that_is_a_pickle(tmp_path, build):
    pytest.importorskip("peft")
    target = "q_proj" if build is not tiny_codec else "input_proj"
    names = {"peft_type": "LORA", "r": 2, "target_modules": [target, "lm_heads.1"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(names))
    torch.save(Pickle(), tmp_path / "adapter_model.bin")
    model = build()
    before = set(model.state_dict())
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors.*save_file"):
        model.load_adapter(str(tmp_path))
    save_file({"a": torch.tensor([float("nan")])}, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN or infinite \(a\)"):
        model.load_adapter(str(tmp_path))
    assert set(model.state_dict()) == before


@pytest.mark.parametrize("build", [tiny_tts, tiny_local_v1, tiny_local, tiny_codec])
def test_saving_on_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, build):
    build(0).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fill_up(tensors, path, **kwargs):
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fill_up)
    with pytest.raises(OSError, match="No space left"):
        build(1).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_config_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    config = tiny_codec().config
    config.save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_text()
    monkeypatch.setattr(type(config), "to_json_string", lambda self, *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        config.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_what_is_saved_replaces_all_of_an_earlier_checkpoint(tmp_path):
    def saved():
        return {path.name for path in tmp_path.iterdir()}

    other = tmp_path / "model.fp16.safetensors"
    tiny_tts(0).save_pretrained(tmp_path, max_shard_size="20KB")
    other.touch()
    assert "model.safetensors.index.json" in saved() and "model.safetensors" not in saved()
    tiny_tts(1).save_pretrained(tmp_path)
    assert saved() == {"config.json", "generation_config.json", "model.safetensors", other.name}
    tiny_tts(2).save_pretrained(tmp_path, max_shard_size="20KB")
    assert "model.safetensors" not in saved() and other.exists()
    loaded, expected = AutoModel.from_pretrained(tmp_path).state_dict(), tiny_tts(2).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


def test_saving_into_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is a file"):
        tiny_codec().save_pretrained(tmp_path / "file")


def test_a_processor_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    processor = golden_processor(codec_path="OpenMOSS-Team/MOSS-Audio-Tokenizer")
    processor.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fill_up(tokenizer, folder, *args, **kwargs):
        Path(folder, "tokenizer.json").write_bytes(b"half of it")
        raise Exception("No space left on device")

    monkeypatch.setattr(type(processor.tokenizer), "save_pretrained", fill_up)
    with pytest.raises(OSError, match="No space left"):
        processor.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    saved = processor.save_pretrained(tmp_path)
    assert saved and all(Path(file).parent == tmp_path and Path(file).exists() for file in saved)
