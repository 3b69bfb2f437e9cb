"""The command `moss-tts`, as a process of its own and through its entry point."""

import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

import moss_tts_command
from moss_tts_command.checks import AUDIO_SUFFIXES
from transformers_moss_tts import MossTTSDelayModel, __version__, cli
from transformers_moss_tts.audio_io import save_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.max_new_tokens = 40
    model.generation_config.text_temperature = 0.0  # it speaks at every seed
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return str(folder)


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "moss_tts_command", *arguments]
    return subprocess.run(command, **({"capture_output": True, "text": True, "timeout": 300} | options))


def check_refused(capsys, code: int, message: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("moss-tts") and message in error and error.count("\n") == 1 and code in (1, 2)


def test_a_text_becomes_a_file(folder, tmp_path):
    target = tmp_path / "new" / "hello.wav"
    result = run("Hello there.", "-o", str(target), "--model", folder, "--seed", "3", "--duration", "1")
    assert result.returncode == 0, result.stderr
    waveform, rate = soundfile.read(target)
    assert rate == 24000 and len(waveform) > 0
    assert str(target) in result.stdout and "real time" in result.stdout
    assert "speaking" in result.stderr and "/12 " in result.stderr


def test_the_bundled_model_speaks_without_model(tmp_path):
    target = tmp_path / "hello.wav"
    assert cli.main(["Hello there.", "-o", str(target), "--quiet"]) == 0
    waveform, rate = soundfile.read(target)
    assert rate == 24000 and 0.5 < len(waveform) / rate < 5 and np.abs(waveform).max() > 0.05


def test_text_comes_from_standard_input_or_a_file(folder, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("hello world\n", encoding="utf-8")
    common = ["--model", folder, "--seed", "3", "--quiet"]
    assert cli.main(["hello world", "-o", str(tmp_path / "argument.wav"), *common]) == 0
    assert cli.main(["speak", "hello world", "-o", str(tmp_path / "command.wav"), *common]) == 0
    assert cli.main(["--text-file", str(tmp_path / "text.txt"), "-o", str(tmp_path / "file.wav"), *common]) == 0
    for name, arguments in (("dash", ["--text-file", "-"]), ("pipe", [])):
        monkeypatch.setattr("sys.stdin", io.StringIO("hello world\n"))
        assert cli.main([*arguments, "-o", str(tmp_path / f"{name}.wav"), *common]) == 0
    expected = soundfile.read(tmp_path / "argument.wav")[0]
    for name in ("command", "file", "dash", "pipe"):
        np.testing.assert_array_equal(soundfile.read(tmp_path / f"{name}.wav")[0], expected)


def test_reference_language_and_seed_count(folder, tmp_path, capsys):
    save_audio(np.random.default_rng(0).normal(0, 0.1, 9600).astype(np.float32), tmp_path / "voice.wav", 24000)
    save_audio(np.random.default_rng(1).normal(0, 0.1, 9600).astype(np.float32), tmp_path / "other.wav", 24000)
    spoken = {}
    for name, options in {
        "plain": [],
        "again": [],
        "seed": ["--seed", "4"],
        "reference": ["--reference", str(tmp_path / "voice.wav")],
        "language": ["--language", "English"],
        "two references": ["--reference", str(tmp_path / "voice.wav"), "--reference", str(tmp_path / "other.wav")],
    }.items():
        target = tmp_path / f"{name}.wav"
        assert cli.main(["hello world", "-o", str(target), "--model", folder, "--quiet", "--seed", "3", *options]) == 0
        spoken[name] = soundfile.read(target)[0]
    np.testing.assert_array_equal(spoken["plain"], spoken["again"])
    for name in ("seed", "reference", "language", "two references"):
        assert len(spoken[name]) != len(spoken["plain"]) or not np.allclose(spoken[name], spoken["plain"])
    assert capsys.readouterr().err == ""


# What the user did wrong, with what the one line says of it. Nothing is written, and no model is loaded.
MISTAKES = {
    "empty text": (["  "], "nothing to say"),
    "text file that is missing": (["--text-file", "missing.txt"], "`--text-file` is missing: 'missing.txt'"),
    "text file in Latin-1": (["--text-file", "latin1.txt"], "'latin1.txt' is not UTF-8 but another encoding"),
    "text file in UTF-16": (["--text-file", "utf16.txt"], "'utf16.txt' is not UTF-8 but UTF-16"),
    "text of bytes": (["M\udcfcller"], "The text is not UTF-8"),
    "reference that is missing": (["Hi.", "--reference", "missing.wav"], "missing.wav"),
    "reference that is no audio": (["Hi.", "--reference", "latin1.txt"], "latin1.txt"),
    "second reference": (["Hi.", "--reference", "tone.wav", "--reference", "missing.wav"], "missing.wav"),
    "model that is nowhere": (["Hi.", "--model", "missing/model"], "no folder 'missing/model', and the Hub"),
    "model that is a codec": (["Hi.", "--model", "moss-audio-tokenizer-tiny"], "is a codec: a generator is needed"),
    "model that is an adapter": (["Hi.", "--model", "moss-tts-tiny-bm-george"], "is an adapter"),
    "model that is a file": (["Hi.", "--model", "tone.wav"], "is a file"),
    "model that is an empty folder": (["Hi.", "--model", "empty"], "holds no model"),
    "device that is none": (["Hi.", "--device", "gpu"], "'gpu' cannot be used here"),
    "device that holds nothing": (["Hi.", "--device", "meta"], "'meta' cannot be used here"),
    "unknown suffix": (["Hi.", "-o", "hello.xyz"], "must end with one of .wav, .flac, .mp3, .ogg, .opus"),
    "no suffix": (["Hi.", "-o", "hello"], "must end with one of"),
    "output that is a folder": (["Hi.", "-o", "folder.wav"], "is the folder 'folder.wav'"),
    "output below a file": (["Hi.", "-o", "tone.wav/hello.wav"], "which is a file"),
    "output that is the reference": (["Hi.", "--reference", "tone.wav", "-o", "tone.wav"], "would be lost"),
    "nearly a command": (["evalute", "model"], "did you mean `moss-tts evaluate`?"),
    "nothing to upload": (["upload", "missing", "me/mine"], "no folder 'missing' to upload"),
    "name without namespace of characters": (["upload", "empty", "a b"], "a b"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "folder.wav"):
        (tmp_path / folder).mkdir()
    (tmp_path / "latin1.txt").write_bytes("Müller grüßt.".encode("latin-1"))
    (tmp_path / "utf16.txt").write_bytes("Hi.".encode("utf-16"))
    save_audio(np.full(2400, 0.1), tmp_path / "tone.wav", 24000)
    before = sorted(tmp_path.rglob("*"))
    arguments, message = MISTAKES[name]
    if "-o" not in arguments and arguments[0] not in cli_commands():
        arguments = [*arguments, "-o", "hello.wav"]
    code = cli.main(arguments)
    check_refused(capsys, code, message)
    assert code == 2 and sorted(tmp_path.rglob("*")) == before


def cli_commands() -> list[str]:
    return list(moss_tts_command.COMMANDS)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["hello"], "required: -o/--output"),
        (["hello", "-o", "a.wav", "--duration", "0"], "above 0"),
        (["hello", "-o", "a.wav", "--duration", "two"], "invalid"),
        (["hello", "-o", "a.wav", "--seed", "-1"], "from 0 to"),
        (["hello", "-o", "a.wav", "--seed", "1e23"], "invalid"),
        (["hello", "-o", "a.wav", "--max-new-tokens", "0"], "at least 1"),
        (["hello", "--text-file", "a.txt", "-o", "a.wav"], "not allowed with"),
        (["hello", "-o", "a.wav", "--loud"], "--loud"),
    ],
)
def test_arguments_that_the_parser_refuses(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    check_refused(capsys, stopped.value.code, message)
    assert stopped.value.code == 2


@pytest.mark.parametrize("data", ["Müller grüßt.".encode("latin-1"), "Hi.".encode("utf-16")])
def test_standard_input_in_another_encoding(tmp_path, capsys, monkeypatch, data):
    # As Python opens it in the C locale.
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="surrogateescape")
    monkeypatch.setattr("sys.stdin", stream)
    code = cli.main(["-o", str(tmp_path / "a.wav")])
    check_refused(capsys, code, "The standard input is not UTF-8")
    assert code == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "file,content",
    [("model.safetensors", 1000), ("tokenizer.json", 500), ("config.json", b"[]"), ("processor_config.json", b"[]")],
)
@pytest.mark.parametrize("command", ["speak", "evaluate"])
def test_a_damaged_checkpoint_is_one_line_and_exit_code_1(folder, tmp_path, capsys, file, content, command):
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / file).write_bytes(content if isinstance(content, bytes) else (damaged / file).read_bytes()[:content])
    arguments = {
        "speak": ["Hi.", "-o", str(tmp_path / "a.wav"), "--model"],
        "evaluate": "evaluate --suite duration --text Hi. -o".split() + [str(tmp_path / "run")],
    }[command]
    code = cli.main([*arguments, str(damaged), "--quiet"])
    check_refused(capsys, code, f"{str(damaged)!r} could not be loaded")
    assert code == 1 and not (tmp_path / "a.wav").exists()


