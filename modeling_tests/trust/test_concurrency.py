"""Many streams and generations at once on one codec, model and processor say what each says alone, bit for bit."""

import asyncio
import copy
import pickle
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import (
    GOLDEN_TTS,
    golden_processor,
    small_codec,
    tiny_codec,
    tiny_local,
    tiny_local_v1,
    tiny_prompts,
    tiny_tts,
)

from transformers_moss_tts import MossTTSDelayModel, MossTTSFrameStreamer
from transformers_moss_tts.training import MossTTSDataCollator


FEW_OR_MANY = [pytest.param(6, 3, id="few"), pytest.param(100, 16, id="many", marks=pytest.mark.torture)]
CHUNKS = 6


def stream(codec, codes: torch.Tensor):
    """Decodes and encodes codes `(4, 1, frames)` chunk by chunk, and yields what comes out."""
    decoding, encoding = codec.init_cache("decoder"), codec.init_cache("encoder")
    for chunk in codes.chunk(CHUNKS, dim=2):
        audio = codec.decode(chunk, cache=decoding).audio
        yield torch.cat([audio.flatten(), codec.encode(audio, cache=encoding).audio_codes.flatten().float()])


@pytest.mark.parametrize(("num_streams", "_"), FEW_OR_MANY)
@torch.no_grad()
def test_streams_through_one_codec(num_streams, _):
    codec, draw = tiny_codec(), torch.Generator().manual_seed(0)
    codes = [torch.randint(0, 16, (4, 1, CHUNKS * 3), generator=draw) for _ in range(num_streams)]
    start, alone = time.perf_counter(), [list(stream(codec, item)) for item in codes]
    middle = time.perf_counter()
    streams = [stream(codec, item) for item in codes]
    together = [list(step) for step in zip(*(list(step) for step in zip(*streams)))]
    end = time.perf_counter()
    for one, other in zip(alone, together):
        assert all(map(torch.equal, one, other))
    tracemalloc.start()
    state = codec.init_cache("decoder")
    tracemalloc.stop()
    size = sum(tensor.nbytes for tensor in (*state.keys, *state.values, state.num_frames))
    print(f"{num_streams} streams: {(end - middle) / (middle - start):.2f} of the time alone, {size} bytes a decoder")


def options_of(number: int) -> dict:
    return {"max_new_tokens": 12 + number % 3, "seed": number, "audio_temperature": 0.7 + 0.1 * (number % 5)}


@pytest.mark.parametrize(("_", "num_threads"), FEW_OR_MANY)
@pytest.mark.parametrize("build", [tiny_tts, tiny_local_v1, tiny_local])
def test_generations_of_one_model_in_threads(build, _, num_threads):
    model = build()
    prompts = [tiny_prompts(model.config, 5 + number % 4, seed=number) for number in range(num_threads)]

    def generate(number: int) -> torch.Tensor:
        return model.generate(**prompts[number], **options_of(number))

    start, alone = time.perf_counter(), [generate(number) for number in range(len(prompts))]
    middle = time.perf_counter()
    with ThreadPoolExecutor(num_threads) as pool:
        together = list(pool.map(generate, range(len(prompts))))
    end = time.perf_counter()
    assert all(map(torch.equal, alone, together))
    assert model.training is False and torch.is_grad_enabled()
    print(f"{build.__name__}, {num_threads} threads: {(end - middle) / (middle - start):.2f} of the time alone")


def test_generations_and_prompts_of_one_server():
    """Prompts, speech and audio of asyncio tasks, each in a thread, on one model, processor and codec."""
    num_requests, processor = 6, golden_processor(small_codec())
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    tone = (torch.sin(torch.arange(24000) / 9).numpy() * 0.3, 24000)

    def speak(number: int) -> list[torch.Tensor]:
        inputs = processor(text=f"Request {number}.", reference=tone if number % 2 else None)
        return [inputs["input_ids"], model.generate(**inputs, **options_of(number))]

    async def serve() -> list:
        return await asyncio.gather(*(asyncio.to_thread(speak, number) for number in range(num_requests)))

    alone = [speak(number) for number in range(num_requests)]
    for one, other in zip(alone, asyncio.run(serve())):
        assert all(map(torch.equal, one, other))


class _Cancelled(Exception):
    pass


class _CancellingStreamer(MossTTSFrameStreamer):
    """Ends a generation from inside, as a client that has gone does."""

    def put(self, value):
        super().put(value)
        if not self.is_prompt and value.ndim == 2 and (count := getattr(self, "count", 0) + 1):
            self.count = count
            if count == 3:
                raise _Cancelled


@pytest.mark.parametrize("build", [tiny_tts, tiny_local_v1, tiny_local])
def test_a_cancelled_generation_leaves_nothing_behind(build):
    model = build()
    inputs = tiny_prompts(model.config, 6)
    before, expected = dict(vars(model)), model.generate(**inputs, **options_of(0))
    random_state = torch.get_rng_state()
    streamer = _CancellingStreamer(model.config)
    with pytest.raises(_Cancelled):
        model.generate(**inputs, **options_of(1), min_new_tokens=8, streamer=streamer)
    with pytest.raises(RuntimeError, match="generation failed"):
        list(streamer)
    assert vars(model).keys() == before.keys() and torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(model.generate(**inputs, **options_of(0)), expected)


@torch.no_grad()
def test_an_encoding_that_fails_leaves_the_stream_usable():
    codec = tiny_codec()
    wave = torch.randn(1, 1, 48, generator=torch.Generator().manual_seed(0))
    cache, other = codec.init_cache("encoder"), codec.init_cache("encoder")
    codec.encode(wave[..., :16], cache=cache)
    codec.encode(wave[..., :16], cache=other)
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(wave[..., 16:32] * float("nan"), cache=cache)
    assert torch.equal(
        codec.encode(wave[..., 16:], cache=cache).audio_codes, codec.encode(wave[..., 16:], cache=other).audio_codes
    )


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda item: pickle.loads(pickle.dumps(item))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("build", [tiny_tts, tiny_local_v1, tiny_local])
def test_copies_of_generators(build, copied):
    model = build()
    inputs = tiny_prompts(model.config, 6)
    expected = model.generate(**inputs, **options_of(0))
    other = copied(model)
    for weight in model.parameters():
        weight.data.zero_()
    assert torch.equal(other.generate(**inputs, **options_of(0)), expected)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_of_codecs_processors_and_collators(copied):
    processor = golden_processor(small_codec())
    example = {"text": "Hello.", "codes": (torch.arange(40).view(5, 8) % 32).tolist()}
    collator = MossTTSDataCollator(processor)
    expected, other = collator([example]), copied(collator)([example])
    assert all(torch.equal(torch.as_tensor(expected[name]), torch.as_tensor(other[name])) for name in expected)
    codes = torch.arange(40).view(5, 8) % 32
    assert torch.equal(copied(processor).decode([codes])[0], processor.decode([codes])[0])
