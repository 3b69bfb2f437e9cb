"""Streams: what is heard is the whole, and who leaves stops the generation."""

import asyncio
import gc
import threading
import time

import numpy as np
import pytest
import torch
from transformers import StoppingCriteria

from transformers_moss_tts.moss_tts.voice import CodecIdentity
from transformers_moss_tts.speech import Voice, speak, stream_speech, streaming


TEXT = "hello world"


class Steps(StoppingCriteria):
    """Counts the steps of a generation, and may wait at each or fail at one."""

    def __init__(self, seconds: float = 0.0, fails_at: int | None = None):
        self.count, self.seconds, self.fails_at = 0, seconds, fails_at

    def __call__(self, input_ids, scores, **kwargs):
        self.count += 1
        time.sleep(self.seconds)
        if self.count == self.fails_at:
            raise MemoryError("no memory is left")
        return torch.zeros(len(input_ids), dtype=torch.bool)


def stream(speaker, text=TEXT, steps=None, **options):
    """A stream without guards: random weights speak noise, of any length."""
    options = {"seed": 1, "guards": None} | options
    generate_kwargs = options.pop("generate_kwargs", {}) | ({"stopping_criteria": [steps]} if steps else {})
    return stream_speech(speaker.model, speaker.processor, text, generate_kwargs=generate_kwargs, **options)


def whole(speaker, inputs, seed=1, **options):
    outputs = speaker.model.generate(**inputs, seed=seed, return_dict_in_generate=True, **options)
    (audio,) = speaker.processor.decode(outputs)
    return audio.reshape(speaker.processor.audio_tokenizer.config.num_channels, -1).numpy()


def wait_until(condition) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_stream_equals_the_whole(speaker):
    chunks = list(stream(speaker))
    config = speaker.processor.audio_tokenizer.config
    assert chunks[0].shape == (config.num_channels, config.downsample_rate) and chunks[0].dtype == np.float32
    expected = whole(speaker, speaker.processor(TEXT))
    assert expected.shape[1] >= 4 * config.downsample_rate
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), expected, atol=1e-5)


def test_chunks_grow_with_the_lead(speakers, monkeypatch):
    clock = time.perf_counter
    # A machine that is a thousand times as fast.
    monkeypatch.setattr(streaming.time, "perf_counter", lambda: clock() / 1000)
    heard = stream(speakers["delay"], generate_kwargs={"max_new_tokens": 140, "min_new_tokens": 140})
    lengths = [chunk.shape[1] // 1920 for chunk in heard]
    assert lengths[:6] == [1, 1, 1, 1, 1, 2] and 4 < max(lengths) <= 25
    assert heard.seconds == pytest.approx(sum(lengths) * 0.08) and heard.lead > heard.seconds - 1


def continuation(speaker):
    """A conversation that goes on from a reply of nine frames."""
    codes = torch.randint(0, 16, (9, speaker.model.config.n_vq), generator=torch.Generator().manual_seed(0))
    user = speaker.processor.build_user_message(text=TEXT, reference=codes)
    return [[user, speaker.processor.build_assistant_message([codes])]]


def test_a_continuation_is_heard_from_where_it_goes_on(speaker):
    conversations = continuation(speaker)
    chunks = list(stream(speaker, conversations, mode="continuation"))
    inputs = speaker.processor(conversations, mode="continuation")
    expected = whole(speaker, inputs)
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), expected, atol=1e-5)
    again = np.concatenate(list(stream(speaker, inputs)), axis=1)
    np.testing.assert_allclose(again, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["local v1.0", "nano"])
def test_the_codebooks_that_are_spoken(speakers, name):
    speaker = speakers[name]
    conversations, options = continuation(speaker), {"n_vq_for_inference": 2}
    chunks = list(stream(speaker, conversations, mode="continuation", generate_kwargs=options))
    expected = whole(speaker, speaker.processor(conversations, mode="continuation"), **options)
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), expected, atol=1e-5)
    # Sentences that follow clone what was said with them.
    assert sum(1 for _ in stream(speaker, iter(["Hi. ", "Ho."]), generate_kwargs=options)) > 2


