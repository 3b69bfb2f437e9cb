"""A step of generation, backbone and sampling of all streams, is one graph without a read by the host."""

import pickle

import pytest
import torch
from host_reads import CountHostReads
from tiny_models import tiny_local, tiny_local_v1, tiny_nano, tiny_prompts, tiny_tts
from transformers import CompileConfig, StaticCache

from transformers_moss_tts.compatibility import CACHE_NAME


MODELS = {"delay": tiny_tts, "local v1.0": tiny_local_v1, "local v1.5": tiny_local, "nano": tiny_nano}
NUM_STEPS = 5
GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0}


@pytest.fixture(params=list(MODELS))
def model(request):
    return MODELS[request.param]()


def begin(model):
    """The sampler of a generation, its cache, and the step that follows from the prompt."""
    inputs = tiny_prompts(model.config, 9, 9)
    inputs["input_ids"][:, -1, 0] = model.config.audio_start_token_id
    generation_config, _ = model._prepare_generation_config(None, **GREEDY)
    cache = StaticCache(model.config.get_text_config(), max_cache_len=32)
    sampler = model.new_sampler(inputs["input_ids"], generation_config)
    outputs = model(**inputs, **{CACHE_NAME: cache}, use_cache=True)
    return inputs, cache, sampler, sampler.next_step(outputs)


def step_of(model, cache, sampler):
    """The whole step, from the tokens of the last one to the next ones."""

    def step(tokens: torch.LongTensor, position_ids: torch.LongTensor) -> torch.LongTensor:
        given = {"position_ids": position_ids, CACHE_NAME: cache, "use_cache": True}
        return sampler.next_step(model(input_ids=tokens[:, None], **given))

    return step


def run(step, tokens: torch.LongTensor) -> torch.LongTensor:
    steps = [tokens]
    for position in range(9, 8 + NUM_STEPS):
        steps.append(step(steps[-1], torch.full((2, 1), position)))
    return torch.stack(steps, dim=1)


@torch.inference_mode()
def test_a_step_with_a_static_cache_is_one_graph(model):
    inputs, cache, sampler, first = begin(model)
    expected = model.generate(**inputs, **GREEDY, max_new_tokens=NUM_STEPS)[:, 9:]
    torch._dynamo.reset()
    compiled = torch.compile(step_of(model, cache, sampler), fullgraph=True, backend="eager")
    assert torch.equal(run(compiled, first)[:, : expected.shape[1]], expected)


@torch.no_grad()
def test_the_host_reads_nothing_of_a_step(model):
    _, cache, sampler, first = begin(model)
    step = step_of(model, cache, sampler)
    with CountHostReads() as reads:
        run(step, first)
    assert reads.count == 0


@torch.no_grad()
def test_a_copy_of_a_compiled_model_has_weights_of_its_own(model):
    options = tiny_prompts(model.config, 9) | GREEDY | {"max_new_tokens": 5, "cache_implementation": "static"}
    compiled = options | {"compile_config": CompileConfig(backend="eager", mode=None)}
    torch._dynamo.reset()
    said = model.generate(**compiled)
    # What is copied is also what is pickled.
    other = pickle.loads(pickle.dumps(model))
    for parameter in other.parameters():
        parameter.mul_(-1.5)
    expected = other.generate(**options)
    assert not torch.equal(expected, said)
    assert torch.equal(other.generate(**compiled), expected)
