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
import torch
from tiny_models import GOLDEN_TTS, golden_processor, small_codec

import moss_tts_command
from moss_tts_command.checks import AUDIO_SUFFIXES
from transformers_moss_tts import MossTTSDelayModel, __version__, cli
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.devices import use_threads
from transformers_moss_tts.utils.playing import play


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


def test_a_text_alone_is_a_file_of_its_name_that_is_played(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    played = []
    monkeypatch.setattr("transformers_moss_tts.cli.speak.play", played.append)
    options = ["--model", folder, "--seed", "3"]
    for _ in range(2):
        assert cli.main(["Hello, World!", *options]) == 0
    assert cli.main(["ha" * 50, *options, "--quiet"]) == 0 and cli.main(["Hi.", *options, "-o", "named.wav"]) == 0
    names = ["hello-world.wav", "hello-world-2.wav", "speech.wav", "named.wav"]
    assert [str(path) for path in played] == names[:2]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == names
    assert cli.main(["...", *options]) == 2 and "nothing to say" in capsys.readouterr().err


def test_a_player_that_cannot_is_no_failure(tmp_path, monkeypatch):
    for name, code in (("paplay", 1), ("aplay", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/calls\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    assert play("a.wav")
    assert (tmp_path / "calls").read_text() == "paplay a.wav\naplay -q a.wav\n"
    monkeypatch.setenv("PATH", "")
    assert not play("a.wav")


def test_threads_are_one_for_a_small_model_or_as_many_as_asked(monkeypatch):
    chosen = []
    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with torch.device("meta"):
        small, large = torch.nn.Linear(10, 10), torch.nn.Linear(100_000, 1000)
    use_threads(small)
    use_threads(large)
    use_threads(large, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    use_threads(small)
    assert chosen == [1, 3]


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
    save_audio(np.random.default_rng(0).normal(0, 0.1, 12000).astype(np.float32), tmp_path / "voice.wav", 24000)
    save_audio(np.random.default_rng(1).normal(0, 0.1, 12000).astype(np.float32), tmp_path / "other.wav", 24000)
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
        assert cli.main(["hello world", "-o", str(target), "--model", folder, "--quiet", "--seed", "8", *options]) == 0
        spoken[name] = soundfile.read(target)[0]
    np.testing.assert_array_equal(spoken["plain"], spoken["again"])
    for name in ("seed", "reference", "language", "two references"):
        assert len(spoken[name]) != len(spoken["plain"]) or not np.allclose(spoken[name], spoken["plain"])
    assert capsys.readouterr().err == ""


# Fifty and more mistakes of users, with what the one line on standard error says of each. All exit with 2, nothing is written, and no
# weights are read. `SAY` stands before those of `moss-tts TEXT -o hello.wav`.
SAY = ["Hi.", "-o", "hello.wav"]
MISTAKES = {
    # The output.
    "output that is a folder": (["Hi.", "-o", "folder.wav"], "is the folder 'folder.wav'"),
    "output that is a folder without a suffix": (["Hi.", "-o", "empty"], "is the folder 'empty'"),
    "output without a suffix": (["Hi.", "-o", "hello"], "must end with one of .wav, .flac, .mp3, .ogg, .opus"),
    "output with another suffix": (["Hi.", "-o", "hello.xyz"], "must end with one of"),
    "output that cannot be written": (["Hi.", "-o", "/proc/hello.wav"], "'/proc/hello.wav' cannot be written"),
    "output below a file": (["Hi.", "-o", "tone.wav/hello.wav"], "which is a file"),
    "output with too long a name": (["Hi.", "-o", "x" * 300 + ".wav"], "cannot be written: File name too long"),
    "output that is the reference": (["Hi.", "--reference", "tone.wav", "-o", "tone.wav"], "would be lost"),
    # The references.
    "reference that is missing": ([*SAY, "--reference", "missing.wav"], "`--reference` is missing: 'missing.wav'"),
    "reference that is no audio": ([*SAY, "--reference", "latin1.txt"], "latin1.txt"),
    "reference of no bytes": ([*SAY, "--reference", "nothing.wav"], "is empty: 'nothing.wav'"),
    "reference of no samples": ([*SAY, "--reference", "header.wav"], "no samples"),
    "reference that is silent": ([*SAY, "--reference", "silence.wav"], "'silence.wav' is silent"),
    "reference of 20 ms": (
        [*SAY, "--reference", "short.wav"],
        "'short.wav' lasts 0.02 s: a voice needs at least 0.5 s",
    ),
    "reference of 40 s": (
        [*SAY, "--reference", "long.wav"],
        "'long.wav' lasts 40.0 s; at most 30 s are allowed: cut it",
    ),
    "reference that is a folder": ([*SAY, "--reference", "empty"], "is a folder, not a file: 'empty'"),
    "reference in a damaged data URI": ([*SAY, "--reference", "data:audio/wav;base64,!!"], "not valid base64"),
    "second reference that is missing": ([*SAY, "--reference", "tone.wav", "--reference", "no.wav"], "no.wav"),
    "voice that is none": ([*SAY, "--reference", "none.safetensors"], "none.safetensors"),
    # The text.
    "empty text": (["  ", "-o", "hello.wav"], "nothing to say"),
    "text file that is missing": (["--text-file", "missing.txt"], "`--text-file` is missing: 'missing.txt'"),
    "text file that is empty": (["--text-file", "nothing.wav"], "`--text-file` is empty"),
    "text file that is a folder": (["--text-file", "empty"], "is a folder, not a file"),
    "text file of blanks": (["--text-file", "blank.txt"], "nothing to say"),
    "text file in Latin-1": (["--text-file", "latin1.txt"], "'latin1.txt' is not UTF-8 but another encoding"),
    "text file in UTF-16": (["--text-file", "utf16.txt"], "'utf16.txt' is not UTF-8 but UTF-16"),
    "text of bytes": (["M\udcfcller"], "The text is not UTF-8"),
    "text that is a file's name": (
        ["latin1.txt"],
        "is the name of a file: to speak what is in it, give `--text-file`",
    ),
    "text in another script": (
        ["Привет, мир."],
        "moss-tts-local-tiny speaks English alone, and the text is in Cyrillic letters",
    ),
    "dialogue of a model that knows none": (["[S1] Hi. [S2] You."], "moss-tts-local-tiny knows no dialogue"),
    "two references of such a model": ([*SAY, "--reference", "tone.wav", "--reference", "tone.wav"], "no dialogue"),
    "language that the model does not know": ([*SAY, "--language", "Klingon"], "not 'Klingon'"),
    # The model.
    "model that is nowhere": ([*SAY, "--model", "missing/model"], "no folder 'missing/model', and the Hub"),
    "model that is nearly bundled": ([*SAY, "--model", "moss-tts-tini"], "did you mean the bundled 'moss-tts-tiny'?"),
    "model that is a codec": ([*SAY, "--model", "moss-audio-tokenizer-tiny"], "is a codec: a generator is needed"),
    "adapter of a codec": ([*SAY, "--model", "sound"], "is an adapter of a codec"),
    "adapter without a base": ([*SAY, "--model", "lost"], "no folder 'nobody/nothing', and the Hub"),
    "model that is a file": ([*SAY, "--model", "tone.wav"], "is a file"),
    "model that is an empty folder": ([*SAY, "--model", "empty"], "holds no model"),
    # The numbers and the device.
    "device that is not there": ([*SAY, "--device", "cuda:77"], "'cuda:77' cannot be used here"),
    "device that is none": ([*SAY, "--device", "gpu"], "'gpu' cannot be used here"),
    "device that holds nothing": ([*SAY, "--device", "meta"], "'meta' cannot be used here"),
    "duration of 0": ([*SAY, "--duration", "0"], "--duration: must be from 0.1 to 3600 seconds, got '0'"),
    "duration below a frame": ([*SAY, "--duration", "0.01"], "got '0.01'"),
    "duration of hours": ([*SAY, "--duration", "10000"], "got '10000'"),
    "duration that is a word": ([*SAY, "--duration", "two"], "got 'two'"),
    "duration that is not finite": ([*SAY, "--duration", "nan"], "got 'nan'"),
    "duration beyond the model": ([*SAY, "--duration", "100"], "longer than 1024 frames (82 s)"),
    "duration beyond the limit": ([*SAY, "--duration", "2", "--max-new-tokens", "20"], "raise `--max-new-tokens`"),
    "negative seed": ([*SAY, "--seed", "-1"], "from 0 to 2**63 - 1, got '-1'"),
    "seed in floating point": ([*SAY, "--seed", "1e23"], "got '1e23'"),
    "seed that is too large": ([*SAY, "--seed", "9" * 30], "from 0 to 2**63 - 1"),
    "no frames": ([*SAY, "--max-new-tokens", "0"], "at least 1, got '0'"),
    "no threads": ([*SAY, "--threads", "0"], "from 1 to 1024, got '0'"),
    # The words.
    "text and text file": ([*SAY, "--text-file", "a.txt"], "not allowed with"),
    "unknown option": ([*SAY, "--loud"], "--loud"),
    "option without a value": ([*SAY, "--seed"], "expected one argument"),
    "two texts": (["Hi.", "there.", "-o", "hello.wav"], "unrecognized arguments: there."),
    "two texts, one of which steers the terminal": (["Hi.", "\x1b[2J", "-o", "hello.wav"], "arguments: \\x1b[2J"),
    "a model whose name steers the terminal": (["Hi.", "--model", "\x1b[2J"], "\\x1b[2J"),
    "nearly a command": (["evalute", "model"], "did you mean `moss-tts evaluate`?"),
    "nothing to upload": (["upload", "missing", "me/mine"], "no folder 'missing' to upload"),
    "name without namespace of characters": (["upload", "empty", "a b"], "a b"),
    "evaluation without a suite": (["evaluate", "moss-tts-tiny", "-o", "run"], "needs `--suite` and `--output`"),
    "evaluation of a model that is nowhere": (
        ["evaluate", "missing/model", "--suite", "speed", "--text", "Hi.", "-o", "run"],
        "no folder 'missing/model'",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the mistakes name, in a folder of its own."""
    place = tmp_path_factory.mktemp("mistakes")
    for name in ("empty", "folder.wav", "lost", "sound"):
        (place / name).mkdir()
    (place / "lost" / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/nothing"}')
    (place / "sound" / "adapter_config.json").write_text('{"base_model_name_or_path": "moss-audio-tokenizer-tiny"}')
    (place / "latin1.txt").write_bytes("Müller grüßt.".encode("latin-1"))
    (place / "utf16.txt").write_bytes("Hi.".encode("utf-16"))
    (place / "blank.txt").write_text(" \n")
    (place / "nothing.wav").touch()
    (place / "none.safetensors").write_bytes(b"none")
    tone = 0.1 * np.sin(np.arange(40 * 16000) / 10)
    for name, seconds, level in (("tone", 1, 1), ("short", 0.02, 1), ("long", 40, 1), ("silence", 1, 0)):
        save_audio(level * tone[: int(seconds * 16000)], place / f"{name}.wav", 16000)
    (place / "header.wav").write_bytes((place / "tone.wav").read_bytes()[:44])
    return place


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(place, capsys, monkeypatch, name):
    monkeypatch.chdir(place)
    # A download or weights that are read would take their time.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", None)
    before = sorted(place.rglob("*"))
    arguments, message = MISTAKES[name]
    try:
        code = cli.main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    check_refused(capsys, code, message)
    assert code == 2 and sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Hi.", "--model", "missing/model"], "no folder 'missing/model'"),
        (["--text-file", "latin1.txt"], "not UTF-8"),
        (["Hi.", "-o", "hello.xyz"], "must end with one of"),
    ],
)
def test_a_process_says_no_more_than_the_line(place, arguments, message):
    result = run(*arguments, cwd=place, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert result.returncode == 2 and result.stdout == ""
    assert message in result.stderr and result.stderr.count("\n") == 1, result.stderr


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
        ([" "], 2),
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