def test_an_async_loop_hears_the_same(speakers):
    speaker = speakers["delay"]
    expected = np.concatenate(list(stream(speaker)), axis=1)

    async def hear():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.ensure_future(tick())
        async with stream(speaker, steps=Steps(0.005), return_tensors="pt") as audio:
            chunks = [chunk async for chunk in audio]
        ticking.cancel()
        return chunks, ticks

    chunks, ticks = asyncio.run(hear())
    assert isinstance(chunks[0], torch.Tensor) and ticks > 20
    np.testing.assert_allclose(torch.cat(chunks, dim=1).numpy(), expected, atol=1e-5)


def test_several_streams_on_one_model(speakers):
    speaker = speakers["delay"]
    expected = [np.concatenate(list(stream(speaker, seed=seed)), axis=1) for seed in range(3)]
    streams = [stream(speaker, seed=seed) for seed in range(3)]
    for audio, alone in zip(streams, expected):
        np.testing.assert_allclose(np.concatenate(list(audio), axis=1), alone, atol=1e-5)


def leave_by_break(audio):
    for _ in audio:
        break


def leave_by_error(audio):
    with pytest.raises(KeyError):
        for _ in audio:
            raise KeyError


def leave_by_close(audio):
    next(audio)
    audio.close()
    assert list(audio) == []


def leave_with_block(audio):
    with audio:
        next(audio)


def leave_async(audio):
    async def hear():
        async for _ in audio:
            break
        await asyncio.sleep(0.01)

    asyncio.run(hear())


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_error, leave_by_close, leave_with_block, leave_async], ids=lambda f: f.__name__
)
def test_who_leaves_stops_the_generation(speakers, leave):
    steps = Steps(0.005)
    audio = stream(speakers["delay"], steps=steps, generate_kwargs={"max_new_tokens": 3000, "min_new_tokens": 3000})
    leave(audio)
    count = steps.count
    time.sleep(0.1)
    assert steps.count <= count + 2


def test_a_stream_that_is_dropped_stops(speakers):
    steps, before = Steps(0.002), threading.active_count()
    audio = stream(speakers["delay"], steps=steps, generate_kwargs={"max_new_tokens": 3000, "min_new_tokens": 3000})
    next(audio)
    del audio
    gc.collect()
    assert wait_until(lambda: threading.active_count() == before) and steps.count < 3000


@pytest.mark.parametrize("fails_at", [1, 12])
def test_an_error_of_the_generation_is_raised_in_the_loop(speakers, fails_at):
    with pytest.raises(MemoryError, match="no memory is left"):
        for _ in stream(speakers["delay"], steps=Steps(fails_at=fails_at)):
            pass


def test_an_end_that_is_an_error_is_no_end(speakers, monkeypatch):
    speaker = speakers["delay"]
    monkeypatch.setattr(speaker.model, "generate", lambda **options: next(iter(())))
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(stream(speaker))


def test_errors_of_the_prompt_and_of_the_text_are_raised_in_the_loop(speakers):
    speaker = speakers["delay"]

    def writer():
        yield "One sentence. And"
        raise ConnectionError("the language model is gone")

    heard = []
    with pytest.raises(ConnectionError, match="is gone"):
        heard.extend(stream(speaker, writer()))
    with pytest.raises(ValueError, match="nothing to say in ''"):
        list(stream(speaker, ""))
    with pytest.raises(ValueError, match="got 2"):
        list(stream(speaker, ["One.", "Two."]))
    with pytest.raises(TypeError, match="must be strings"):
        list(stream(speaker, iter([1])))


