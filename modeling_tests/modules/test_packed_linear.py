# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Weights packed as float16: the same speech, saving, copies, and what cannot be packed."""

import copy
import pickle

import pytest
import torch
from tiny_models import tiny_local, tiny_local_v1, tiny_nano, tiny_prompts, tiny_tts
from torch import nn
from transformers import CompileConfig

from transformers_moss_tts.evaluation.measures.memory_bandwidth import weights_read_a_step
from transformers_moss_tts.modules.packed_linear import PackedLinear
from transformers_moss_tts.modules.small_batch_linear import joined_linears


pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this processor has no packed products"
)
MAKERS = {"delay": tiny_tts, "local": tiny_local, "local-v1": tiny_local_v1, "nano": tiny_nano}


@pytest.fixture(params=list(MAKERS))
def model(request):
    """Weights that come from bfloat16, as those of the releases."""
    return MAKERS[request.param]().bfloat16().float()


def speak(model, **options) -> torch.Tensor:
    return model.generate(**tiny_prompts(model.config, 9, 5), max_new_tokens=6, do_sample=False, **options)


def linear_of_bfloat16(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 33, bias=bias).bfloat16().float()


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 3), (70,)], ids=str)
def test_products_are_those_of_float32(shape, bias):
    linear = linear_of_bfloat16(bias)
    packed, input = PackedLinear(linear.weight, linear.bias), torch.randn(*shape, 48)
    torch.testing.assert_close(packed(input), linear(input), atol=1e-6, rtol=1e-5)
    low = packed(input.bfloat16())
    torch.testing.assert_close(low, linear(input.bfloat16().float()).bfloat16())
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(other(input), packed(input))


def test_speech_is_the_same_and_the_model_saves_as_before(model, tmp_path):
    names, spoken, num_bytes = set(model.state_dict()), speak(model), weights_read_a_step(model)
    assert model.pack_weights() is model
    assert torch.equal(speak(model), spoken)
    assert weights_read_a_step(model) < 0.7 * num_bytes
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    assert set(loaded.state_dict()) == names
    assert torch.equal(speak(loaded), spoken)


@pytest.mark.parametrize(
    "name,lengths,is_static",
    [
        ("nano", (9, 5), False),
        ("nano", (9,), False),
        ("local-v1", (9,), False),
        ("local-v1", (9,), True),
        ("delay", (9,), True),
    ],
)
def test_compiled_steps_say_the_same(name, lengths, is_static):
    model = MAKERS[name]().bfloat16().float()
    options = {"max_new_tokens": 3, "do_sample": False}
    prompts = tiny_prompts(model.config, *lengths)
    spoken = model.generate(**prompts, **options)
    compiled = {"compile_config": CompileConfig(mode=None, backend="eager", fullgraph=True)}
    if is_static:
        compiled["cache_implementation"] = "static"
    model.pack_weights()
    assert torch.equal(model.generate(**prompts, **options, **compiled), spoken)
    # Also of weights that come after the steps were compiled.
    other = type(model)(model.config).eval().bfloat16().float()
    model.load_state_dict(other.state_dict())
    expected = other.generate(**prompts, **options)
    assert torch.equal(model.generate(**prompts, **options, **compiled), expected)


def test_packed_models_take_other_weights(model):
    other = type(model)(model.config).eval().bfloat16().float()
    model.pack_weights().load_state_dict(other.state_dict())
    assert torch.equal(speak(model), speak(other))


@torch.no_grad()
def test_layers_of_one_input_are_multiplied_together():
    layers = [linear_of_bfloat16(bias=False), nn.Linear(48, 16, bias=False).bfloat16().float()]
    together, input = PackedLinear.joined(layers), torch.randn(2, 48)
    expected = [layer(input) for layer in layers]
    torch.testing.assert_close(torch.cat(list(joined_linears(input, *together)), 1), torch.cat(expected, 1))
    for packed, layer, output in zip(copy.deepcopy(together), layers, expected):
        torch.testing.assert_close(packed(input), output)
        assert torch.equal(packed.weight, layer.weight)
        assert packed.num_bytes == 2 * layer.weight.numel()
    # Of one that has got another weight the others know nothing.
    together[0].load_state_dict({"weight": -layers[0].weight})
    torch.testing.assert_close(joined_linears(input, *together)[1], expected[1])
    torch.testing.assert_close(together[0](input), -expected[0])


def test_gradients_are_refused():
    packed = PackedLinear(linear_of_bfloat16().weight)
    with pytest.raises(RuntimeError, match="train the model before"):
        packed(torch.randn(1, 48, requires_grad=True))


def test_weights_beyond_float16_are_refused():
    model = tiny_tts()
    with torch.no_grad():
        model.audio_heads.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="65504"):
        model.pack_weights()


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="meta"):
        tiny_tts().to("meta").pack_weights()
