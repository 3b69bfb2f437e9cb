"""Repositories that load with `trust_remote_code=True` where the package is installed, and name it where it is not."""

import json
import os
import subprocess
import sys

import pytest
from tiny_models import GOLDEN_TTS, golden_processor, small_codec, tiny_codec, tiny_local, tiny_local_v1, tiny_tts
from transformers import AutoModel

from transformers_moss_tts import MossTTSDelayModel, MossTTSDelayProcessor
from transformers_moss_tts.loading import moss_tts_plugin
from transformers_moss_tts.loading.remote_code import RemoteCodeMixin


MODULE = "moss_tts_plugin.py"


@pytest.fixture(autouse=True)
def not_registered(monkeypatch):
    monkeypatch.setattr(RemoteCodeMixin, "_saves_module", False)


def saved(folder, name="config.json") -> dict:
    return json.loads((folder / name).read_text())


def run(program: str, folder, home) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"HF_HOME": str(home)},
    )


@pytest.mark.parametrize("build", [tiny_tts, tiny_local_v1, tiny_local, tiny_codec])
def test_registered_classes_are_saved_with_the_module(tmp_path, build):
    model = build()
    model.save_pretrained(tmp_path / "before")
    assert not (tmp_path / "before" / MODULE).exists() and "auto_map" not in saved(tmp_path / "before")
    type(model).register_for_auto_class()
    model.save_pretrained(tmp_path / "after")
    assert (tmp_path / "after" / MODULE).exists()
    auto_map = saved(tmp_path / "after")["auto_map"]
    name = type(model).__name__
    assert auto_map["AutoConfig"] == f"moss_tts_plugin.{type(model.config).__name__}"
    assert auto_map["AutoModel"] == f"moss_tts_plugin.{name}"
    own = "AutoModelForAudioTokenization" if build is tiny_codec else "AutoModelForTextToWaveform"
    assert auto_map[own] == f"moss_tts_plugin.{name}"
    assert ("AutoProcessor" in auto_map) == (build is not tiny_codec)
    for reference in auto_map.values():
        assert hasattr(moss_tts_plugin, reference.split(".")[1])


def test_a_processor_is_saved_with_the_module(tmp_path):
    golden = golden_processor()
    golden.model_config.auto_map = None
    golden.save_pretrained(tmp_path / "before")
    assert "auto_map" not in saved(tmp_path / "before", "processor_config.json")
    MossTTSDelayProcessor.register_for_auto_class()
    golden.save_pretrained(tmp_path / "after")
    auto_map = saved(tmp_path / "after", "processor_config.json")["auto_map"]
    assert auto_map == {"AutoProcessor": "moss_tts_plugin.MossTTSDelayProcessor"}
    assert (tmp_path / "after" / MODULE).exists()


@pytest.mark.parametrize("name", ["moss_tts_delay", "moss_tts_local", "moss_tts_local_v1_5", "moss_audio_tokenizer"])
def test_code_of_the_release_that_is_not_there_is_not_named(golden_folder, tmp_path, name):
    assert "moss_tts_plugin" not in (golden_folder / name / "config.json").read_text()
    model = AutoModel.from_pretrained(golden_folder / name)
    model.save_pretrained(tmp_path)
    assert {path.split(".")[0] for path in saved(tmp_path)["auto_map"].values()} == {"moss_tts_plugin"}
    assert (tmp_path / MODULE).exists()
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / MODULE).exists()


def test_code_that_others_find_stays_named(tmp_path):
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    elsewhere = {"AutoModel": "OpenMOSS-Team/MOSS-TTS--modeling_moss_tts.MossTTSDelayModel"}
    model.config.auto_map = dict(elsewhere)
    model.save_pretrained(tmp_path / "elsewhere")
    assert saved(tmp_path / "elsewhere")["auto_map"] == elsewhere
    beside = {"AutoModel": "modeling_moss_tts.MossTTSDelayModel"}
    model.config.auto_map = dict(beside)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "modeling_moss_tts.py").touch()
    model.save_pretrained(tmp_path / "beside")
    assert saved(tmp_path / "beside")["auto_map"] == beside
    for folder in ("elsewhere", "beside"):
        assert not (tmp_path / folder / MODULE).exists()


LOADS = """
import sys
from pathlib import Path
from transformers import AutoModel, AutoModelForTextToWaveform, AutoProcessor, pipeline

folder = Path(sys.argv[1])
assert "transformers_moss_tts" not in sys.modules
print(*(type(part).__name__ for part in [
    AutoProcessor.from_pretrained(folder / "delay", trust_remote_code=True),
    AutoModel.from_pretrained(folder / "local", trust_remote_code=True),
    AutoModelForTextToWaveform.from_pretrained(folder / "local_v1", trust_remote_code=True),
    AutoModel.from_pretrained(folder / "delay" / "codec", trust_remote_code=True),
]))
speak = pipeline("text-to-speech", model=str(folder / "delay"), trust_remote_code=True)
assert speak("hello world")["audio"].size > 0
# What is trained on and saved again loads as well.
speak.model.save_pretrained(folder / "again")
"""


def test_everything_loads_without_an_import(tmp_path):
    RemoteCodeMixin.register_for_auto_class()
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.do_sample = False
    model.save_pretrained(tmp_path / "delay")
    codec = small_codec()
    codec.save_pretrained(tmp_path / "delay" / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(tmp_path / "delay")
    tiny_local().save_pretrained(tmp_path / "local")
    tiny_local_v1().save_pretrained(tmp_path / "local_v1")
    ran = run(LOADS, tmp_path, tmp_path / "home")
    assert ran.returncode == 0, ran.stderr[-3000:]
    names = ["MossTTSDelayProcessor", "MossTTSLocalModel", "MossTTSLocalV1Model", "MossAudioTokenizerModel"]
    assert ran.stdout.split() == names
    assert (tmp_path / "again" / MODULE).exists() and not list((tmp_path / "again").glob("*moss_tts.py"))


HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "transformers_moss_tts":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from transformers import AutoModel
AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
"""


def test_where_the_package_is_missing_its_name_is_said(tmp_path):
    RemoteCodeMixin.register_for_auto_class()
    tiny_tts().save_pretrained(tmp_path / "model")
    ran = run(HIDDEN, tmp_path / "model", tmp_path / "home")
    assert ran.returncode == 1
    assert "ImportError" in ran.stderr and "pip install transformers_moss_tts" in ran.stderr
