"""Models take and return the cache under the installed transformers' name, and take it under the other one."""

import pytest
import torch
from tiny_models import tiny_codec, tiny_local, tiny_local_v1, tiny_prompts, tiny_tts
from transformers import DynamicCache

from transformers_moss_tts.compatibility import CACHE_NAME


@pytest.mark.parametrize("make", [tiny_tts, tiny_local, tiny_local_v1])
@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@torch.no_grad()
def test_generators_take_both_names(make, name):
    model = make()
    inputs = tiny_prompts(model.config, 9, 9)
    cache = DynamicCache(config=model.config.language_config)
    outputs = model(**inputs, **{name: cache})
    assert outputs[CACHE_NAME] is cache
    assert cache.get_seq_length() == 9
    assert "cache" not in outputs or CACHE_NAME == "cache"

    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}
    expected = model.generate(**inputs, **options)
    cache = DynamicCache(config=model.config.language_config)
    outputs = model.generate(**inputs, **options, **{name: cache})
    assert torch.equal(outputs.sequences, expected.sequences)
    assert outputs[CACHE_NAME] is cache
    assert cache.get_seq_length() == expected.sequences.shape[1] - 1


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@torch.no_grad()
def test_the_codec_takes_both_names(name):
    codec = tiny_codec()
    cache = codec.init_cache("encoder")
    outputs = codec.encode(torch.randn(1, 16), **{name: cache})
    assert outputs.cache is cache
    assert cache.num_frames.tolist() == [2]
    cache = codec.init_cache("decoder")
    assert codec.decode(outputs.audio_codes, **{name: cache}).cache is cache
    assert cache.num_frames.tolist() == [2]


def test_two_caches_are_refused():
    model, codec = tiny_tts(), tiny_codec()
    caches = {"cache": DynamicCache(), "past_key_values": DynamicCache()}
    inputs = tiny_prompts(model.config, 9)
    codes = torch.zeros(4, 1, 3, dtype=torch.long)
    for call in (lambda: model(**inputs, **caches), lambda: model.generate(**inputs, **caches)):
        with pytest.raises(ValueError, match=r"Both `.*` and `.*` are set"):
            call()
    with pytest.raises(ValueError, match=r"Both `.*` and `.*` are set"):
        codec.decode(codes, **caches)
