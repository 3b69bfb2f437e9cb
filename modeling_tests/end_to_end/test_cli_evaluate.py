"""`moss-tts evaluate`, with quick scorers and a codec of random weights."""

import dataclasses
import json

import numpy as np
import pytest
from quick_scorers import FixedASR, SpectrumEncoder
from tiny_models import small_codec

from moss_tts_command.arguments import SCORERS, SUITE_OPTIONS
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.cli import main
from transformers_moss_tts.evaluation import SUITES, register_scorer, scorer_names
from transformers_moss_tts.evaluation.suites import SpokenSuite


@pytest.fixture
def folder(tmp_path):
    """A codec of random weights, and a recording with the text that the recognizer hears."""
    register_scorer("asr", "test-asr", FixedASR)
    register_scorer("speaker", "test-speaker", SpectrumEncoder)
    small_codec().save_pretrained(tmp_path / "model")
    save_audio(np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32), tmp_path / "a.wav", 24000)
    utterance = {"id": "a", "audio": "a.wav", "text": FixedASR().transcribe(None, "en")}
    (tmp_path / "data.jsonl").write_text(json.dumps(utterance) + "\n")
    return tmp_path


def test_a_codec_is_measured_and_compared(folder, capsys):
    output = str(folder / "run")
    data = ["--data", str(folder / "data.jsonl"), "--codebooks", "2", "8"]
    scorers = ["--asr", "test-asr", "--speaker", "test-speaker"]
    assert main(["evaluate", str(folder / "model"), "--suite", "codec", *data, *scorers, "-o", output]) == 0
    printed = capsys.readouterr()
    assert "codec: 100%" in printed.err and printed.out == f"{output}/report.md\n"
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert list(summary["groups"]) == ["recording", "2 codebooks", "8 codebooks"]
    assert (
        summary["groups"]["recording"]["wer"]["value"] == 0 and summary["groups"]["8 codebooks"]["stoi"]["value"] < 1
    )

    # With itself: no difference.
    assert main(["evaluate", "--compare", output, output, "-o", str(folder / "both")]) == 0
    printed = capsys.readouterr().out
    assert "| STOI | 8 codebooks | 1 |" in printed and "A better" not in printed and "B better" not in printed
    assert (folder / "both" / "differences.png").is_file()


SENTENCES = ["--suite", "sentences", "--text", "Hi."]


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["model", "--suite", "sentences", "-o", "out"], "needs `--data` or `--text`"),
        (["model", "--data", "a.txt", "-o", "out"], "needs `--suite` and `--output`"),
        (["model", "--suite", "codec", "--data", "a.txt", "--takes", "3", "-o", "out"], "`--takes` is no option"),
        (
            ["model", "--suite", "codec", "--data", "a.txt", "--max-new-tokens", "3", "-o", "out"],
            "`--max-new-tokens` is",
        ),
        (["model", "--suite", "speed", "--text", "Hi.", "--asr", "none", "-o", "out"], "`--asr` is no option"),
        (["--recordings", "--suite", "speed", "--text", "Hi.", "-o", "out"], "`--recordings` is no option"),
        (["--recordings", *SENTENCES, "--device", "cpu", "-o", "out"], "`--device` is of a model"),
        (
            ["model", *SENTENCES, "--speaker", "none", "--voices", "v.jsonl", "-o", "out"],
            "`--voices` is for the scorer",
        ),
        (["model", "--suite", "sentences", "--data", "a.txt", "-o", "out"], "no data at 'a.txt'"),
        (["model", *SENTENCES, "--reference", "a.wav", "-o", "out"], "`--reference` is missing: 'a.wav'"),
        (["model", *SENTENCES, "--asr", "siri", "-o", "out"], "'siri'"),
        (["missing/model", *SENTENCES, "--asr", "none", "--speaker", "none", "-o", "out"], "missing/model"),
        (["moss-audio-tokenizer-tiny", "--suite", "speed", "--text", "Hi.", "-o", "out"], "is a codec"),
        (["model", "--suite", "speed", "--text", "Hi.", "--device", "gpu", "-o", "out"], "'gpu' cannot be used"),
        (["model", "--suite", "speed", "--data", "latin1.txt", "-o", "out"], "'latin1.txt' is not UTF-8"),
        (["model", *SENTENCES, "-o", "latin1.txt"], "is the file 'latin1.txt'"),
        (["--compare", "a", "b"], "'a' holds no finished evaluation"),
        (["--compare", "a", "b", "--asr", "none"], "comparison takes no `--asr`"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1.txt").write_bytes("Müller grüßt.".encode("latin-1"))
    assert main(["evaluate", "--quiet", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("moss-tts: ") and message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["latin1.txt"]


@pytest.mark.parametrize("arguments", [[], ["model", "--recordings"], ["model", "--suite", "singing"]])
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *arguments])
    assert stopped.value.code == 2


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0 and "examples:" in printed and "seed-tts-eval" in printed


def test_the_command_knows_the_suites_and_scorers():
    assert list(SUITE_OPTIONS) == list(SUITES)
    for name, suite in SUITES.items():
        known = {{"references": "reference"}.get(field.name, field.name) for field in dataclasses.fields(suite)}
        known = known - {"data"} | set(suite.scorer_kinds) | {"device", "dtype"}
        known |= {"voices"} if "speaker" in suite.scorer_kinds else set()
        known |= {"recordings"} if suite.takes_recordings else set()
        known |= {"batch_size"} if suite.max_batch_size is None else set()
        known |= {"max_new_tokens"} if issubclass(suite, SpokenSuite) else set()
        assert set(SUITE_OPTIONS[name]) == known, name
    for kind, names in SCORERS.items():
        # Tests may have registered some of their own.
        assert set(names) <= set(scorer_names(kind))
