"""Processes that are killed while they write, and file systems that are full: the old files or the new ones are there, whole."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from quick_scorers import FixedASR
from tiny_models import tiny_codec
from transformers import AutoModel
from trust.writers import WRITERS, Writer

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.evaluation import Sentences, evaluate, register_scorer
from transformers_moss_tts.evaluation.harness.run_folder import read_run
from transformers_moss_tts.training import CodecTrainer, CodecTrainingArguments


# How often a process is killed: in the suite, and by `make torture`.
KILLS = [pytest.param(4, id="few"), pytest.param(50, id="many", marks=pytest.mark.torture)]


@cache
def writer_of(name: str) -> Writer:
    return WRITERS[name]()


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_after(seconds: float, call: Callable[[], None]) -> bool:
    """Runs a call in a child and kills it after some seconds; returns whether it had ended by then."""
    pid = os.fork()
    if pid == 0:
        try:
            torch.set_num_threads(1)
            call()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_whole_files(name, kills, tmp_path):
    writer, draw = writer_of(name), random.Random(0)
    writer.write(tmp_path, 0)
    start = time.perf_counter()
    writer.write(tmp_path, 1)
    duration = time.perf_counter() - start

    def write_for_ever():
        for number in range(10**6):
            writer.write(tmp_path, number)

    seen = set()
    for _ in range(kills):
        assert not killed_after(draw.uniform(0, 4 * duration + 0.05), write_for_ever)
        seen.add(writer.read(tmp_path))
    assert seen <= {0, 1}
    # What the killed processes left does not keep the next one from writing.
    writer.write(tmp_path, 0)
    assert writer.read(tmp_path) == 0


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_evaluation_goes_on(kills, tmp_path):
    register_scorer("asr", "test-asr", FixedASR)
    noise = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    data = tmp_path / "recordings"
    data.mkdir()
    lines = []
    for number in range(3 * kills):
        save_audio(noise, data / f"{number}.wav", 24000)
        lines.append(f'{{"audio": "{number}.wav", "text": "The cat sleeps."}}\n')
    (data / "table.jsonl").write_text("".join(lines))

    def run(output: Path = tmp_path / "run"):
        options = {"asr": "test-asr", "speaker": None, "mos": None, "batch_size": 1, "progress": False}
        return evaluate(None, Sentences(data / "table.jsonl"), output, **options)

    draw, counts = random.Random(0), [0]
    for _ in range(kills):
        killed_after(draw.uniform(0, 0.2), run)
        counts.append(len(read_run(tmp_path / "run")))
    assert counts == sorted(counts)
    assert run() == run(tmp_path / "whole")
    assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")


def train(folder: Path, max_steps: int) -> dict[str, torch.Tensor]:
    codec = tiny_codec(sampling_rate=8000, causal_transformer_context_duration=0.05)
    recordings = [(8000 * np.sin(np.arange(4800) / (3 + number))).astype(np.int16) for number in range(3)]
    every = {"save_steps": 1, "eval_steps": 10**6, "logging_steps": 10**6, "save_total_limit": 1}
    args = CodecTrainingArguments(str(folder), max_steps, batch_size=2, crop_seconds=0.2, warmup_steps=2, **every)
    trainer = CodecTrainer(codec, args, recordings)
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model).state_dict()


@pytest.mark.parametrize("kills", [pytest.param(2, id="few"), pytest.param(50, id="many", marks=pytest.mark.torture)])
def test_a_killed_training_of_a_codec_goes_on(kills, tmp_path):
    draw, max_steps = random.Random(0), 3 * kills
    whole = train(tmp_path / "whole", max_steps)
    for _ in range(kills):
        killed_after(draw.uniform(0.1, 1.0), lambda: train(tmp_path / "run", max_steps))
    weights = train(tmp_path / "run", max_steps)
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == [f"checkpoint-{max_steps}"]


def test_a_codec_killed_right_after_a_checkpoint_gets_its_model_still(tmp_path):
    run = tmp_path / "run"
    weights = train(run, 2)
    # As it is where a kill came between the checkpoint and what follows it.
    shutil.copytree(run / "checkpoint-2", run / "checkpoint-1")
    shutil.rmtree(run / "model")
    train(run, 2)
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-2"]
    model = AutoModel.from_pretrained(run / "model")
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("This process may not mount a file system.")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_files(name, small_disk):
    writer, folder = writer_of(name), small_disk / "out"
    folder.mkdir()
    writer.write(folder, 0)
    before = content_of(folder)
    filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError):
        while True:
            os.write(filler, bytes(4096))
    os.close(filler)
    with pytest.raises(OSError):
        writer.write(folder, 1)
    assert content_of(folder) == before
    (small_disk / "filler").unlink()
    writer.write(folder, 1)
    assert writer.read(folder) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_may_not_grow_leave_the_old_ones(name, tmp_path):
    """As on a full disk, also where no file system can be mounted."""
    writer = writer_of(name)
    writer.write(tmp_path, 0)
    before = content_of(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError):
            writer.write(tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content_of(tmp_path) == before
