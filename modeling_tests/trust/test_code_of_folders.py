"""No code of a folder runs without `trust_remote_code=True`, by whatever way the folder is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioTokenization,
    AutoModelForTextToWaveform,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

from moss_tts_command import main
from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayModel, MossTTSDelayProcessor
from transformers_moss_tts.hub import list_files


CODE = """
from pathlib import Path
Path({mark!r}).touch()
class Config: pass
class Model: pass
class Processor: pass
class Tokenizer: pass
def generate(*args, **kwargs): pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A generator with its codec, processor and adapter, all of which name code that leaves a mark."""
    monkeypatch.chdir(tmp_path)
    model, folder = MossTTSDelayModel.from_pretrained(GOLDEN_TTS), tmp_path / "model"
    model.save_pretrained(folder)
    small_codec().save_pretrained(folder / "codec")
    golden_processor(small_codec(), codec_path="codec").save_pretrained(folder)
    lora = LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path="me/voice")
    adapted = get_peft_model(model, lora)
    lora.base_model_name_or_path = "me/voice"
    adapted.save_pretrained(folder / "adapter")
    names = {"AutoConfig": "Config", "AutoProcessor": "Processor"} | dict.fromkeys(
        ("AutoModel", "AutoModelForTextToWaveform", "AutoModelForAudioTokenization"), "Model"
    )
    auto_map = {name: f"evil.{item}" for name, item in names.items()} | {"AutoTokenizer": [None, "evil.Tokenizer"]}
    for file in [path for path in folder.rglob("*config.json") if path.name != "generation_config.json"]:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": auto_map}))
        (file.parent / "evil.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    return folder


def speak(folder: Path) -> None:
    speech = pipeline("text-to-speech", model=str(folder))
    speech("Hello.", generate_kwargs={"max_new_tokens": 12, "seed": 0})


def run_command(folder: Path) -> None:
    argv = [
        "speak",
        "Hello.",
        "-o",
        "out.wav",
        "--model",
        str(folder),
        "--max-new-tokens",
        "16",
        "--allow-cut",
        "--seed",
        "0",
    ]
    assert main([*argv, "--device", "cpu", "--quiet"]) in (0, 1)


WAYS = {
    "config": AutoConfig.from_pretrained,
    "class of the config": MossTTSDelayConfig.from_pretrained,
    "model": AutoModel.from_pretrained,
    "generator": AutoModelForTextToWaveform.from_pretrained,
    "class of the model": MossTTSDelayModel.from_pretrained,
    "codec": lambda folder: AutoModel.from_pretrained(folder / "codec"),
    "codec as tokenizer": lambda folder: AutoModelForAudioTokenization.from_pretrained(folder / "codec"),
    "processor": AutoProcessor.from_pretrained,
    "class of the processor": MossTTSDelayProcessor.from_pretrained,
    "tokenizer": AutoTokenizer.from_pretrained,
    "pipeline": speak,
    "adapter": lambda folder: PeftModel.from_pretrained(AutoModel.from_pretrained(folder), folder / "adapter"),
    "upload": list_files,
    "command": run_command,
    "generation": lambda folder: AutoModel.from_pretrained(folder).generate(
        **golden_processor()(text="Hello."), max_new_tokens=3
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_code_of_a_folder_runs(folder, way):
    way(folder)
    assert not (folder.parent / "ran").exists()


def test_a_custom_loop_is_not_fetched(folder):
    model = AutoModel.from_pretrained(folder)
    with pytest.raises(TypeError, match="custom_generate"):
        model.generate(**golden_processor()(text="Hello."), custom_generate=str(folder))
    assert not (folder.parent / "ran").exists()


def test_the_code_would_leave_its_mark(folder):
    """A test of the tests: what they look for is there once the code is imported."""
    subprocess.run([sys.executable, "evil.py"], cwd=folder, check=True, env=os.environ)
    assert (folder.parent / "ran").exists()