def test_bad_arguments_are_refused_at_once(speakers):
    speaker = speakers["delay"]
    for options, message in (
        ({"return_tensors": "tf"}, "'np' or 'pt'"),
        ({"generate_kwargs": {"seed": 1}}, "pass `seed` beside it"),
        ({"generate_kwargs": {"num_return_sequences": 2}}, "One text"),
        ({"text": iter(["a"]), "duration_seconds": 2.0}, "takes no duration_seconds"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(speaker, **options)
    codec = speaker.processor.audio_tokenizer
    speaker.processor.audio_tokenizer = None
    try:
        with pytest.raises(ValueError, match="needs a codec"):
            stream(speaker)
    finally:
        speaker.processor.audio_tokenizer = codec


def prompts_of(speaker, monkeypatch):
    """The prompts that the processor builds from now on."""
    seen, call = [], type(speaker.processor).__call__

    def record(self, text=None, **fields):
        seen.append((text, fields))
        return call(self, text, **fields)

    monkeypatch.setattr(type(speaker.processor), "__call__", record)
    return seen


def test_a_text_that_is_written_is_spoken_in_sentences_of_one_voice(speakers, monkeypatch):
    speaker = speakers["local v1.0"]
    seen, heard_at = prompts_of(speaker, monkeypatch), []

    def writer():
        yield "One. "
        yield "Two"
        heard_at.append(wait_until(lambda: audio.seconds > 0))
        yield " is more. Three"

    audio = stream(speaker, writer())
    chunks = list(audio)
    # The first sentence was heard before the second was written.
    assert heard_at == [True]
    assert [text for text, _ in seen] == ["One.", "Two is more.", "Three"]
    first = whole(speaker, speaker.processor("One."))
    joined = np.concatenate(chunks, axis=1)
    np.testing.assert_allclose(joined[:, : first.shape[1]], first, atol=1e-5)
    voice = seen[1][1]["reference"]
    assert "reference" not in seen[0][1] and voice.shape == (first.shape[1] // 1920, speaker.model.config.n_vq)
    assert torch.equal(seen[2][1]["reference"][: len(voice)], voice)


def test_sentences_keep_the_voice_that_is_given(speakers, monkeypatch):
    speaker = speakers["delay"]
    seen = prompts_of(speaker, monkeypatch)
    voice = torch.randint(0, 32, (5, speaker.model.config.n_vq))
    assert sum(1 for _ in stream(speaker, iter(["One. Two."]), reference=voice)) > 2
    assert all(fields["reference"] is voice for _, fields in seen) and len(seen) == 2


def test_an_async_text(speakers):
    speaker = speakers["delay"]

    async def writer():
        for piece in ("One. ", "Two."):
            await asyncio.sleep(0.01)
            yield piece

    async def hear():
        return [chunk async for chunk in stream(speaker, writer())]

    heard = np.concatenate(asyncio.run(hear()), axis=1)
    np.testing.assert_allclose(heard, np.concatenate(list(stream(speaker, iter(["One. Two."]))), axis=1), atol=1e-5)
    with pytest.raises(TypeError, match="`async for`"):
        next(stream(speaker, writer()))


@pytest.fixture
def spoken_with(speakers, monkeypatch):
    """The speaker with the delay pattern, and what its processor and its generator are called with."""
    speaker, calls = speakers["delay"], []
    generate, call = speaker.model.generate, type(speaker.processor).__call__

    def said(processor, *args, **fields):
        calls.append(fields)
        return call(processor, *args, **fields)

    def generated(**options):
        calls[-1] = calls[-1] | options
        return generate(**options)

    monkeypatch.setattr(type(speaker.processor), "__call__", said)
    monkeypatch.setattr(speaker.model, "generate", generated)
    return speaker, calls


@pytest.fixture
def kept_voice(speakers, tmp_path):
    processor = speakers["delay"].processor
    codes = torch.randint(0, 16, (9, processor.audio_tokenizer.config.num_quantizers))
    voice = Voice(
        (codes,), CodecIdentity.of(processor.audio_tokenizer), language="English", settings={"temperature": 0.5}
    )
    voice.save(tmp_path / "anna.safetensors")
    return voice


def say(speaker, **options):
    return speak(speaker.model, speaker.processor, TEXT, guards=None, retries=0, **options)


def hear(speaker, **options):
    for _ in stream(speaker, **options):
        pass


def hear_pieces(speaker, **options):
    for _ in stream(speaker, iter([TEXT]), **options):
        pass


@pytest.mark.parametrize("way", [say, hear, hear_pieces])
def test_a_kept_voice_says_language_and_settings(spoken_with, kept_voice, tmp_path, way):
    speaker, calls = spoken_with
    way(speaker, reference=tmp_path / "anna.safetensors")
    assert calls[-1]["language"] == "English" and calls[-1]["audio_temperature"] == 0.5
    way(speaker, reference=kept_voice, language="German", generate_kwargs={"temperature": 0.7})
    assert calls[-1]["language"] == "German" and calls[-1]["temperature"] == 0.7
    assert "audio_temperature" not in calls[-1]


def test_a_kept_voice_in_a_conversation_says_language_and_settings(spoken_with, kept_voice):
    speaker, calls = spoken_with
    user = speaker.processor.build_user_message(text=TEXT, reference=kept_voice)
    list(stream(speaker, [[user]]))
    assert calls[-1]["audio_temperature"] == 0.5 and user["language"] is None
    expected = speaker.processor([[user | {"language": "English"}]])
    torch.testing.assert_close(calls[0]["input_ids"], expected["input_ids"])
