"""`moss-tts evaluate` as its user runs it, with the offline scorers, the bundled codec and a recording of the examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transcription import transcribe

from transformers_moss_tts.cli import main


ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "examples" / "assets" / "reference.ogg"
CODEC = ROOT / "model_cards" / "moss-audio-tokenizer-tiny"


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = os.path.join(os.path.dirname(sys.executable), "moss-tts")
    return subprocess.run([command, "evaluate", *arguments], capture_output=True, text=True, timeout=300)


def test_a_codec_is_measured_and_compared(tmp_path, capsys):
    # What is heard in the recording counts as what was said.
    row = {"id": "a", "audio": str(RECORDING), "text": transcribe(RECORDING)}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    data, output = str(tmp_path / "data.jsonl"), str(tmp_path / "codec")
    result = run(str(CODEC), "--suite", "codec", "--data", data, "--codebooks", "2", "16", "-o", output)
    assert result.returncode == 0, result.stderr
    assert "codec: 100%" in result.stderr and "report.md" in result.stdout
    summary = json.loads((tmp_path / "codec" / "summary.json").read_text())
    few, many = (summary["groups"][f"{count} codebooks"] for count in (2, 16))
    assert summary["groups"]["recording"]["wer"]["value"] == 0
    assert many["stoi"]["value"] > few["stoi"]["value"] > 0.5 and many["wer"]["value"] <= 0.5
    report = (tmp_path / "codec" / "report.md").read_text()
    assert "Whisper base" in report and "two voices: 0.525 (LibriSpeech" in report

    # With itself: no difference.
    assert main(["evaluate", "--compare", output, output, "-o", str(tmp_path / "both")]) == 0
    printed = capsys.readouterr().out
    assert "| STOI | 16 codebooks | 1 |" in printed and "A better" not in printed and "B better" not in printed
    assert (tmp_path / "both" / "differences.png").is_file()


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["model", "--suite", "sentences", "-o", "out"], "needs `--data` or `--text`"),
        (["model", "--data", "a.txt", "-o", "out"], "needs `--suite` and `--output`"),
        (["model", "--suite", "codec", "--data", "a.txt", "--takes", "3", "-o", "out"], "`--takes` is no option"),
        (["model", "--suite", "sentences", "--data", "a.txt", "-o", "out"], "no data at 'a.txt'"),
        (["model", "--suite", "sentences", "--text", "Hi.", "--asr", "siri", "-o", "out"], "'siri'"),
        (
            [
                "missing/model",
                "--suite",
                "sentences",
                "--text",
                "Hi.",
                "--asr",
                "none",
                "--speaker",
                "none",
                "-o",
                "out",
            ],
            "missing/model",
        ),
        (["--compare", "a", "b"], "'a' holds no finished evaluation"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--quiet", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("moss-tts: ") and message in error


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
