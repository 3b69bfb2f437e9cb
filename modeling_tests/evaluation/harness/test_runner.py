"""Runs that are stopped, utterances that fail, and input that is refused before anything is generated."""

import json

import numpy as np
import pytest
from quick_scorers import FixedASR, PeakMOS

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.evaluation import (
    CodecReconstruction,
    Duration,
    SeedTTSEval,
    Sentences,
    Speed,
    Stability,
    Utterance,
    compare,
    evaluate,
    register_scorer,
)
from transformers_moss_tts.evaluation.harness.run_folder import read_run


class StoppingASR(FixedASR):
    """Is interrupted at its third recording."""

    def __init__(self):
        self.count = 0

    def transcribe(self, waveform, language):
        self.count += 1
        if self.count == 3:
            raise KeyboardInterrupt
        return super().transcribe(waveform, language)


class WordsASR(FixedASR):
    """Hears words that are set from outside."""

    heard = ""

    def transcribe(self, waveform, language):
        return self.heard


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been(checkpoint, data, scorers, tmp_path):
    suite = Sentences(data / "recordings.jsonl", modes=["plain"])
    register_scorer("asr", "stopping", StoppingASR)
    with pytest.raises(KeyboardInterrupt):
        evaluate(checkpoint, suite, tmp_path / "run", batch_size=3, **(scorers | {"asr": "stopping"}))
    first = read_run(tmp_path / "run")
    assert len(first) == 2 and not (tmp_path / "run" / "report.md").exists()
    times = {record["audio"]: (tmp_path / "run" / record["audio"]).stat().st_mtime_ns for record in first}
    # The process died while it wrote a line.
    with open(tmp_path / "run" / "utterances.jsonl", "a") as file:
        file.write('{"id": "half a li')

    register_scorer("asr", "stopping", FixedASR)
    summary = evaluate(checkpoint, suite, tmp_path / "run", batch_size=3, **(scorers | {"asr": "stopping"}))
    other = evaluate(checkpoint, suite, tmp_path / "whole", batch_size=3, **(scorers | {"asr": "stopping"}))
    assert summary == other and summary["utterances"] == 4
    assert read_run(tmp_path / "run") == read_run(tmp_path / "whole")
    kept = [name for name, time in times.items() if (tmp_path / "run" / name).stat().st_mtime_ns == time]
    # The half line cost its task, and with it the one before it.
    assert len(kept) == 1


def test_a_finished_run_is_only_reported_again(checkpoint, data, scorers, tmp_path):
    suite = Sentences(data / "lines.txt", count=1)
    summary = evaluate(checkpoint, suite, tmp_path / "run", **scorers)
    (tmp_path / "run" / "report.md").unlink()
    register_scorer("asr", "test-asr", StoppingASR)
    try:
        assert evaluate(checkpoint, suite, tmp_path / "run", **scorers) == summary
    finally:
        register_scorer("asr", "test-asr", FixedASR)
    assert "MossTTSDelayModel" in (tmp_path / "run" / "report.md").read_text()


def test_one_failing_utterance_is_reported_and_tried_again(checkpoint, data, scorers, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    items = [
        Utterance("good", "The cat sleeps.", data / "0.wav"),
        Utterance("bad", "A big dog barks.", broken),
        Utterance("other", "Birds sing at dawn.", data / "1.wav"),
    ]
    summary = evaluate(checkpoint, Sentences(items), tmp_path / "run", **scorers)
    assert (summary["utterances"], summary["failed"]) == (2, 1)
    assert summary["groups"]["clone"]["wer"]["count"] == 2
    report = (tmp_path / "run" / "report.md").read_text()
    assert "1 utterances failed" in report and "| bad-clone | ValueError:" in report and "broken.wav" in report

    save_audio(np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32), broken, 24000)
    summary = evaluate(checkpoint, Sentences(items), tmp_path / "run", **scorers)
    assert (summary["utterances"], summary["failed"]) == (3, 0)
    assert "failed**" not in (tmp_path / "run" / "report.md").read_text()


