"""The weights of MOSS-TTS-Nano, whose release has a pickle alone: what of it is read, and what is refused."""

import json
import logging
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import GOLDEN_TTS, tiny_nano
from transformers import AutoModel, AutoModelForTextToWaveform

from transformers_moss_tts import MossTTSNanoModel, cli


class Unpickled(Exception):
    pass


class Pickle:
    """Raises an error where it is opened."""

    def __reduce__(self):
        return _raise, ()


def _raise():
    raise Unpickled


NANO = GOLDEN_TTS.parent / "moss_tts_nano"


@pytest.fixture
def folder(tmp_path):
    """The release in small: a pickle, and no safetensors."""
    ignore = shutil.ignore_patterns("golden*", "*.safetensors")
    return Path(shutil.copytree(NANO, tmp_path / "model", ignore=ignore))


def write(folder, content):
    torch.save(content, folder / "pytorch_model.bin")


def weights_of(folder):
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize("door", [AutoModel, AutoModelForTextToWaveform, MossTTSNanoModel])
def test_a_pickle_without_safetensors_is_read(folder, door, caplog):
    # A key of some files, which nothing reads.
    write(folder, weights_of(folder) | {"local_transformer.wte.weight": torch.zeros(512, 64)})
    expected = door.from_pretrained(NANO).state_dict()
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    model = door.from_pretrained(folder, weights_only=False)
    logger.removeHandler(caplog.handler)
    assert "moss-tts convert" in caplog.text
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())
    assert model.text_lm_head.weight is model.transformer.wte.weight


def test_safetensors_go_before_a_pickle(folder):
    shutil.copyfile(NANO / "model.safetensors", folder / "model.safetensors")
    torch.save(Pickle(), folder / "pytorch_model.bin")
    assert AutoModel.from_pretrained(folder) is not None


@pytest.mark.parametrize("options", [{}, {"weights_only": False}, {"dtype": "auto"}, {"trust_remote_code": True}])
def test_a_pickle_that_runs_code(folder, options):
    for content in (Pickle(), {"transformer.wte.weight": Pickle()}, weights_of(folder) | {"more": Pickle()}):
        write(folder, content)
        with pytest.raises(ValueError, match="refused: it is damaged, or holds more than weights"):
            AutoModel.from_pretrained(folder, **options)


def test_a_pickle_in_the_old_format(folder):
    torch.save(weights_of(folder), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="refused"):
        AutoModel.from_pretrained(folder)


def test_a_pickle_that_grows_in_memory(folder):
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="refused"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 4, 1000, -1000])
def test_a_pickle_that_broke_off(folder, size):
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="refused"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(3)],
        {3: torch.zeros(3)},
        {"a": 3.0},
        {"a": {"b": torch.zeros(3)}},
        {"a": torch.zeros(3, dtype=torch.long)},
        {"a": torch.zeros(1).expand(10**12)},
    ],
    ids=["list", "numbers", "floats", "nested", "integers", "far larger than the file"],
)
def test_a_pickle_of_other_things(folder, content):
    write(folder, content)
    with pytest.raises(ValueError, match="must hold floating point tensors by their names"):
        AutoModel.from_pretrained(folder)


def test_a_pickle_of_another_model(folder):
    weights = weights_of(folder)
    del weights["transformer.ln_f.weight"]
    write(folder, weights | {"other.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"1 missing weights \(transformer.ln_f.weight\) and 1 unexpected"):
        AutoModel.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["gpt2_config"]["n_inner"] = 2**16
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="describes a model of"):
        AutoModel.from_pretrained(folder)


def test_weights_that_are_no_numbers(folder):
    weights = weights_of(folder)
    weights["transformer.ln_f.weight"][3] = float("nan")
    write(folder, weights)
    with pytest.raises(ValueError, match=r"NaN or infinite .transformer\.ln_f\.weight"):
        AutoModel.from_pretrained(folder)


def test_other_pickles_stay_refused(folder):
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00001.bin")
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(OSError, match="save_file"):
        AutoModel.from_pretrained(folder)
    for options in ({"use_safetensors": True}, {"variant": "fp16"}):
        shutil.copyfile(NANO / "pytorch_model.bin", folder / "pytorch_model.bin")
        with pytest.raises(OSError, match="save_file"):
            AutoModel.from_pretrained(folder, **options)
    with pytest.raises(ValueError, match="save_file"):
        AutoModel.from_pretrained(folder, use_safetensors=False)
    adapter = folder.parent / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["c_attn"]})
    )
    torch.save(Pickle(), adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors"):
        tiny_nano().load_adapter(str(adapter))
    with pytest.raises(Unpickled):
        torch.load(adapter / "adapter_model.bin", weights_only=False)


def test_convert_writes_safetensors(folder, tmp_path, capsys):
    target = tmp_path / "converted"
    assert cli.main(["convert", str(folder), str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    assert not list(target.glob("*.bin"))
    weights, expected = load_file(target / "model.safetensors"), load_file(NANO / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(
        torch.equal(weight, expected[name]) and weight.dtype == torch.bfloat16 for name, weight in weights.items()
    )
    config = json.loads((target / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert AutoModel.from_pretrained(target, use_safetensors=True).dtype == torch.float32
    assert (target / "tokenizer.model").exists() and (target / "processor_config.json").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (str(NANO), "nothing to convert"),
        ("missing", "There is no folder 'missing'"),
        ("other", "MossTTSDelayModel reads no pickle"),
    ],
)
def test_what_cannot_be_converted(tmp_path, capsys, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    if source == "other":
        shutil.copytree(GOLDEN_TTS, source, ignore=shutil.ignore_patterns("golden*", "*.safetensors"))
        write(Path(source), {"a": torch.zeros(3)})
    assert cli.main(["convert", source, "target"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("target").exists()


def test_convert_writes_over_nothing(folder, capsys):
    assert cli.main(["convert", str(folder), str(folder)]) == 2
    assert "no empty folder" in capsys.readouterr().err
