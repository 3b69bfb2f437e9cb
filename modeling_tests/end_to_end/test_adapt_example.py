"""The speaker example from recordings to an adapter that the pipeline speaks with."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from transformers_moss_tts.audio_io import save_audio


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("random_checkpoint", ROOT / "examples" / "random_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    module.build_random_checkpoint(folder)
    return folder


def run(*arguments: object) -> str:
    command = [sys.executable, ROOT / "examples" / "adapt_speaker.py", *map(str, arguments)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def test_a_speaker_is_learned(checkpoint, tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for number in range(8):
        save_audio(draw.normal(0, 0.1, 24000).astype(np.float32), tmp_path / f"{number}.wav", 24000)
        rows.append({"audio": f"{number}.wav", "text": f"Number {number}.", "speaker": "anna" if number else "ben"})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "run"
    common = [tmp_path, "--model", checkpoint, "--output", output, "--speaker", "anna", "--minutes", 0.1]
    # Her seven recordings last 0.96 s each, in whole frames.
    printed = run(*common, "--language", "English", "--steps", 2, "--eval-steps", 1, "--batch-size", 2)
    assert "5 recordings of 0.1 minutes, 1 to evaluate with" in printed and "trainable params" in printed
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    losses = [entry["eval_loss_codebook_1"] for entry in state["log_history"] if "eval_loss_codebook_1" in entry]
    assert len(losses) == 3 and losses[0] != losses[2]

    speak = pipeline("text-to-speech", model=str(checkpoint))
    options = {"generate_kwargs": {"max_new_tokens": 40, "seed": 0}}
    plain = speak("Hello.", **options)["audio"]
    speak.model.load_adapter(output / "adapter")
    adapted = speak("Hello.", **options)["audio"]
    assert plain.shape != adapted.shape or not np.array_equal(plain, adapted)