def test_a_speech_that_is_cut_is_written_and_said(folder, tmp_path, capsys):
    target = tmp_path / "cut.wav"
    arguments = [
        "hello world",
        "-o",
        str(target),
        "--model",
        folder,
        "--seed",
        "3",
        "--quiet",
        "--max-new-tokens",
        "14",
    ]
    code = cli.main(arguments)
    check_refused(capsys, code, "was cut: raise `--max-new-tokens`, or accept it with `--allow-cut`")
    assert code == 1 and soundfile.info(target).frames > 0
    assert cli.main([*arguments, "--allow-cut"]) == 0
    target.unlink()
    code = cli.main([*arguments, "--max-new-tokens", "2", "--allow-cut"])
    check_refused(capsys, code, "No sound was spoken within 2 steps")
    assert code == 1 and not target.exists()


def test_an_interruption_and_an_error_of_ours(tmp_path, capsys, monkeypatch):
    arguments = ["Hi.", "-o", str(tmp_path / "a.wav")]
    for error, code, message in (
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "moss-tts: [Errno 28] No space left on device\n"),
        (KeyError("x"), 1, "moss-tts: unexpected KeyError: 'x'\n"),
    ):

        def fail(args, error=error):
            raise error

        monkeypatch.setattr("transformers_moss_tts.cli.speak.run", fail)
        assert cli.main(arguments) == code
        assert capsys.readouterr().err == message


