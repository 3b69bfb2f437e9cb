"""Windowed attention: right under every implementation, and never a mask of the whole length."""

import pytest
import torch
from tiny_models import tiny_codec
from transformers import AttentionInterface

from transformers_moss_tts.moss_audio_tokenizer import windowed_attention
from transformers_moss_tts.moss_audio_tokenizer.windowed_attention import plan_attention_blocks


def allowed_positions(blocks, num_queries, num_keys, index=0):
    seen = torch.zeros(num_queries, num_keys, dtype=torch.bool)
    for block in blocks:
        seen[block.query, block.key] = block.mask[min(index, block.mask.shape[0] - 1), 0]
    return seen


@pytest.mark.parametrize("window", [1, 2, 8, 100, 1000])
@pytest.mark.parametrize("num_queries", [1, 7, 64, 65, 300])
def test_blocks_cover_exactly_the_window(window, num_queries):
    blocks = plan_attention_blocks(num_queries, window, "sdpa", torch.float32, torch.device("cpu"))
    distance = torch.arange(num_queries)[:, None] - torch.arange(num_queries)
    expected = (distance >= 0) & (distance < window)
    torch.testing.assert_close(allowed_positions(blocks, num_queries, num_queries), expected)


@pytest.mark.parametrize("window", [2, 8, 100])
@pytest.mark.parametrize("num_queries", [1, 7, 130])
def test_blocks_with_a_past_of_each_sequence(window, num_queries):
    past, num_past = torch.tensor([0, 1, 5, 1000]), window - 1
    is_real = torch.arange(num_past + num_queries) >= num_past - past[:, None]
    blocks = plan_attention_blocks(num_queries, window, "sdpa", torch.float32, torch.device("cpu"), num_past, is_real)
    distance = torch.arange(num_past, num_past + num_queries)[:, None] - torch.arange(num_past + num_queries)
    for index, length in enumerate(past.tolist()):
        expected = (distance >= 0) & (distance < window)
        expected[:, : max(0, num_past - length)] = False
        seen = allowed_positions(blocks, num_queries, num_past + num_queries, index)
        torch.testing.assert_close(seen, expected)


def test_no_mask_grows_with_the_length():
    window = 1000
    short, long = (
        plan_attention_blocks(length, window, "sdpa", torch.float32, torch.device("cpu")) for length in (6000, 60000)
    )
    for blocks in (short, long):
        assert max(block.mask.numel() for block in blocks) <= 2 * window**2
    distinct = [{id(block.mask): block.mask.numel() for block in blocks} for blocks in (short, long)]
    assert sum(distinct[1].values()) <= 1.1 * sum(distinct[0].values())


@torch.no_grad()
def test_flash_attention_gets_the_window_in_one_call(monkeypatch):
    """No GPU here: a stand-in with flash attention's contract (2D padding mask, `sliding_window`, no other mask)."""
    calls = []

    def flash_like(module, query, key, value, attention_mask, scaling, dropout, sliding_window, **kwargs):
        num_queries, num_keys = query.shape[2], key.shape[2]
        calls.append((num_queries, num_keys))
        distance = torch.arange(num_keys - num_queries, num_keys)[:, None] - torch.arange(num_keys)
        mask = ((distance >= 0) & (distance < sliding_window))[None, None]
        if attention_mask is not None:
            assert attention_mask.shape == (query.shape[0], num_keys)
            mask = mask & attention_mask[:, None, None]
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling)
        return out.transpose(1, 2), None

    model = tiny_codec()
    torch.manual_seed(0)
    codes = torch.randint(0, 16, (4, 2, 30))
    expected = model.decode(codes).audio
    AttentionInterface.register("flash_stand_in", flash_like)
    monkeypatch.setattr(
        windowed_attention,
        "is_flash_attention_requested",
        lambda requested_attention_implementation: requested_attention_implementation == "flash_stand_in",
    )
    model.config._attn_implementation = "flash_stand_in"
    torch.testing.assert_close(model.decode(codes).audio, expected, atol=1e-5, rtol=0)
    assert calls == [(30, 30)] * 2 + [(60, 60)]
    cache = model.init_cache("decoder", batch_size=2)
    audio = [model.decode(part, cache=cache).audio for part in codes.split(4, dim=-1)]
    torch.testing.assert_close(torch.cat(audio, dim=-1), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_eager_equals_sdpa():
    model = tiny_codec()
    values = torch.randn(2, 400)
    expected = model.encode(values).encoder_hidden_states
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(model.encode(values).encoder_hidden_states, expected, atol=1e-5, rtol=1e-5)
