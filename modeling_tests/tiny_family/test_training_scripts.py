"""The training example on a corpus of noise: both architectures, stopped and gone on with, spoken with afterwards."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForTextToWaveform

from examples.tiny_family.train_tts import parts_of
from transformers_moss_tts.audio_io import save_audio


ROOT = Path(__file__).parents[2]
CODEC = ROOT / "model_cards" / "moss-audio-tokenizer-tiny"
PHASES = """
phases:
  - {name: warmup, steps: 2, max_length: 512, learning_rate: [0, 1e-3], mix: {short: 1}}
  - {name: sentences, steps: %d, max_length: 512, learning_rate: 1e-3, mix: {plain: 1, clone: 1}}
"""


def run(script: str, *arguments: object) -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_module(f"examples.tiny_family.{script}", run_name="__main__")
    return printed.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Recordings of noise of two speakers with their texts, and a table of codes of two of them that are timed."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    examples = []
    for number, text in enumerate(("One.", "Two and three.", "Four.", "Five, six.")):
        save_audio(draw.normal(0, 0.1, 24000).astype(np.float32), folder / f"{number}.wav", 24000)
        examples.append({"audio": f"{number}.wav", "text": text, "speaker": f"speaker {number % 2}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    for number, example in enumerate(examples):
        example |= {"language": "English", "codes": draw.integers(0, 1024, (12, 4)).tolist()}
        is_timed = number < 2
        phonemes = [
            {"symbol": "a", "start": 0.1, "end": 0.5},
            {"symbol": "b", "start": 0.5, "end": 0.9},
        ]
        example |= {
            "phonemes": phonemes if is_timed else None,
            "reading": [[0.0, 0.0], [1.0, 1.0]] if is_timed else None,
        }
    Dataset.from_list(examples).to_parquet(folder / "codes.parquet")
    return folder


def test_a_generator_is_trained_and_speaks(corpus, tmp_path):
    output = tmp_path / "run"
    phases = (PHASES % 1).replace("clone: 1", "clone: 1, paragraph: 1, continued: 1")
    (tmp_path / "phases.yaml").write_text(phases)
    common = ["--codec", CODEC, "--output", output, "--phases", tmp_path / "phases.yaml", "--batch-size", 2]
    sizes = ["--num-layers", 2, "--hidden-size", 64, "--codebooks", 4, "--architecture", "local"]
    assert "4 examples of 2 speakers" in run("train_tts", corpus / "codes.parquet", *common, *sizes, "--guidance", 1)
    model = AutoModelForTextToWaveform.from_pretrained(output / "model")
    assert type(model).__name__ == "MossTTSLocalModel" and (output / "checkpoint-3").is_dir()

    # It goes on with fewer codebooks, for a moment, also with what another one said.
    take = {"text": "One.", "reference": [[0, 1, 2]] * 9, "codes": [[3, 4, 5]] * 12, "language": "English"}
    (tmp_path / "takes.jsonl").write_text(json.dumps(take) + "\n")
    (tmp_path / "phases.yaml").write_text((PHASES % 1).replace("clone: 1", "clone: 1, take: 4"))
    shorter = [*common[:2], "--output", tmp_path / "shorter", *common[4:], "--model", output / "model"]
    shorter += ["--takes", tmp_path / "takes.jsonl"]
    changes = ["--codebooks", 3, "--plain-speakers", "speaker 0", "--minutes", 1e-4]
    run("train_tts", corpus / "codes.parquet", *shorter, *changes)
    config = AutoModelForTextToWaveform.from_pretrained(tmp_path / "shorter" / "model").config
    assert (model.config.n_vq, config.n_vq) == (4, 3) and config.language_config == model.config.language_config

    # Codecs of checkpoints are named beside them.
    (output / CODEC.name).symlink_to(CODEC)
    spoken = tmp_path / "spoken"
    (tmp_path / "sentences.txt").write_text("One.\nTwo.\n")
    common = [tmp_path / "sentences.txt", "--voices", corpus, "--model", output / "model", "--output", spoken]
    printed = run("speak_sentences", *common, "--seconds-per-word", 1, "--max-new-tokens", 10)
    assert "2 sentences" in printed and "duration error" in printed
    examples = [json.loads(line) for line in (spoken / "manifest.jsonl").read_text().splitlines()]
    assert [example["wanted_frames"] for example in examples] == [12, 12]
    assert all((spoken / example["audio"]).is_file() and Path(example["reference"]).is_file() for example in examples)

    # As it is shipped: in half of the bytes, which load as float32.
    arguments = [output / "model", tmp_path / "shipped" / "model", "--codec", "../codec"]
    printed = run("export_model", *arguments)
    shipped = AutoModelForTextToWaveform.from_pretrained(tmp_path / "shipped" / "model")
    assert "moss_tts_local" in printed and shipped.dtype == torch.float32
    assert shipped.generation_config.audio_temperature == 0.2
    for name, tensor in model.state_dict().items():
        assert torch.equal(shipped.state_dict()[name], tensor.half().float()), name
    sizes = [Path(folder, "model.safetensors").stat().st_size for folder in arguments[:2]]
    assert sizes[1] < 0.6 * sizes[0]


def test_who_is_heard_alone_is_not_heard_with_a_reference():
    examples = Dataset.from_list([{"speaker": name} for name in "abca"])
    plain, others = parts_of(examples, ["a"])
    assert (plain["speaker"][:], others["speaker"][:]) == (["a", "a"], ["b", "c"])
    for speakers in (None, ["a", "b", "c"]):
        assert [part["speaker"][:] for part in parts_of(examples, speakers)] == [list("abca")] * 2
    with pytest.raises(SystemExit, match="Nobody is called d"):
        parts_of(examples, ["a", "d"])


def test_losses_are_drawn_one_run_after_the_other(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        '{"step": 1, "mel": 3.0}\n{"step": 2, "mel": "2.0"}\n{"step": 2, "mel": 2.5}\n'
    )
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": 10, "mel": 1.0}, {"step": 20}]}))
    values = runpy.run_module("examples.tiny_family.plot_losses")["read_values"]
    assert values(tmp_path / "log.jsonl", "mel") == [(1, 3.0), (2, 2.5)]
    assert values(tmp_path / "trainer_state.json", "mel") == [(10, 1.0)]
    files = [tmp_path / "log.jsonl", tmp_path / "trainer_state.json"]
    picture = tmp_path / "losses.png"
    run("plot_losses", *files, "--names", "mel", "--title", "Losses", "--output", picture)
    assert picture.stat().st_size > 1000
    with pytest.raises(SystemExit, match="No log has 'stft'"):
        run("plot_losses", *files, "--names", "stft", "--title", "Losses", "--output", picture)
