"""The README's blocks, each alone and as it is copied."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from moss_tts_command.arguments import build_parser, complete
from moss_tts_command.checks import check
from transformers_moss_tts import MossTTSGenerationMixin
from transformers_moss_tts.audio_io import load_audio, save_audio


ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# What takes long, and what is tried in its place.
SHORTENED = {"max_steps=300": "max_steps=1, report_to='none'"}
WRITTEN = {
    "Hello there.": ["hello.wav"],
    "voice.wav": ["anna.safetensors", "cloned.wav"],
    "recordings": ["runs/anna/adapter/adapter_model.safetensors", "anna/model.safetensors", "anna/codec/config.json"],
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    voice = load_audio(ROOT / "examples" / "assets" / "reference.ogg", 24000)
    (tmp_path / "recordings").mkdir()
    for name in ("voice", "recordings/a", "recordings/b"):
        save_audio(np.ascontiguousarray(voice[:24000]), tmp_path / f"{name}.wav", 24000)
    for name in "ab":
        (tmp_path / "recordings" / f"{name}.txt").write_text(f"What {name} says.")
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=list(WRITTEN))
def test_a_block_runs_alone(block, place, monkeypatch):
    assert block.startswith("# pip install ")
    for name, replacement in SHORTENED.items():
        block = block.replace(name, replacement)
    generate = MossTTSGenerationMixin.generate
    monkeypatch.setattr(
        MossTTSGenerationMixin, "generate", lambda *args, **options: generate(*args, max_new_tokens=20, **options)
    )
    exec(compile(block, "README.md", "exec"), {"__name__": "block"})
    (written,) = [files for words, files in WRITTEN.items() if f'"{words}"' in block]
    for name in written:
        assert (place / name).stat().st_size > 200


def test_commands_are_understood(place):
    for name in ("anna", "demo"):
        (place / name).mkdir()
    (place / "anna.safetensors").write_bytes(b"voice")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    ours = [shlex.split(line, comments=True)[1:] for line in commands if line.startswith("moss-tts ")]
    assert len(ours) == 5
    for arguments in ours:
        check(build_parser().parse_args(complete(arguments)))
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in commands if line.startswith("make ")} <= set(targets)


def test_links_lead_somewhere_and_the_page_is_short():
    assert len(README.splitlines()) <= 150
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link
