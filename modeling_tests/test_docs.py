"""Every Python block of the documentation runs, page by page, its commands are commands, and the API reference has all names."""

import functools
import importlib
import itertools
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from peft import LoraConfig, get_peft_model
from quick_scorers import FixedASR, SpectrumEncoder
from serving_at import running
from transformers import AutoModelForTextToWaveform, set_seed

from moss_tts_command.arguments import build_parser, complete
from transformers_moss_tts import MossTTSGenerationMixin, bundled_model
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.evaluation import scorers
from transformers_moss_tts.loading.checkpoints import load_generator
from transformers_moss_tts.loading.remote_code import RemoteCodeMixin
from transformers_moss_tts.training import lora_target_modules


ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
PUBLIC_MODULES = ("", ".evaluation", ".hub", ".serving", ".speech", ".training")
# What takes long, and what is tried in its place.
SHORTENED = {
    r"(TrainingArguments\(.*)max_steps=\d+, learning": r"\1max_steps=1, report_to='none', learning",
    r"(CodecTrainingArguments\(.*)max_steps=\d+": r"\1max_steps=1, batch_size=1, crop_seconds=0.4",
    r"CompileConfig\(\)": "CompileConfig(backend='eager')",
}
LONGEST = 24  # steps of a generation that has no other limit


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """What the pages name: recordings, texts, training data and an adapter."""
    folder = tmp_path_factory.mktemp("files")
    voice = load_audio(ROOT / "examples" / "assets" / "reference.ogg", 24000)
    (folder / "recordings").mkdir()
    for name in ("voice", "recording", "beginning", "hello", "anna", "ben", "a", "b", "recordings/a", "recordings/b"):
        save_audio(np.ascontiguousarray(voice[:24000]), folder / f"{name}.wav", 24000)
    for name in "ab":
        (folder / "recordings" / f"{name}.txt").write_text(f"What {name} says.")
    (folder / "story.txt").write_text("It was late. Nobody came.\n")
    (folder / "sentences.txt").write_text("Hello there.\n")
    model = AutoModelForTextToWaveform.from_pretrained(bundled_model())
    adapted = get_peft_model(model, LoraConfig(target_modules=lora_target_modules(model, "attention")))
    adapted.save_pretrained(folder / "runs" / "anna" / "adapter")
    return folder


@pytest.fixture
def speech_server():
    """Address of a server of the bundled model."""
    model, processor = load_generator(bundled_model())
    with running(SimpleNamespace(model=model, processor=processor), model_name="moss-tts-local-tiny") as server:
        yield server.url


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_blocks_of_a_page_run_one_after_the_other(page, files, tmp_path, monkeypatch, request):
    program = "".join(blocks(page, "python"))
    # The released models are stand-ins of their layout, and the Hub is one of this machine.
    if "OpenMOSS-Team/" in program:
        request.getfixturevalue("released_hub")
    if "push_to_hub" in program or "upload(" in program:
        request.getfixturevalue("local_hub")
    if "localhost:8000" in program:
        program = program.replace("http://localhost:8000", request.getfixturevalue("speech_server"))
    for kind, name, factory in (("asr", "whisper-base", FixedASR), ("speaker", "resemblyzer", SpectrumEncoder)):
        monkeypatch.setitem(scorers._SCORERS[kind], name, factory)
    for pattern, replacement in SHORTENED.items():
        program = re.sub(pattern, replacement, program)
    shutil.copytree(files, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    generate = MossTTSGenerationMixin.generate
    limited = functools.wraps(generate)(
        lambda *args, **options: generate(*args, **{"max_new_tokens": LONGEST} | options)
    )
    monkeypatch.setattr(MossTTSGenerationMixin, "generate", limited)
    # A page may ask for the module for all that this process saves.
    monkeypatch.setattr(RemoteCodeMixin, "_saves_module", False)
    set_seed(0)
    exec(compile(program, page, "exec"), {"__name__": "page"})


def test_commands_are_read_by_the_command():
    commands = [
        shlex.split(line)
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert len(commands) > 20
    for words in commands:
        # Of a pipe the part that is ours.
        parts = [list(part) for is_pipe, part in itertools.groupby(words, lambda word: word == "|") if not is_pipe]
        words = next((part for part in parts if part[0] == "moss-tts"), parts[0])
        words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S+", word)]
        if words[0] == "moss-tts":
            build_parser().parse_args(complete(words[1:]))
        elif words[0] in ("python", "accelerate"):
            script = next(ROOT / word for word in words if word.endswith(".py"))
            options = {word for word in words[words.index(str(script.relative_to(ROOT))) :] if word.startswith("--")}
            source = script.read_text(encoding="utf-8")
            assert [option for option in options if f'"{option}"' not in source] == [], words
            assert all((ROOT / word).is_file() for word in words if word.endswith(".yaml"))
        elif words[0] == "serve":
            module, _, name = words[2].partition(":")
            builder = getattr(importlib.import_module(module), name)
            builder.__annotations__["args"](**dict(word.split("=") for word in words[3:]))
        else:
            assert words[0] in ("pip", "curl"), words


def test_the_reference_has_every_public_name():
    listed = [name for page in PAGES for name in re.findall(r"^::: (\S+)", PAGES[page], re.MULTILINE)]
    assert sorted(set(listed)) == sorted(listed)
    public = set()
    for suffix in PUBLIC_MODULES:
        module = importlib.import_module(f"transformers_moss_tts{suffix}")
        public |= {f"{module.__name__}.{name}" for name in module.__all__}
    # The function has the name of its module, which would be shown in its place.
    public = {name.replace("hub.upload", "hub.upload.upload") for name in public}
    assert public - set(listed) == set()
