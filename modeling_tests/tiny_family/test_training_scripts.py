"""The training example on a corpus of noise: both architectures, stopped and gone on with, spoken with afterwards."""

import contextlib
import io
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoModelForTextToWaveform

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
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    examples = []
    for number, text in enumerate(("One.", "Two and three.", "Four.", "Five, six.", "Never read.")):
        save_audio(draw.normal(0, 0.1, 24000 + 2400 * number).astype(np.float32), folder / f"{number}.wav", 24000)
        examples.append({"audio": f"{number}.wav", "text": text, "speaker": f"speaker {number % 2}", "split": "train"})
        if number < 2:
            examples[-1]["phonemes"] = [
                {"symbol": "a", "start": 0.1, "end": 0.5},
                {"symbol": "b", "start": 0.5, "end": 0.9},
            ]
            examples[-1]["reading"] = [[0.0, 0.0], [1.0, 1.0]]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    (folder / "held_out.txt").write_text("never read\n")
    return folder


def test_a_generator_is_trained_and_speaks(corpus, tmp_path):
    output = tmp_path / "run"
    phases = (PHASES % 1).replace("clone: 1", "clone: 1, paragraph: 1, continued: 1")
    (tmp_path / "phases.yaml").write_text(phases)
    common = [corpus, "--codec", CODEC, "--output", output, "--phases", tmp_path / "phases.yaml", "--batch-size", 2]
    sizes = ["--num-layers", 2, "--hidden-size", 64, "--codebooks", 4, "--architecture", "local"]
    others = ["--guidance", 1, "--held-out", corpus / "held_out.txt"]
    assert "4 examples of 2 speakers" in run("train_tts", *common, *sizes, *others)
    model = AutoModelForTextToWaveform.from_pretrained(output / "model")
    assert type(model).__name__ == "MossTTSLocalModel" and (output / "checkpoint-3").is_dir()

    # It goes on with fewer codebooks.
    shorter = [*common[:3], "--output", tmp_path / "shorter", *common[5:], "--model", output / "model"]
    run("train_tts", *shorter, "--codebooks", 3, "--plain-speakers", "speaker 0")
    config = AutoModelForTextToWaveform.from_pretrained(tmp_path / "shorter" / "model").config
    assert (model.config.n_vq, config.n_vq) == (4, 3) and config.language_config == model.config.language_config

    # As it is shipped: in half of the bytes, which load as float32.
    arguments = [output / "model", tmp_path / "shipped" / "model"]
    assert "moss_tts_local" in run("export_model", *arguments, "--codec", "../codec")
    shipped = AutoModelForTextToWaveform.from_pretrained(arguments[1])
    assert shipped.dtype == torch.float32 and shipped.generation_config.audio_temperature == 0.2
    for name, tensor in model.state_dict().items():
        assert torch.equal(shipped.state_dict()[name], tensor.half().float()), name
    sizes = [Path(folder, "model.safetensors").stat().st_size for folder in arguments]
    assert sizes[1] < 0.6 * sizes[0]

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


def test_who_is_heard_alone_is_not_heard_with_a_reference():
    examples = Dataset.from_list([{"speaker": name} for name in "abca"])
    plain, others = parts_of(examples, ["a"])
    assert (plain["speaker"][:], others["speaker"][:]) == (["a", "a"], ["b", "c"])
    for speakers in (None, ["a", "b", "c"]):
        assert [part["speaker"][:] for part in parts_of(examples, speakers)] == [list("abca")] * 2
    with pytest.raises(SystemExit, match="Nobody is called d"):
        parts_of(examples, ["a", "d"])


def test_codes_are_distilled_and_trained_on(corpus, tmp_path):
    output = tmp_path / "distilled"
    held_out = ["--held-out", corpus / "held_out.txt"]
    run("distill_codes", corpus, "--codec", CODEC, "--output", output, "--steps", 3, "--batch-size", 2, *held_out)
    table = Dataset.from_parquet(str(output / "codes.parquet"))
    # The examples of which it is known when what is said.
    assert [example["text"] for example in table] == ["One.", "Two and three."]
    for example in table:
        codes, recorded = np.array(example["codes"]), np.array(example["recorded_codes"])
        assert codes.shape == recorded.shape == (12 + (example["text"] != "One."), 4)
        assert (codes != recorded).any()
    (tmp_path / "phases.yaml").write_text(PHASES.replace("clone", "plain_clone") % 1)
    common = ["--codec", CODEC, "--output", tmp_path / "run", "--phases", tmp_path / "phases.yaml", "--batch-size", 2]
    sizes = ["--num-layers", 2, "--hidden-size", 64, "--codebooks", 4]
    assert "2 examples of 2 speakers" in run("train_tts", output / "codes.parquet", *common, *sizes)
    codec = ["--model", CODEC, "--decoder-only", "--steps", 2, "--batch-size", 2, "--crop-seconds", 0.4]
    run("train_codec", output / "codes.parquet", *codec, "--output", tmp_path / "codec")
    assert (tmp_path / "codec" / "model" / "model.safetensors").is_file()


def test_a_codec_is_trained_with_phonemes(tmp_path):
    (tmp_path / "recordings").mkdir()
    shutil.copyfile(ROOT / "examples" / "assets" / "reference.ogg", tmp_path / "recordings" / "voice.ogg")
    phonemes = [{"symbol": "a", "start": 0.1, "end": 0.5}]
    example = {"audio": "voice.ogg", "text": "a", "phonemes": phonemes}
    (tmp_path / "recordings" / "metadata.jsonl").write_text(json.dumps(example) + "\n", encoding="utf-8")
    sizes = ["--batch-size", 1, "--crop-seconds", 0.4, "--steps", 2]
    run("train_codec", tmp_path / "recordings", "--model", CODEC, "--phonemes", "--output", tmp_path / "run", *sizes)
    trained = AutoModel.from_pretrained(tmp_path / "run" / "model").state_dict()
    before = AutoModel.from_pretrained(CODEC).state_dict()
    assert any(not torch.equal(before[name], tensor) for name, tensor in trained.items())
