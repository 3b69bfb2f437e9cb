"""Streams: chunks equal the whole, streams are independent, the model holds no state."""

import pickle
import random

import pytest
import torch
from tiny_models import tiny_codec
from transformers import CompileConfig


# The tiny codec's window is 8 frames.
NUM_FRAMES = 37
CHUNK_SIZES = [1, 2, 3, 5, 7, 8, 9, 16, 17, NUM_FRAMES]


@pytest.fixture(scope="module")
def model():
    return tiny_codec()


@pytest.fixture(scope="module")
def codes(model):
    torch.manual_seed(1)
    return torch.randint(0, model.config.codebook_size, (4, 2, NUM_FRAMES))


@pytest.fixture(scope="module")
def waves(model):
    torch.manual_seed(2)
    return torch.randn(2, NUM_FRAMES * model.config.downsample_rate)


def all_at_once(method, *args, **kwargs):
    """With gradients nothing is cut into chunks, however long it is."""
    with torch.enable_grad():
        return method(*args, **kwargs)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("chunk", CHUNK_SIZES)
def test_decoded_chunks_equal_the_whole(model, codes, chunk):
    cache = model.init_cache("decoder", batch_size=2)
    audio = [model.decode(part, cache=cache).audio for part in codes.split(chunk, dim=-1)]
    assert_close(torch.cat(audio, dim=-1), all_at_once(model.decode, codes).audio)


@torch.no_grad()
@pytest.mark.parametrize("chunk", CHUNK_SIZES)
def test_encoded_chunks_equal_the_whole(model, waves, chunk):
    cache = model.init_cache("encoder", batch_size=2)
    parts = waves.split(chunk * model.config.downsample_rate, dim=-1)
    outputs = [model.encode(part, cache=cache) for part in parts]
    whole = all_at_once(model.encode, waves)
    assert_close(torch.cat([o.encoder_hidden_states for o in outputs], dim=-1), whole.encoder_hidden_states)
    torch.testing.assert_close(torch.cat([o.audio_codes for o in outputs], dim=-1), whole.audio_codes)


@torch.no_grad()
def test_chunk_sizes_may_change_within_a_stream(model, codes):
    cache = model.init_cache("decoder", batch_size=2)
    audio = [model.decode(part, cache=cache).audio for part in codes.split([1, 12, 3, 1, 20], dim=-1)]
    assert_close(torch.cat(audio, dim=-1), all_at_once(model.decode, codes).audio)


@torch.no_grad()
@pytest.mark.parametrize("chunk_duration", [0.25, 2.0, 2.25, 100.0])
def test_chunk_duration_changes_nothing(model, codes, waves, chunk_duration):
    lengths = torch.tensor([NUM_FRAMES, 11])
    mask = torch.arange(NUM_FRAMES) < lengths[:, None]
    chunked = model.decode(codes, padding_mask=mask, chunk_duration=chunk_duration)
    whole = all_at_once(model.decode, codes, padding_mask=mask)
    assert_close(chunked.audio, whole.audio)
    torch.testing.assert_close(chunked.audio_lengths, whole.audio_lengths)

    mask = mask.repeat_interleave(model.config.downsample_rate, dim=1)
    chunked = model.encode(waves, padding_mask=mask, chunk_duration=chunk_duration)
    whole = all_at_once(model.encode, waves, padding_mask=mask)
    torch.testing.assert_close(chunked.audio_codes_lengths, whole.audio_codes_lengths)
    for place, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(chunked.audio_codes[:, place, :length], whole.audio_codes[:, place, :length])


@torch.no_grad()
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_streams_start_and_end_at_different_times(attn_implementation):
    """Four streams in the three places of one cache; a place may have any number of frames in a step, also none."""
    model = tiny_codec()
    model.set_attn_implementation(attn_implementation)
    torch.manual_seed(3)
    streams = [torch.randint(0, 16, (4, 1, length)) for length in (30, 21, 9, 14)]
    expected = [model.decode(stream).audio[0, 0] for stream in streams]
    plan = [  # (place, stream, first step in which it may send frames)
        (0, 0, 0),
        (1, 1, 2),
        (2, 2, 1),
    ]
    order = random.Random(4)
    cache = model.init_cache("decoder", batch_size=3)
    heard, sent = {i: [] for i in range(4)}, [0] * 4
    for step in range(200):
        for position, (place, stream, _) in enumerate(plan):
            if stream == 2 and sent[2] == streams[2].shape[-1]:
                cache.reset([place])
                plan[position] = (place, 3, step)
        chunk = torch.zeros(4, 3, 4, dtype=torch.long)
        lengths = torch.zeros(3, dtype=torch.long)
        for place, stream, first in plan:
            left = streams[stream].shape[-1] - sent[stream]
            lengths[place] = 0 if step < first else min(left, order.randint(0, 4))
            frames = slice(sent[stream], sent[stream] + int(lengths[place]))
            chunk[:, place, : lengths[place]] = streams[stream][:, 0, frames]
            sent[stream] += int(lengths[place])
        outputs = model.decode(chunk, padding_mask=torch.arange(4) < lengths[:, None], cache=cache)
        for place, stream, _ in plan:
            heard[stream].append(outputs.audio[place, 0, : outputs.audio_lengths[place]])
        if sent == [stream.shape[-1] for stream in streams]:
            break
    for stream, audio in heard.items():
        assert_close(torch.cat(audio), expected[stream])
    assert cache.num_frames.tolist() == [30, 21, 14]