def test_a_closed_pipe_is_no_traceback(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    reader, writer = os.pipe()
    os.close(reader)
    result = run("--help", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    # What argparse prints is lost without an error.
    assert result.returncode == 0 and result.stderr == ""
    with open(writer, "w") as closed, contextlib.suppress(BrokenPipeError), contextlib.redirect_stdout(closed):
        assert cli.main(["upload", str(tmp_path), "me/mine", "--dry-run"]) == 141


def test_help_and_mistakes_are_there_before_torch_is_imported():
    program = (
        "import sys, moss_tts_command\n"
        "try: code = moss_tts_command.main(sys.argv[1:])\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "print(code, 'transformers_moss_tts' in sys.modules, 'torch' in sys.modules)"
    )
    for arguments, code in (
        (["--help"], 0),
        (["evaluate", "--help"], 0),
        (["Hi."], 2),
        (["Hi.", "-o", "a.xyz"], 2),
        (["evalute"], 2),
        (["evaluate", "model", "--suite", "codec", "--data", ".", "--takes", "3", "-o", "out"], 2),
    ):
        command = [sys.executable, "-c", program, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.stdout.splitlines()[-1] == f"{code} False False", arguments


def test_help_lists_the_commands(capsys):
    for arguments, words in (
        (["--help"], ["speak", "evaluate", "upload", "examples:", "exit codes:"]),
        (["speak", "--help"], ["--max-new-tokens", "examples:", "exit codes:"]),
        (["--version"], [__version__]),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        printed = capsys.readouterr().out
        assert stopped.value.code == 0 and all(word in printed for word in words)


def test_what_the_command_knows_is_what_the_package_has(tmp_path):
    for suffix in AUDIO_SUFFIXES:
        save_audio(np.full(2400, 0.1), tmp_path / f"tone{suffix}", 24000)
    with pytest.raises(ValueError, match=", ".join(AUDIO_SUFFIXES)):
        save_audio(np.full(2400, 0.1), tmp_path / "tone.xyz", 24000)
    for name in moss_tts_command.COMMANDS:
        assert callable(importlib.import_module(f"transformers_moss_tts.cli.{name}").run)
    root = Path(__file__).resolve().parents[2]
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert 'moss-tts = "moss_tts_command:main"' in project
