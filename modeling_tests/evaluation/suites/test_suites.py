"""Every suite, from data to report, with a small generator of random weights."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_models import small_stereo_codec
from transformers import AutoConfig, AutoModel, AutoTokenizer

from transformers_moss_tts import MossTTSLocalProcessor
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.evaluation import (
    CodecReconstruction,
    Duration,
    LongForm,
    SeedTTSEval,
    Sentences,
    Speed,
    Stability,
    Utterance,
    evaluate,
)


def records_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "utterances.jsonl").read_text().splitlines()]


def check_output(output: Path, *pictures: str) -> str:
    """Report, pictures and audio are there and belong together; returns the report."""
    report = (output / "report.md").read_text()
    for picture in pictures:
        assert (output / picture).read_bytes().startswith(b"\x89PNG") and f"({picture})" in report
    for record in records_of(output):
        assert record.get("audio") is None or soundfile.info(output / record["audio"]).frames > 0
    return report


def test_seed_tts_eval_in_both_modes_beside_the_published_numbers(checkpoint, data, scorers, tmp_path):
    summary = evaluate(checkpoint, SeedTTSEval(data / "meta.lst"), tmp_path, batch_size=2, **scorers)
    report = check_output(tmp_path, "wer.png", "sim.png", "mos.png")
    records = records_of(tmp_path)
    assert sorted(record["id"] for record in records) == [
        f"id{number}-{mode}" for number in range(3) for mode in ("clone", "continuation")
    ]
    assert list(summary["groups"]) == ["clone", "continuation"]
    wers = [record["wer"] for record in records if record["group"] == "clone"]
    assert summary["groups"]["clone"]["wer"]["value"] == pytest.approx(np.mean(wers))
    # "The cat sleeps." is heard each time: no error in the second text, and every word wrong in the others.
    assert sorted(wers) == [0.0, 1.0, 1.0]
    errors, words = sum(record["errors"] for record in records[:3]), sum(record["words"] for record in records[:3])
    assert summary["groups"]["clone"]["errors"]["value"] == pytest.approx(errors / words)
    assert "MOSS-TTS 8B (Delay), continuation" in report and "| 1.84 | – | – | 0.709 |" in report
    assert "arXiv 2603.18090, Table 3" in report and "1.37" not in report
    assert "a recognizer for tests" in report and "not measured" in report


def test_clone_and_continuation_are_asked_for_as_the_processor_has_them(checkpoint, data):
    """The prompts of the two modes against prompts that are built by hand."""
    suite = SeedTTSEval(data / "meta.lst", count=1)
    source = suite.load_source(checkpoint)
    clone, continuation = suite.tasks()
    processor, voice = source.processor, data / "0.wav"
    expected = processor(text="A big dog barks.", reference=str(voice), language="English")
    assert source.inputs([clone])["input_ids"].equal(expected["input_ids"])
    chat = [
        {"role": "user", "content": "The cat sleeps. A big dog barks.", "language": "English"},
        {"role": "assistant", "content": [{"type": "audio", "audio": str(voice)}]},
    ]
    expected = processor.apply_chat_template(chat, continue_final_message=True)
    assert source.inputs([continuation])["input_ids"].equal(expected["input_ids"])


def test_sentences_take_voices_in_turn_and_seeds_count(checkpoint, data, scorers, tmp_path):
    voices = [str(data / "0.wav"), str(data / "1.wav")]
    for name, suite in {
        "one": Sentences(data / "lines.txt", references=voices),
        "again": Sentences(data / "lines.txt", references=voices),
        "seed": Sentences(data / "lines.txt", references=voices, seed=5),
    }.items():
        evaluate(checkpoint, suite, tmp_path / name, **scorers)
    assert [record["reference"] for record in records_of(tmp_path / "one")] == [voices[0], voices[1], voices[0]]
    audio = {
        name: [(tmp_path / name / record["audio"]).read_bytes() for record in records_of(tmp_path / name)]
        for name in ("one", "again", "seed")
    }
    assert audio["one"] == audio["again"] != audio["seed"]


def test_recordings_in_the_place_of_a_model(data, scorers, tmp_path):
    summary = evaluate(None, Sentences(data / "recordings.jsonl"), tmp_path, **scorers)
    report = check_output(tmp_path, "wer.png")
    # Each is compared with the other recording of its speaker, and the speakers' baselines are measured on the way.
    baselines = summary["speaker_levels"]
    assert baselines["same"] > baselines["different"]
    assert f"{baselines['same']:.3f}" in report and "2 voices" in report
    assert summary["groups"]["clone"]["sim"]["value"] == pytest.approx(baselines["same"], abs=1e-3)


def test_requested_and_produced_length(checkpoint, data, scorers, tmp_path):
    summary = evaluate(checkpoint, Duration(data / "recordings.jsonl", rates=[1.0, 4.0]), tmp_path, **scorers)
    report = check_output(tmp_path, "duration.png")
    records = records_of(tmp_path)
    # The natural length is the recording's: 1 second and more at 12.5 frames.
    assert {record["requested"] for record in records if record["id"].startswith("0-")} == {12, 50}
    assert list(summary["groups"]) == ["under 3 s", "3-10 s"]
    for record in records:
        assert record["error_share"] == pytest.approx(
            abs(record["frames"] - record["requested"]) / record["requested"]
        )
        assert record["group"] == ("3-10 s" if record["requested"] >= 37.5 else "under 3 s")
    errors = [record["error_share"] for record in records]
    assert f"| all | 8 | {100 * np.mean(errors):.2f} [" in report and "2.043" in report


def test_the_estimated_length_follows_the_text(data):
    (short, long) = Duration([Utterance("a", "Ten chars."), Utterance("b", "Ten chars." * 10)], rates=[1.0]).tasks()
    assert (short.tokens, long.tokens) == (9, 87)
    assert [task.group for task in (short, long)] == ["under 3 s", "3-10 s"]
    assert Duration([Utterance("a", "十个字的一句中文话。")], language="zh", rates=[1.0]).tasks()[0].tokens == 31


def test_a_long_recording_is_scored_in_windows_with_its_drift(data, tmp_path, scorers):
    """A recording whose voice changes into another one along the way, with a pause every eight seconds or so."""
    voices = [np.resize(load_audio(data / f"{number}.wav", 24000), 24000) for number in (0, 1)]
    seconds = [voices[0] * (1 - share) + voices[1] * share for share in np.linspace(0, 1, 40)]
    waveform = np.concatenate(seconds)
    pauses = [9.0, 15.5, 24.0, 31.0]
    for pause in pauses:
        waveform[round((pause - 0.1) * 24000) : round((pause + 0.1) * 24000)] = 0
    save_audio(waveform, tmp_path / "long.wav", 24000)
    item = Utterance("story", "The cat sleeps. " * 5, data / "0.wav", "A big dog barks.", tmp_path / "long.wav")
    summary = evaluate(None, LongForm([item], modes=["clone"], window=8.0), tmp_path / "run", **scorers)
    report = check_output(tmp_path / "run", "drift.png")
    records = records_of(tmp_path / "run")
    assert len(records) == 5 and records[0]["start"] == 0 and records[-1]["end"] == pytest.approx(40)
    assert all(one["end"] == other["start"] for one, other in itertools.pairwise(records))
    assert [record["end"] for record in records[:-1]] == pytest.approx(pauses, abs=0.1)
    sims = [record["sim"] for record in records]
    assert sims[0] > sims[-1]
    # Three words are heard in each of five windows: all of them were said.
    assert summary["groups"]["clone"]["errors"]["value"] == 0
    slope = np.polyfit([(record["start"] + record["end"]) / 120 for record in records], sims, 1)[0]
    assert f"| clone | 0.67 | 0.00 [0.00, 0.00] | {slope:.4f} [" in report


def test_long_form_joins_the_lines_and_needs_what_its_modes_need(checkpoint, data, scorers, tmp_path):
    voice = [str(data / "0.wav")]
    both = LongForm(data / "lines.txt", references=voice, reference_text="The cat sleeps.")
    long_modes = ["long-clone", "long-continuation", "long-anchored"]
    assert [task.mode for task in both.tasks()] == ["clone", "continuation", *long_modes]
    assert both.tasks()[0].utterance.text == "A big dog barks. The cat sleeps. Birds sing at dawn."
    assert [task.mode for task in LongForm(data / "lines.txt", references=voice).tasks()] == ["clone", *long_modes]
    both = replace(both, modes=["clone", "continuation"])
    evaluate(checkpoint, both, tmp_path, **scorers)
    report = check_output(tmp_path, "drift.png")
    assert "Drift" in report and "Joins" not in report
    pieces = replace(both, modes=["long-clone"], stretch_seconds=1.0)
    summary = evaluate(checkpoint, pieces, tmp_path / "pieces", **scorers)
    assert list(summary["groups"]) == ["long-clone"]
    assert re.search(r"\| long-clone \| \d \| \d of \d \| ", check_output(tmp_path / "pieces", "drift.png"))
    # Without a recognizer the voice alone is scored.
    summary = evaluate(checkpoint, both, tmp_path / "voice", **(scorers | {"asr": None}))
    assert list(summary["groups"]["clone"]) == ["sim"]
    with pytest.raises(ValueError, match="reference_text"):
        LongForm(data / "lines.txt", references=voice, modes=["continuation"]).tasks()


def test_a_codec_by_number_of_codebooks(checkpoint, data, scorers, tmp_path):
    summary = evaluate(
        checkpoint, CodecReconstruction(data / "recordings.jsonl", codebooks=[8, 2]), tmp_path, **scorers
    )
    report = check_output(tmp_path, "codec.png", "spectrograms.png")
    assert list(summary["groups"]) == ["recording", "2 codebooks", "8 codebooks"]
    # 12.5 frames a second of 5 bits (32 codes) a codebook.
    assert [summary["groups"][name]["bit_rate"]["value"] for name in ("2 codebooks", "8 codebooks")] == [125, 500]
    # The stand-in has no voiced frame, so that nothing is said of its F0.
    measures = {"stoi", "pesq_nb", "pesq_wb", "mel", "mel_rmse", "sim", "wer", "mos"}
    assert measures <= set(summary["groups"]["8 codebooks"])
    assert "| 8 codebooks | 4 | 500 |" in report and "MOSS-Audio-Tokenizer, 32 codebooks" in report
    # The folder of a codec is a codec too, and of recordings alone no words are scored.
    wavs = CodecReconstruction(data, codebooks=[1], count=1, floor_recordings=str(data))
    summary = evaluate(checkpoint + "/codec", wavs, tmp_path / "again", **scorers)
    assert "wer" not in summary["groups"]["1 codebooks"]
    # An untrained codec is below the floor.
    floor = summary["groups"]["k-means, 1 codebooks"]
    assert floor["bit_rate"] == summary["groups"]["1 codebooks"]["bit_rate"]
    assert floor["mel_rmse"]["value"] < 0.5 * summary["groups"]["1 codebooks"]["mel_rmse"]["value"]
    assert "the floor" in check_output(tmp_path / "again", "codec.png")


def test_speed_is_measured(checkpoint, data, scorers, tmp_path):
    summary = evaluate(checkpoint, Speed(data / "lines.txt"), tmp_path, **scorers)
    report = check_output(tmp_path, "speed.png")
    for record in records_of(tmp_path):
        assert 0 < record["first_audio"] < record["took"]
        assert record["real_time_factor"] == pytest.approx(record["took"] / record["seconds"], rel=1e-3)
        assert record["share_of_limit"] > 0 and record["peak_memory"] > 2**20
    assert summary["groups"]["batch 1"]["steps_per_second"]["count"] == 3
    assert "vLLM-Omni" in report


def test_takes_that_run_away_or_are_cut(checkpoint, data, scorers, tmp_path):
    suite = Stability([Utterance("cat", "The cat sleeps."), Utterance("cut", "The cat sleeps on a mat.")], takes=3)
    summary = evaluate(checkpoint, suite, tmp_path / "ended", **scorers)
    report = check_output(tmp_path / "ended", "stability.png")
    assert "Spread over samples" in report and "Cut: it ended by itself" in report
    assert [summary["groups"][name]["is_cut"]["value"] for name in ("cat", "cut")] == [0, 1]
    assert summary["groups"]["cat"]["reached_limit"]["value"] == 0
    assert len({record["seed"] for record in records_of(tmp_path / "ended")}) == 3
    summary = evaluate(checkpoint, suite, tmp_path / "cut", generate_kwargs={"max_new_tokens": 12}, **scorers)
    # What did not end did not end too soon.
    assert summary["groups"]["cut"]["reached_limit"]["value"] == 1 and summary["groups"]["cut"]["is_cut"]["value"] == 0
    evaluate(checkpoint, suite, tmp_path / "unheard", **(scorers | {"asr": None}))
    assert "Cut:" not in check_output(tmp_path / "unheard", "stability.png")


def test_takes_with_guards_stand_beside_those_without(checkpoint, scorers, tmp_path):
    suite = Stability([Utterance("cat", "The cat sleeps.")], takes=2, guards=True)
    # All are cut at twelve steps, which is a runaway.
    summary = evaluate(checkpoint, suite, tmp_path, generate_kwargs={"max_new_tokens": 12}, **scorers)
    records = records_of(tmp_path)
    assert [record["group"] for record in records] == ["cat", "with guards"] * 2
    for record in records:
        assert record["is_runaway"] == (record["fault"] in ("silence", "repetition", "longest", "limit"))
    assert all(record["fault"] is not None for record in records[::2])
    assert summary["groups"]["cat"]["reached_limit"]["value"] == 1
    report = check_output(tmp_path, "stability.png")
    assert "| without guards |" in report and "| with guards |" in report and "runaway %" in report


def test_a_stereo_generator(data, scorers, golden_folder, tmp_path):
    source, folder = golden_folder / "moss_tts_local_v1_5", tmp_path / "checkpoint"
    model = AutoModel.from_pretrained(source)
    model.generation_config.max_new_tokens = 20
    model.save_pretrained(folder)
    codec = small_stereo_codec()
    codec.save_pretrained(folder / "codec")
    MossTTSLocalProcessor(
        AutoTokenizer.from_pretrained(source),
        audio_tokenizer=codec,
        model_config=AutoConfig.from_pretrained(source),
        codec_path="codec",
    ).save_pretrained(folder)
    for suite in (
        Sentences(data / "recordings.jsonl", count=2),
        CodecReconstruction(data, count=1),
        Speed(data / "lines.txt", count=1),
    ):
        evaluate(str(folder), suite, tmp_path / suite.name, **scorers)
        check_output(tmp_path / suite.name)
        spoken = [record for record in records_of(tmp_path / suite.name) if record.get("audio")]
        assert all(soundfile.info(tmp_path / suite.name / record["audio"]).channels == 2 for record in spoken)
