"""Preferences of a recognizer: what is said and scored, which takes are pairs, and that the preferred ones get likelier."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from quick_scorers import FixedASR, SpectrumEncoder
from tiny_models import tiny_local, tiny_prompts, tiny_tts
from transformers import AutoModelForTextToWaveform, AutoProcessor

from examples.tiny_family import preferences
from examples.tiny_family.corpus import write_source
from transformers_moss_tts.moss_tts.losses import stream_sums


ROOT = Path(__file__).parents[2]
MODEL = ROOT / "model_cards" / "moss-tts-local-tiny"
TAKE = {"text": "Yes.", "speaker": None, "reference": None, "before": None, "tokens": None, "is_over": True}


@pytest.mark.parametrize("build", [tiny_tts, tiny_local])
def test_log_probabilities_are_the_losses_of_the_samples(build):
    model = build()
    inputs = tiny_prompts(model.config, 9, 6)
    labels = torch.randint(0, 16, (2, 9, 5))
    labels[..., 0] = model.config.audio_assistant_gen_slot_token_id
    labels[1, 4:] = -100
    labels[0, 2, 3] = model.config.audio_pad_code
    values, number = preferences.log_probabilities(model, inputs | {"labels": labels})
    outputs = model(**inputs, labels=labels)
    for index in range(2):
        place = slice(index, index + 1)
        sums, counts = stream_sums(
            outputs.logits[place],
            outputs.audio_logits[place],
            torch.cat([model.text_targets(labels[place, :, :1]), labels[place, :, 1:]], -1),
            model.config.audio_pad_code,
        )
        torch.testing.assert_close(values[index], -sums.sum())
        assert number[index] == counts.sum()


def test_pairs_are_the_best_and_the_worst_of_a_prompt():
    def take(prompt, error=None, tokens=None, frames=10, **more):
        scores = {} if error is None else {"error": error}
        return TAKE | scores | {"prompt": prompt, "tokens": tokens, "codes": [[0]] * frames} | more

    understood, fair, poor, endless = (take("a", error) for error in (0.0, 0.1, 0.3, None))
    pairs = preferences.choose_pairs([poor, endless, understood, fair])
    assert pairs == [(understood, endless), (fair, poor)]
    # Alike, nothing good among them, and one alone.
    assert (
        preferences.choose_pairs([take("b", 0.1), take("b", 0.12), take("c", 0.5), take("c", 0.9), take("d", 0)]) == []
    )
    short, right = take("e", 0.0, tokens=20), take("e", 0.0, tokens=20, frames=19)
    assert preferences.choose_pairs([short, right]) == [(right, short)]
    like, unlike = take("f", 0.0, similarity=0.8), take("f", 0.0, similarity=0.6)
    assert preferences.choose_pairs([unlike, like]) == [(like, unlike)]


def prompts_of(table, **shares):
    none = {"plain_share": 0.0, "most_sentences": 1, "length_share": 0.0, "continued_share": 0.0}
    return preferences.Prompts(Dataset.from_list(table), ["One.", "Two."], 2, 0, **(none | shares))


def test_prompts_are_what_was_asked_for():
    codes = [[frame, frame, frame] for frame in range(25)]
    table = [{"text": "Yes.", "speaker": "a", "codes": codes}, {"text": "Short.", "speaker": "b", "codes": codes[:1]}]
    recording = [frame[:2] for frame in codes]
    cloned = prompts_of(table)[0]
    assert cloned == prompts_of(table)[0] and cloned["text"] in ("One.", "Two.")
    assert (cloned["speaker"], cloned["reference"], cloned["before"], cloned["tokens"]) == ("a", recording, None, None)
    assert prompts_of(table, plain_share=1.0, continued_share=1.0)[0] | {"text": ""} == {
        **dict.fromkeys(("speaker", "reference", "before", "tokens")),
        "prompt": "0 0",
        "text": "",
    }
    assert {len(prompts_of(table, most_sentences=3)[number]["text"].split()) for number in range(20)} == {1, 2, 3}
    # 26 frames for 10 characters, by a quarter more or less.
    assert 8 <= prompts_of(table, length_share=1.0)[0]["tokens"] <= 13
    continued = [prompts_of(table, continued_share=1.0, length_share=1.0)[number] for number in range(20)]
    assert all(prompt["before"] == {"text": "Yes.", "codes": recording} for prompt in continued)
    assert {prompt["tokens"] for prompt in continued} == {None}
    assert {prompt["reference"] is None for prompt in continued} == {True, False}


def test_a_take_is_learned_after_what_came_before_and_without_an_end_that_it_has_not():
    processor = AutoProcessor.from_pretrained(MODEL)
    config = processor.model_config
    codes = torch.randint(0, 1024, (6, config.n_vq)).tolist()
    take = TAKE | {"text": "No.", "codes": codes[2:], "before": {"text": "Yes.", "codes": codes[:2]}}
    whole = preferences.encode_take(processor, TAKE | {"text": "Yes. No.", "codes": codes})
    for name, values in preferences.encode_take(processor, take).items():
        assert torch.equal(values, whole[name])
    cut = preferences.encode_take(processor, take | {"is_over": False})["labels"]
    assert torch.equal(cut[:, 1:], whole["labels"][:, 1:])
    assert set(cut[:, 0].tolist()) == {-100, config.audio_assistant_gen_slot_token_id}
    assert config.audio_end_token_id in whole["labels"][:, 0]


def test_takes_are_scored_and_learned_from(tmp_path, monkeypatch):
    scorers = {"asr": FixedASR, "speaker": SpectrumEncoder}
    monkeypatch.setattr(preferences, "load_scorer", lambda kind, name: scorers[kind]())
    monkeypatch.setattr(preferences, "read_sentences", lambda held_out: ["The cat sleeps."])
    monkeypatch.setattr(preferences, "be_modest", lambda: None)
    monkeypatch.setattr(preferences, "TAKES", 2)
    monkeypatch.setattr(preferences, "PROMPTS", 1)
    codes = torch.randint(0, 1024, (25, 16), generator=torch.Generator().manual_seed(0)).tolist()
    Dataset.from_list([{"text": "Yes.", "speaker": "a", "codes": codes}]).to_parquet(tmp_path / "codes.parquet")
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 24000).astype(np.float32)
    write_source(tmp_path / "corpus", "kokoro", [("Yes.", "a", noise), ("No.", "a", 0.5 * noise)])

    def run(*arguments):
        common = ["--model", MODEL, "--codec", ROOT / "model_cards" / "moss-audio-tokenizer-tiny"]
        monkeypatch.setattr(sys, "argv", ["preferences", *map(str, [*arguments, *common])])
        preferences.main()

    output = tmp_path / "takes.jsonl"
    for continued_share in (0, 1):
        options = ["--minutes", 0.001, "--plain-share", 0, "--max-new-tokens", 80]
        options += ["--continued-share", continued_share]
        run("sample", tmp_path / "codes.parquet", "--corpus", tmp_path / "corpus", "--output", output, *options)
    takes = [json.loads(line) for line in output.read_text().splitlines()]
    assert [take["prompt"] for take in takes] == ["0 0", "0 0", "0 1", "0 1"]
    recording = [frame[:8] for frame in codes]
    assert all(take["reference"] == recording for take in takes[:2])
    assert [take["before"] for take in takes] == [None, None] + 2 * [{"text": "Yes.", "codes": recording}]
    assert any(take.get("error") == 0.0 and 0 < take["similarity"] <= 1 for take in takes)

    judge = preferences.Judge(tmp_path / "corpus", 24000, 80)
    score = judge.score(takes[0], torch.from_numpy(noise))
    assert score["similarity"] == pytest.approx(1, abs=1e-2)
    with pytest.raises(ValueError, match="no recordings of b"):
        judge.voice("b")

    said = [take for take in takes if take["codes"]][:2]
    pair = [said[0] | {"error": 0.0, "prompt": "p"}, said[-1] | {"error": 1.0, "prompt": "p"}]
    output.write_text("".join(json.dumps(take) + "\n" for take in pair))
    run("train", output, "--output", tmp_path / "preferred", "--epochs", 3, "--learning-rate", 1e-3, "--anchor", 0)
    processor = AutoProcessor.from_pretrained(MODEL)
    batch = preferences.PreferenceCollator(processor)(
        [dict(zip(("chosen", "rejected"), (preferences.encode_take(processor, take) for take in pair)))]
    )
    margins = []
    for folder in (MODEL, tmp_path / "preferred"):
        with torch.no_grad():
            values, _ = preferences.log_probabilities(AutoModelForTextToWaveform.from_pretrained(folder), batch)
        margins.append(float(values[0] - values[1]))
    assert margins[1] > margins[0]
