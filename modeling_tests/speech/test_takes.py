"""Takes: faults and a scorer decide which is kept, and the output says why."""

import numpy as np
import pytest
import torch
from quick_scorers import FixedASR, PeakMOS, SpectrumEncoder

from transformers_moss_tts.evaluation.scorers import _SCORERS, register_scorer
from transformers_moss_tts.speech import Guards, speak


LENIENT = Guards(silence=None, repetition=None, longest=None, shortest=None)


@pytest.fixture
def scorers(monkeypatch):
    for kind, factory in (("asr", FixedASR), ("speaker", SpectrumEncoder), ("mos", PeakMOS)):
        monkeypatch.setitem(_SCORERS, kind, dict(_SCORERS[kind]))
        register_scorer(kind, f"test-{kind}", factory)


@pytest.fixture
def speaker(speakers):
    return speakers["local v1.5"]


def say(speaker, text="The cat sleeps.", **options):
    limits = {"max_new_tokens": 9, "min_new_tokens": 9}
    return speak(speaker.model, speaker.processor, text, **({"seed": 4, "generate_kwargs": limits} | options))


def test_a_take_is_what_generate_and_decode_give(speaker):
    options = {"max_new_tokens": 40, "min_new_tokens": 5}
    spoken = say(speaker, guards=None, retries=0, generate_kwargs=options)
    outputs = speaker.model.generate(
        **speaker.processor("The cat sleeps."), seed=4, return_dict_in_generate=True, **options
    )
    (expected,) = speaker.processor.decode(outputs)
    np.testing.assert_allclose(spoken.audio, expected.numpy().reshape(spoken.audio.shape), atol=1e-5)
    assert torch.equal(spoken.codes, outputs.audio_codes[0]) and spoken.sampling_rate == 48000


def test_takes_are_made_until_one_has_no_fault(speaker):
    """Cut at nine frames, every take has one."""
    spoken = say(speaker, retries=2)
    assert [take.fault for take in spoken.takes] == ["limit"] * 3 and spoken.fault == "limit"
    assert spoken.reason == "take 1 of 3: the guard 'limit' acted, and none of the others is better"
    seeds = [take.seed for take in spoken.takes]
    assert seeds[0] == 4 and len(set(seeds)) == 3 and max(seeds) < 2**63
    assert [take.seed for take in say(speaker, retries=2).takes] == seeds
    again = say(speaker, retries=0, seed=seeds[2])
    assert torch.equal(again.codes, spoken.takes[2].codes)


def test_the_least_fault_is_chosen(speaker):
    """Of a text that takes 60 seconds, nine frames are far too few, by themselves or not."""
    spoken = say(speaker, "word " * 200, guards=Guards(), retries=1)
    faults = [take.fault for take in spoken.takes]
    order = ("shortest", "limit", "longest", "repetition", "silence", "empty")
    assert spoken.fault == min(faults, key=order.index) and spoken.takes[spoken.chosen].fault == spoken.fault


def test_a_recognizer_that_hears_every_word_is_content(speaker, scorers):
    heard = say(speaker, guards=LENIENT, scorer="test-asr", retries=3, generate_kwargs={"max_new_tokens": 60})
    last = heard.takes[-1]
    assert last.fault is not None or (last.score == 0 and heard.reason.endswith("no guard acted, WER 0.000"))
    other = say(speaker, "The dog sleeps.", guards=LENIENT, scorer="test-asr", retries=1)
    assert [take.score for take in other.takes] == [pytest.approx(1 / 3)] * 2 and other.chosen == 0


@pytest.mark.parametrize(("scorer", "label"), [("test-speaker", "SIM"), ("test-mos", "MOS")])
def test_the_best_of_all_takes_is_chosen(speaker, scorers, scorer, label):
    reference = (np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32), 48000)
    spoken = say(speaker, scorer=scorer, retries=2, reference=reference)
    scores = [take.score for take in spoken.takes]
    assert len(scores) == 3 and spoken.chosen == int(np.argmax(scores)) and len(set(scores)) > 1
    assert f"{label} {max(scores):.3f}" in spoken.reason


def test_codes_are_a_voice_to_compare_with(speaker, scorers):
    codes = torch.randint(0, 16, (20, speaker.model.config.n_vq))
    assert say(speaker, scorer="test-speaker", retries=0, reference=codes).takes[0].score is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "`retries` must be"),
        ({"retries": True}, "`retries` must be"),
        ({"scorer": "nobody"}, "no asr scorer 'nobody'"),
        ({"scorer": "test-speaker"}, "one `reference`"),
        ({"scorer": "test-asr", "language": "Klingon"}, "name of the language"),
        ({"generate_kwargs": {"streamer": None}}, "may not have streamer"),
    ],
)
def test_what_cannot_be_done_is_refused(speaker, scorers, options, message):
    with pytest.raises(ValueError, match=message):
        say(speaker, **options)
