"""
On a GPU: the tokens are those of the CPU, and those of compiled steps those of eager ones. `TRANSFORMERS_TEST_DEVICE=cpu` runs
the same tests without one.
"""

import os

import pytest
import torch
from tiny_models import tiny_codec, tiny_local, tiny_local_v1, tiny_prompts, tiny_stereo_codec, tiny_tts
from transformers import CompileConfig
from transformers.testing_utils import torch_device


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        torch_device == "cpu" and "TRANSFORMERS_TEST_DEVICE" not in os.environ, reason="there is no GPU"
    ),
]
GREEDY = {"do_sample": False, "max_new_tokens": 24}


@pytest.fixture(params=[tiny_tts, tiny_local_v1, tiny_local], ids=["delay", "local-v1", "local"])
def model(request):
    return request.param()


def prompts_of(model) -> dict[str, torch.Tensor]:
    return tiny_prompts(model.config, 12, 7)


def test_generates_the_tokens_of_the_cpu(model):
    expected = model.generate(**prompts_of(model), **GREEDY)
    model.to(torch_device)
    prompts = {name: value.to(torch_device) for name, value in prompts_of(model).items()}
    assert torch.equal(model.generate(**prompts, **GREEDY).cpu(), expected)


def test_compiled_steps_generate_the_tokens_of_eager_ones(model):
    model.to(torch_device)
    prompts = {name: value.to(torch_device) for name, value in prompts_of(model).items()}
    compiled = {"cache_implementation": "static", "compile_config": CompileConfig(mode=None)}
    assert torch.equal(model.generate(**prompts, **GREEDY, **compiled), model.generate(**prompts, **GREEDY))


@pytest.mark.skipif(torch_device == "cpu", reason="offloads from a GPU")
def test_an_offloaded_cache_changes_nothing(model):
    model.to(torch_device)
    prompts = {name: value.to(torch_device) for name, value in prompts_of(model).items()}
    offloaded = model.generate(**prompts, **GREEDY, cache_implementation="offloaded")
    assert torch.equal(offloaded, model.generate(**prompts, **GREEDY))


@pytest.mark.parametrize("build", [tiny_codec, tiny_stereo_codec])
def test_a_codec_gives_the_codes_and_samples_of_the_cpu(build):
    codec = build()
    config = codec.config
    torch.manual_seed(0)
    shape = (2, 20 * config.downsample_rate)
    waves = torch.randn(shape if config.num_channels == 1 else (shape[0], config.num_channels, shape[1]))
    codes = codec.encode(waves).audio_codes
    audio = codec.decode(codes).audio
    codec.to(torch_device)
    on_device = codec.encode(waves.to(torch_device)).audio_codes
    assert torch.equal(on_device.cpu(), codes)
    torch.testing.assert_close(codec.decode(on_device).audio.cpu(), audio, atol=1e-4, rtol=1e-4)


def test_bfloat16_generates_on_the_device(model):
    model.to(torch_device, torch.bfloat16)
    prompts = {name: value.to(torch_device) for name, value in prompts_of(model).items()}
    sequences = model.generate(**prompts, max_new_tokens=24, seed=0)
    assert sequences.device.type == torch.device(torch_device).type
    assert torch.equal(sequences, model.generate(**prompts, max_new_tokens=24, seed=0))
