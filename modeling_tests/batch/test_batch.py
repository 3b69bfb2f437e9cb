"""Corpora that are read aloud, and recordings that are encoded, with workers that may die."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile


pytest.importorskip("ray.data")

from moss_tts_command import main
from transformers_moss_tts import bundled_model
from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.batch.runs import Encoding, Reading
from transformers_moss_tts.loading.checkpoints import load_generator, load_processor
from transformers_moss_tts.speech import Guards, speak, speak_long
from transformers_moss_tts.training import encode_recordings, load_table


ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "examples" / "assets" / "reference.ogg"
MODEL = bundled_model()


def in_process(blocks, worker, options):
    """One worker, without Ray."""
    worker = worker(**options)
    yield from map(worker, blocks)


def table_of(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def records_of(folder: Path, name: str = "metadata.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def read_aloud(table: Path, output: Path, workers=in_process):
    return Reading(load_table(str(table)), output, MODEL, ".wav", 0, None, {}).run(workers, quiet=True)


def write_recordings(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    voice = load_audio(REFERENCE, 24000)
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", voice[number * 100 : number * 100 + 24000], 24000)
    return table_of(folder, [{"audio": f"{number}.wav", "text": f"Number {number}."} for number in range(count)])


def test_a_corpus_is_read_aloud(tmp_path):
    """Each line as `speak` says it, in the order of the table, whatever is spoken beside it."""
    lines = [
        {"text": "The old clock on the wall has stopped.", "id": "clock", "seed": 3, "chapter": 1},
        {"text": "Hello there.", "reference": str(REFERENCE)},
        {"text": "Good morning.", "language": "English"},
        {"text": "One. [pause 1.5s] Two.", "reference": str(REFERENCE)},
    ]
    outcome = read_aloud(table_of(tmp_path, lines), tmp_path / "out")
    records = records_of(tmp_path / "out")
    assert outcome.problems == [] and [record["text"] for record in records] == [line["text"] for line in lines]
    assert [record["id"] for record in records] == ["clock", "000001", "000002", "000003"] and records[0][
        "chapter"
    ] == 1
    model, processor = load_generator(MODEL)
    for record in records:
        fields = {name: record[name] for name in ("reference", "language") if name in record}
        spoken = speak(model, processor, record["text"], seed=record["seed"], guards=Guards(), **fields)
        audio, rate = soundfile.read(tmp_path / "out" / record["audio"])
        assert rate == 24000 and record["duration"] == pytest.approx(len(audio) / rate)
        np.testing.assert_allclose(audio, spoken.audio[0], atol=1e-3)
    # What is made is a table of recordings.
    assert len(load_table(str(tmp_path / "out"))) == 4


def test_a_long_text_is_said_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers_moss_tts.batch.speaking._LONG", 2.0)
    text = "It was a dark night. " * 5 + "\n\nNobody came."
    read_aloud(table_of(tmp_path, [{"text": text, "id": "story", "seed": 2}]), tmp_path / "out")
    model, processor = load_generator(MODEL)
    options = {"seed": 2, "progress": False, "generate_kwargs": {"max_new_tokens": 750}}
    said = speak_long(model, processor, text, tmp_path / "story.wav", **options)
    assert (tmp_path / "out" / "audio" / "story.wav").read_bytes() == said.path.read_bytes()
    assert records_of(tmp_path / "out")[0]["duration"] == said.seconds


def test_a_batch_that_was_stopped_goes_on(tmp_path):
    lines = [{"text": f"This is number {number}.", "id": f"n{number}"} for number in range(10)]
    table = table_of(tmp_path, lines)
    read_aloud(table, tmp_path / "whole")

    def that_dies(blocks, worker, options):
        yield from list(in_process(list(blocks)[:1], worker, options))
        raise RuntimeError("A worker failed.")

    with pytest.raises(RuntimeError):
        read_aloud(table, tmp_path / "out", that_dies)
    assert len(records_of(tmp_path / "out")) == 8
    # A line that was being written when the process died.
    with (tmp_path / "out" / "metadata.jsonl").open("a") as file:
        file.write('{"audio": "audio/n1')
    spoken = []

    def that_counts(blocks, worker, options):
        for block in in_process(blocks, worker, options):
            spoken.append(block.num_rows)
            yield block

    read_aloud(table, tmp_path / "out", that_counts)
    assert sum(spoken) == 2
    assert records_of(tmp_path / "out") == records_of(tmp_path / "whole")
    for record in records_of(tmp_path / "whole"):
        assert (tmp_path / "out" / record["audio"]).read_bytes() == (tmp_path / "whole" / record["audio"]).read_bytes()
    # A line that has changed is spoken again, and no other.
    lines[3]["text"] = "This is another text."
    spoken.clear()
    read_aloud(table_of(tmp_path, lines), tmp_path / "out", that_counts)
    assert sum(spoken) == 1 and records_of(tmp_path / "out")[3]["text"] == "This is another text."


def test_recordings_are_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("transformers_moss_tts.batch.encoding.LINES_OF_A_FILE", 4)
    monkeypatch.setattr("transformers_moss_tts.batch.runs.LINES_OF_A_FILE", 4)
    table = load_table(str(write_recordings(tmp_path / "recordings", 6)))
    expected = encode_recordings(table, load_processor(MODEL), cache_dir=tmp_path / "other")
    outcome = Encoding(table, tmp_path / "out", MODEL, {}).run(in_process, quiet=True)
    assert outcome.problems == [] and not (tmp_path / "out" / "problems.jsonl").exists()
    encoded = load_table(str(tmp_path / "out"))
    assert encoded["text"] == expected["text"] and encoded["codec"] == expected["codec"]
    assert all(np.array_equal(*pair) for pair in zip(encoded["codes"], expected["codes"]))
    # A recording that says nothing has no line, until there is one that does.
    quiet = tmp_path / "recordings" / "5.wav"
    good = quiet.read_bytes()
    soundfile.write(quiet, np.zeros(24000), 24000)
    outcome = Encoding(table, tmp_path / "with", MODEL, {}).run(in_process, quiet=True)
    assert len(outcome.problems) == 1 and "line 6" in outcome.problems[0] and "silent" in outcome.problems[0]
    assert len(load_table(str(tmp_path / "with"))) == 5
    quiet.write_bytes(good)
    assert Encoding(table, tmp_path / "with", MODEL, {}).run(in_process, quiet=True).problems == []
    assert len(load_table(str(tmp_path / "with"))) == 6


@pytest.mark.parametrize(
    "message,lines,options",
    [
        ("no column `text`", [{"words": "Hello."}], []),
        ("line 2: `text` must be a text", [{"text": "Hello."}, {"text": " "}], []),
        ("line 1: There is nothing to say", [{"text": "[pause 1s] ..."}], []),
        ("line 1: '[pause soon]' is no pause", [{"text": "Hello. [pause soon]"}], []),
        ("line 1: `id` must be", [{"text": "Hello.", "id": "../x"}], []),
        ("line 2: there is another line with the `id`", [{"text": "a", "id": "A"}, {"text": "b", "id": "a"}], []),
        ("2 of 2 lines", [{"text": "Hello.", "reference": "no.wav"}] * 2, []),
        ("line 1: `seed` must be", [{"text": "Hello.", "seed": -1}], []),
        ("speaks English", [{"text": "Hello.", "language": "German"}], []),
        ("`audio`, which is written here", [{"text": "Hello.", "audio": "a.wav"}], []),
        ("no column `audio`", [{"text": "Hello."}], ["--encode"]),
        ("line 1: there is no file", [{"text": "Hello.", "audio": "a.wav"}], ["--encode"]),
        ("`--seed` is of speech", [{"text": "Hello.", "audio": "a.wav"}], ["--encode", "--seed", "0"]),
        ("There is no folder 'nothing'", [{"text": "Hello."}], ["--model", "nothing"]),
        ("no JSON", None, []),
    ],
)
def test_mistakes_are_one_line_before_a_model_is_loaded(message, lines, options, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = table_of(tmp_path, lines or [])
    if lines is None:
        table.write_text("Hello.\n")
    assert main(["batch", str(table), "-o", "out", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not Path("out").exists()


def test_folders_of_something_else_are_refused(tmp_path, capsys):
    table = table_of(tmp_path, [{"text": "Hello."}])
    read_aloud(table, tmp_path / "out")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    for output, options, message in (
        ("out", ["--seed", "1"], "another seed"),
        ("out", ["--encode"], "another task"),
        ("notes", [], "holds no batch"),
        ("table.jsonl", [], "is a file"),
    ):
        assert main(["batch", str(table), "-o", str(tmp_path / output), *options]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def workers_of(folder: Path) -> list[int]:
    """Processes of the workers that were started for a folder."""
    mark = f"MOSS_TTS_TEST={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_worker = b"MapWorker" in (process / "cmdline").read_bytes()
            if is_worker and mark in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def run_command(folder: Path, *words: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MOSS_TTS_TEST": str(folder)}
    # Where other tests keep the machine busy, Ray takes its time to start.
    environment["RAY_raylet_start_wait_time_s"] = "300"
    command = [
        sys.executable,
        "-m",
        "moss_tts_command",
        "batch",
        *words,
        "--workers",
        "2",
        "--threads",
        "1",
        "--quiet",
    ]
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="The workers are found in /proc.")
def test_a_worker_that_is_killed(tmp_path):
    """What is finished stays, and the end is as if nobody had died."""
    lines = [{"text": f"This is number {number} of a corpus.", "id": f"n{number}"} for number in range(48)]
    table = table_of(tmp_path, lines)
    command = run_command(tmp_path, "table.jsonl", "-o", "out")
    kept: dict[Path, int] = {}
    while command.poll() is None:
        finished = list((tmp_path / "out" / "audio").glob("[!.]*.wav"))
        if not kept and len(finished) >= 8 and (workers := workers_of(tmp_path)):
            kept = {path: path.stat().st_mtime_ns for path in finished}
            os.kill(workers[0], signal.SIGKILL)
        time.sleep(0.1)
    output = command.communicate()[0].decode()
    assert command.returncode == 0 and kept, output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    read_aloud(table, tmp_path / "whole")
    assert records_of(tmp_path / "out") == records_of(tmp_path / "whole")
    for record in records_of(tmp_path / "whole"):
        assert (tmp_path / "out" / record["audio"]).read_bytes() == (tmp_path / "whole" / record["audio"]).read_bytes()


@pytest.mark.torture
def test_recordings_are_encoded_by_two_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    table = write_recordings(tmp_path / "recordings", 300)
    command = run_command(tmp_path, "recordings/table.jsonl", "-o", "out", "--encode")
    output = command.communicate()[0].decode()
    assert command.returncode == 0, output
    expected = encode_recordings(load_table(str(table)), load_processor(MODEL), cache_dir=tmp_path / "other")
    encoded = load_table(str(tmp_path / "out"))
    assert encoded["text"] == expected["text"]
    assert all(np.array_equal(*pair) for pair in zip(encoded["codes"], expected["codes"]))