class NotANumber(PeakMOS):
    def predict(self, waveform):
        return float("nan")


def test_a_score_that_is_no_number_spoils_no_mean(data, scorers, tmp_path):
    register_scorer("mos", "nan", NotANumber)
    with pytest.raises(RuntimeError, match="JSON compliant"):
        evaluate(None, Sentences(data / "recordings.jsonl", count=2), tmp_path / "run", **(scorers | {"mos": "nan"}))


def test_a_run_in_which_everything_fails_has_no_report(checkpoint, scorers, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    items = [Utterance("bad", "A big dog barks.", tmp_path / "broken.wav")]
    with pytest.raises(RuntimeError, match=r"All 1 utterances failed.*broken\.wav"):
        evaluate(checkpoint, Sentences(items), tmp_path / "run", **scorers)
    assert not (tmp_path / "run" / "report.md").exists()


def test_a_folder_of_another_run_is_not_mixed_with_this_one(checkpoint, data, scorers, tmp_path):
    evaluate(checkpoint, Sentences(data / "lines.txt", count=1), tmp_path / "run", **scorers)
    for suite, options, message in (
        (Sentences(data / "lines.txt", count=2), {}, "another options"),
        (Sentences(data / "lines.txt", count=1), {"mos": None}, "another scorers"),
        (Speed(data / "lines.txt", count=1), {}, "another suite"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(checkpoint, suite, tmp_path / "run", **(scorers | options))
    (tmp_path / "data.txt").write_text("The cat sleeps.\n")
    suite = Sentences(tmp_path / "data.txt")
    evaluate(checkpoint, suite, tmp_path / "changed", **scorers)
    (tmp_path / "data.txt").write_text("A big dog barks.\n")
    with pytest.raises(ValueError, match="the data has changed"):
        evaluate(checkpoint, suite, tmp_path / "changed", **scorers)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("important")
    with pytest.raises(ValueError, match="not empty"):
        evaluate(checkpoint, Sentences(data / "lines.txt", count=1), tmp_path / "other", **scorers)


@pytest.mark.parametrize(
    "make_suite,options,message",
    [
        (lambda data: Sentences(data / "missing.txt"), {}, "no data at"),
        (lambda data: Sentences([]), {}, "empty"),
        (lambda data: Sentences([Utterance("a", "...")]), {}, "nothing to say"),
        (lambda data: Sentences([Utterance("../a", "Hi.")]), {}, "'../a'"),
        (lambda data: Sentences([Utterance("a", "Hi.", data / "missing.wav")]), {}, "missing.wav"),
        (lambda data: Sentences(data / "lines.txt", references=[str(data / "no.wav")]), {}, "no.wav"),
        (lambda data: Sentences(data / "lines.txt", modes=["clone"]), {}, "has no reference"),
        (lambda data: Sentences(data / "lines.txt", modes=["sing"]), {}, "'sing'"),
        (lambda data: Sentences(data / "lines.txt", language="xx"), {}, "'xx'"),
        (lambda data: Sentences(data / "lines.txt", language="zh"), {}, r"cannot transcribe 'zh'.*paraformer-zh"),
        (lambda data: Sentences(data / "lines.txt", count=0), {}, "`count`"),
        (lambda data: Sentences(data / "lines.txt"), {"asr": "siri"}, r"no asr scorer 'siri'.*whisper-base"),
        (lambda data: Sentences(data / "lines.txt"), {"speaker": "siri"}, r"no speaker scorer 'siri'.*resemblyzer"),
        (lambda data: Sentences(data / "lines.txt"), {"mos": "siri"}, "no mos scorer 'siri'"),
        (lambda data: Sentences(data / "lines.txt"), {"asr": "nobody/whisper"}, "could not be loaded"),
        (lambda data: Sentences(data / "lines.txt"), {"batch_size": 0}, "`batch_size`"),
        (lambda data: Duration(data / "lines.txt", rates=[0.0]), {}, "`rates`"),
        (lambda data: Stability(data / "lines.txt", takes=0), {}, "`takes`"),
        (lambda data: CodecReconstruction(data / "lines.txt"), {}, "needs recordings"),
        (lambda data: CodecReconstruction(data, codebooks=[99]), {}, "8 codebooks, 99"),
        (lambda data: CodecReconstruction(data), {"generate_kwargs": {"max_new_tokens": 3}}, "generates nothing"),
    ],
)
def test_bad_input_is_refused_before_anything_is_generated(
    checkpoint, data, scorers, tmp_path, make_suite, options, message
):
    with pytest.raises(ValueError, match=message):
        evaluate(checkpoint, make_suite(data), tmp_path / "run", **(scorers | options))
    assert not list(tmp_path.glob("run/audio/*"))


def test_baselines_need_two_voices(checkpoint, data, scorers, tmp_path):
    with pytest.raises(ValueError, match="two speakers or more"):
        evaluate(checkpoint, Sentences(data / "lines.txt"), tmp_path, voices=data / "lines.txt", **scorers)


def test_models_that_do_not_fit_the_suite(checkpoint, data, scorers, tmp_path):
    with pytest.raises(ValueError, match="is a codec"):
        evaluate(checkpoint + "/codec", Sentences(data / "lines.txt"), tmp_path, **scorers)
    with pytest.raises(ValueError, match="the Hub has no model of that name"):
        evaluate(str(tmp_path / "missing"), Sentences(data / "lines.txt"), tmp_path / "run", **scorers)
    # Nothing is left behind that would be in the way of the right name.
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="needs a model"):
        evaluate(None, Duration(data / "recordings.jsonl"), tmp_path / "run", **scorers)
    with pytest.raises(ValueError, match="no recording of 'id0'"):
        evaluate(None, SeedTTSEval(data / "meta.lst"), tmp_path / "run", **scorers)


def test_two_runs_are_compared_in_pairs(data, scorers, tmp_path):
    register_scorer("asr", "words", WordsASR)
    scorers = scorers | {"asr": "words"}
    items = [Utterance(f"u{number}", "The cat sleeps.", recording=data / f"{number % 3}.wav") for number in range(6)]
    for name, heard in (("a", "The cat sleep."), ("b", "The cat sleeps.")):
        WordsASR.heard = heard
        evaluate(None, Sentences(items), tmp_path / name, **scorers)
    report, differences = compare(tmp_path / "a", tmp_path / "b", output=tmp_path / "both")
    assert differences["wer"]["plain"]["value"] == pytest.approx(-1 / 3)
    assert differences["wer"]["plain"]["count"] == 6 and differences["mos"]["plain"]["value"] == 0
    assert "| WER % | plain | 6 | 33.33 | 0.00 | -33.33 [-33.33, -33.33] | B better |" in report
    assert (tmp_path / "both" / "report.md").read_text() == report
    assert json.loads((tmp_path / "both" / "summary.json").read_text()) == differences
    assert (tmp_path / "both" / "differences.png").read_bytes().startswith(b"\x89PNG")
    # The other way round the other one is better.
    assert "A better" in compare(tmp_path / "b", tmp_path / "a")[0]


def test_what_cannot_be_compared(data, scorers, tmp_path):
    item = Utterance("u", "The cat sleeps.", recording=data / "0.wav")
    evaluate(None, Sentences([item]), tmp_path / "a", **scorers)
    evaluate(
        None, Sentences([Utterance("v", "The cat sleeps.", recording=data / "0.wav")]), tmp_path / "id", **scorers
    )
    evaluate(None, Sentences([Utterance("u", "A big dog.", recording=data / "0.wav")]), tmp_path / "text", **scorers)
    evaluate(None, Sentences([item]), tmp_path / "scorers", **(scorers | {"mos": None}))
    for name, message in (
        ("id", "in common"),
        ("text", "'u-plain' is not the same"),
        ("scorers", "their scorers"),
        ("none", "no settings.json"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(tmp_path / "a", tmp_path / name)