@torch.no_grad()
def test_twenty_interleaved_streams_on_one_model(model):
    torch.manual_seed(5)
    streams = [torch.randint(0, 16, (4, 1, 10 + i)) for i in range(20)]
    alone = []
    for stream in streams:
        cache = model.init_cache("decoder")
        alone.append(torch.cat([model.decode(c, cache=cache).audio for c in stream.split(3, -1)], dim=-1))
    caches = [model.init_cache("decoder") for _ in streams]
    chunks = [list(stream.split(3, dim=-1)) for stream in streams]
    together = [[] for _ in streams]
    while any(chunks):
        for index, remaining in enumerate(chunks):
            if remaining:
                outputs = model.decode(remaining.pop(0), cache=caches[index])
                together[index].append(outputs.audio)
    for one, other in zip(alone, together):
        torch.testing.assert_close(torch.cat(other, dim=-1), one, atol=0, rtol=0)


@torch.no_grad()
def test_alone_and_in_a_padded_batch_give_the_same_codes(model):
    torch.manual_seed(6)
    waves = [torch.randn(samples) for samples in (296, 41, 100, 8)]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=0.7)
    mask = torch.arange(padded.shape[1]) < torch.tensor([[len(wave)] for wave in waves])
    batch = model.encode(padded, padding_mask=mask)
    for place, wave in enumerate(waves):
        single = model.encode(wave[None])
        length = len(wave) // model.config.downsample_rate
        assert batch.audio_codes_lengths[place] == single.audio_codes_lengths[0] == length
        torch.testing.assert_close(batch.audio_codes[:, place, :length], single.audio_codes[:, 0, :length])


def compiling() -> CompileConfig:
    """Begins to count graphs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return CompileConfig(fullgraph=True, dynamic=False, backend="aot_eager", mode=None)


@torch.no_grad()
def test_chunks_of_one_frame_run_compiled(model, codes):
    expected = all_at_once(model.decode, codes).audio
    config = compiling()
    for sizes in ([1, 1, 3, *[1] * (NUM_FRAMES - 5)], [NUM_FRAMES]):
        cache = model.init_cache("decoder", batch_size=2, compile_config=config)
        audio = [model.decode(part, cache=cache).audio for part in codes.split(sizes, dim=-1)]
        assert_close(torch.cat(audio, dim=-1), expected)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    cache = model.init_cache("decoder", batch_size=2, compile_config=config)
    assert_close(model.decode(codes, cache=cache, chunk_duration=1 / model.config.frame_rate).audio, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@torch.no_grad()
def test_chunks_of_one_frame_are_encoded_compiled(model, waves):
    expected = all_at_once(model.encode, waves).audio_codes
    cache = model.init_cache("encoder", batch_size=2, compile_config=compiling())
    parts = waves.split(model.config.downsample_rate, dim=-1)
    codes = [model.encode(part, cache=cache).audio_codes for part in parts]
    torch.testing.assert_close(torch.cat(codes, dim=-1), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@torch.no_grad()
def test_a_copy_of_a_compiled_codec_has_weights_of_its_own(model, codes):
    config = compiling()
    first = codes[..., :1]
    model.decode(first, cache=model.init_cache("decoder", 2, config))
    # What is copied is also what is pickled.
    other = pickle.loads(pickle.dumps(model))
    for parameter in other.decoder.parameters():
        parameter.mul_(1.5)
    expected = other.decode(first, cache=other.init_cache("decoder", 2)).audio
    assert_close(other.decode(first, cache=other.init_cache("decoder", 2, config)).audio, expected)


def test_what_compiles_is_a_config(model):
    with pytest.raises(TypeError, match="CompileConfig"):
        model.init_cache("decoder", compile_config=True)


def test_long_audio_is_chunked_by_itself_without_gradients(model, codes, waves):
    """37 frames are more than four windows of eight; with gradients they run at once."""
    sizes = []
    handle = model.decoder[0].register_forward_hook(lambda module, args, out: sizes.append(out.shape[1]))
    try:
        whole = model.decode(codes)
        assert sizes == [NUM_FRAMES] and whole.audio.requires_grad
        with torch.no_grad():
            chunked = model.decode(codes)
            assert sizes[1:] == [8, 8, 8, 8, 5]
            model.decode(codes[..., :32])
            assert sizes[6:] == [32]
    finally:
        handle.remove()
    assert_close(chunked.audio, whole.audio.detach())
    expected = model.encode(waves)
    with torch.no_grad():
        encoded = model.encode(waves)
    torch.testing.assert_close(encoded.audio_codes, expected.audio_codes)
    assert_close(encoded.encoder_hidden_states, expected.encoder_hidden_states.detach())
