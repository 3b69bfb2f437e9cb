"""Guards: what is no speech any more ends, at the same frame in whatever pieces it comes."""

import numpy as np
import pytest
import torch

from transformers_moss_tts.speech import Guards, expected_duration, stream_speech


RATE, FRAME = 12.5, 160
ALIKE = {"frame_rate": RATE}


def frames(num_frames: int, level: float = 0.1, seed: int = 0) -> tuple[torch.LongTensor, np.ndarray]:
    """Codes and noise of frames."""
    random = np.random.default_rng(seed)
    codes = torch.from_numpy(random.integers(0, 1024, (num_frames, 4)))
    return codes, random.normal(0, level, (1, num_frames * FRAME)).astype(np.float32)


def joined(*parts):
    return torch.cat([codes for codes, _ in parts]), np.concatenate([audio for _, audio in parts], axis=1)


def repeated(num_frames: int, period: int):
    codes, audio = frames(num_frames)
    return codes[torch.arange(num_frames) % period], audio


SPEECH, SILENCE = frames(30), frames(200, level=1e-4)
CASES = {
    # What is generated, the fault, how many frames are looked at, and how many of them are kept of a take.
    "speech": (SPEECH, None, 30, 30),
    "a pause": (joined(SPEECH, frames(44, 1e-4), SPEECH), None, 104, 104),
    "silence": (joined(SPEECH, SILENCE), "silence", 130, 35),
    "one code": (joined(SPEECH, repeated(90, 1)), "repetition", 81, 36),
    "a pattern of a second": (joined(SPEECH, repeated(90, 12)), "repetition", 92, 47),
    "a pattern that ends soon": (joined(SPEECH, repeated(45, 12), SPEECH), None, 105, 105),
}


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("case", CASES)
def test_what_a_generation_is_stopped_at(case, size):
    (codes, audio), fault, num_frames, num_good = CASES[case]
    watch = Guards().watch(**ALIKE)
    kept = [
        watch.add(codes[start : start + size], audio[:, start * FRAME : (start + size) * FRAME])
        for start in range(0, len(codes), size)
    ]
    assert (watch.fault, watch.num_frames, sum(kept), watch.num_good_frames) == (
        fault,
        num_frames,
        num_frames,
        num_good,
    )
    assert watch.finish() == fault


@pytest.mark.parametrize(
    ("num_frames", "level", "duration", "fault"),
    [
        (26, 0.1, 2.0, None),
        (6, 0.1, 2.0, "shortest"),
        (200, 0.1, 2.0, "longest"),  # 3 times 2 seconds and 3 more are 112 frames
        (200, 0.1, None, None),
        (20, 1e-4, 2.0, "empty"),
        (0, 0.1, 2.0, "empty"),
    ],
)
def test_lengths(num_frames, level, duration, fault):
    watch = Guards().watch(RATE, duration)
    watch.add(*frames(num_frames, level))
    assert watch.finish() == fault and watch.num_frames == min(num_frames, 112 if fault == "longest" else 10**6)


def test_the_beginning_of_a_reply_counts_where_its_text_does():
    watch = Guards().watch(RATE, 2.0)
    watch.num_frames_before = 20
    watch.add(*frames(6))
    assert watch.finish() is None


def test_a_generation_that_reached_its_limit():
    watch = Guards().watch(**ALIKE)
    watch.add(*SPEECH)
    assert watch.finish(reached_limit=True) == "limit"


def test_bounds_that_are_taken_away():
    for name, case in (("silence", "silence"), ("repetition", "one code")):
        watch = Guards(**{name: None}).watch(**ALIKE)
        watch.add(*CASES[case][0])
        assert watch.fault is None


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "8", True])
def test_bounds_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="`silence` must be a number above 0"):
        Guards(silence=value)


@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [
        # Readings of these lengths, with a factor of two either way.
        ("You should see a lawyer.", None, 1.6),
        ("Yes.", None, 0.6),
        ("我们今天去公园散步，天气很好。", None, 3.0),
        ("[S1] Hello. [S2] Hello.", None, 1.6),
        ("コンピューターを使います。", None, 2.0),
        ("1987", None, 1.5),
    ],
)
def test_texts_take_about_as_long_as_they_are_read(text, language, seconds):
    assert seconds / 2 < expected_duration(text, language) < seconds * 2


def test_chinese_characters_take_longer_in_japanese():
    assert expected_duration("東京大学", "Japanese") > expected_duration("東京大学", "Chinese")


def test_a_stream_ends_where_a_guard_acts(speaker):
    options = {"max_new_tokens": 400, "min_new_tokens": 400, "audio_temperature": 1.0}
    guards = Guards(longest=0.1, silence=None, repetition=None)
    audio = stream_speech(speaker.model, speaker.processor, "Hi", seed=0, guards=guards, generate_kwargs=options)
    chunks = list(audio)
    # A tenth of what the text takes, and 3 seconds: random weights may end before.
    num_frames = sum(chunk.shape[1] for chunk in chunks) / speaker.processor.audio_tokenizer.config.downsample_rate
    longest = round((0.1 * expected_duration("Hi") + 3) * 12.5)
    assert num_frames <= longest
    assert (audio.faults == ["longest"]) == (num_frames == longest) and len(audio.faults) <= 1
    if speaker.model.config.codebook_delay == 0 and "v1" not in type(speaker.model).__name__.lower():
        assert audio.faults == ["longest"]
