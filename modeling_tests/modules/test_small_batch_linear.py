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
"""Products of small batches: what `nn.Linear` says, also where weights, layers and threads change while a generation runs."""

import copy
import importlib
import pickle
import threading

import pytest
import torch
from tiny_models import tiny_local, tiny_local_v1, tiny_prompts, tiny_tts
from torch import nn
from transformers.generation.streamers import BaseStreamer

from transformers_moss_tts.modules import small_batch_linear
from transformers_moss_tts.modules.small_batch_linear import TiedLinear, joined_linears, small_batch_linears


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True, params=[False, True], ids=["any processor", "Intel"])
def processor(request, monkeypatch):
    """The products of each processor, on this one."""
    monkeypatch.setattr(small_batch_linear, "is_intel_processor", lambda: request.param)
    monkeypatch.setattr(small_batch_linear, "_multiplies_bfloat16", lambda: request.param)


def small_batches(module: nn.Module, batch_size: int):
    return small_batch_linears(module, [module], batch_size)


def expected_of(linear: nn.Module, input: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(input, linear.weight, getattr(linear, "bias", None))


@pytest.fixture(params=[(48, 33, False), (65, 32, False), (5, 7, True), (1025, 24, True), (48, 33, None)], ids=str)
def linear(request):
    torch.manual_seed(0)
    inputs, outputs, bias = request.param
    if bias is not None:
        return nn.Linear(inputs, outputs, bias=bias)
    tied = TiedLinear(inputs, outputs)
    nn.init.normal_(tied.weight)
    return tied


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1,), (1, 1), (2,), (2, 3), (3, 1), (8,), (9,), (0,)], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3, 8, 9])
def test_it_multiplies_like_linear(linear, shape, batch_size):
    input = torch.randn(*shape, linear.weight.shape[1])
    with small_batches(nn.Sequential(linear), batch_size):
        for _ in range(2):
            torch.testing.assert_close(linear(input), expected_of(linear, input), **CLOSE)


class Gated(nn.Module):
    def __init__(self, bias: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.up = nn.Linear(48, 33, bias=bias), nn.Linear(48, 16, bias=False)

    def forward(self, input):
        return torch.cat(tuple(joined_linears(input, self.gate, self.up)), dim=-1)

    def expected(self, input):
        return torch.cat([expected_of(self.gate, input), expected_of(self.up, input)], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("bias", [False, True], ids=["joined", "apart"])
def test_joined_layers_multiply_the_same(batch_size, bias):
    module = Gated(bias)
    input = torch.randn(batch_size, 1, 48)
    names = list(module.state_dict())
    with small_batches(module, batch_size):
        for part in (input, input[:1]):
            torch.testing.assert_close(module(part), module.expected(part), **CLOSE)
        assert list(module.state_dict()) == names
    assert torch.equal(module(input), module.expected(input))


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3])
def test_compiled_products_are_the_same(batch_size):
    module = Gated()
    step = torch.compile(module, fullgraph=True, backend="aot_eager")
    input = torch.randn(batch_size, 1, 48)
    for _ in range(2):
        # Weights that changed between generations are read anew by the step that was compiled before.
        module.gate.weight.mul_(2)
        with small_batches(module, batch_size):
            torch.testing.assert_close(step(input), module.expected(input), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True], ids=["joined", "apart"])
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_products_of_16_bits_round_once(dtype, bias, batch_size):
    module = Gated(bias).to(dtype)
    torch.compiler.reset()
    step = torch.compile(module, fullgraph=True, backend="aot_eager")
    input = torch.randn(batch_size, 1, 48).to(dtype)
    with small_batches(module, batch_size):
        outputs = module(input), step(input)
    expected = copy.deepcopy(module).float().expected(input.float())
    for output in outputs:
        assert output.dtype == dtype
        torch.testing.assert_close(output.float(), expected, atol=1e-3, rtol=torch.finfo(dtype).eps)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_the_processor_can_do_is_not_asked_in_a_graph(monkeypatch, batch_size):
    monkeypatch.undo()
    module = Gated(bias=True).bfloat16()
    torch.compiler.reset()
    step = torch.compile(module, fullgraph=True, backend="eager")
    input = torch.randn(batch_size, 1, 48).bfloat16()
    with small_batches(module, batch_size):
        torch.testing.assert_close(step(input), module.expected(input), atol=1e-3, rtol=2**-7)


CHANGES = {
    "in place": lambda linear: linear.weight.mul_(2),
    "data": lambda linear: setattr(linear.weight, "data", 2 * linear.weight),
    "parameter": lambda linear: setattr(linear, "weight", nn.Parameter(2 * linear.weight)),
    "loaded": lambda linear: linear.load_state_dict({"weight": 2 * linear.weight}),
    "assigned": lambda linear: linear.load_state_dict({"weight": 2 * linear.weight}, assign=True),
    "precision": lambda linear: linear.double(),
    "layer": lambda linear: None,
}


@torch.no_grad()
@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_weights_that_change_meanwhile_are_multiplied_as_they_are(change, batch_size):
    module = Gated()
    input = torch.randn(batch_size, 48)
    with small_batches(module, batch_size):
        module(input)
        module.gate(input)
        CHANGES[change](module.gate)
        if change == "layer":
            module.gate = nn.Linear(48, 33, bias=False)
        if change == "precision":
            module.up.double()
            input = input.double()
        torch.testing.assert_close(module.gate(input), expected_of(module.gate, input), **CLOSE)
        torch.testing.assert_close(module(input), module.expected(input), **CLOSE)
    assert type(module.gate) is type(module.up) is nn.Linear


@torch.no_grad()
def test_what_is_no_plain_product_stays_as_it_is():
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled(48, 48), nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 48).double())
    model[1].register_forward_hook(lambda module, inputs, output: output + 1)
    model[2].forward = lambda input: input
    kinds = [type(layer) for layer in model]
    with small_batches(model, 1):
        assert [type(layer) for layer in model] == kinds
        input = torch.randn(1, 48)
        assert torch.equal(model[0](input), 2 * nn.functional.linear(input, model[0].weight, model[0].bias))


def test_gradients_are_those_of_linear(linear):
    """A streamer may train inside a generation's thread."""
    input = torch.randn(3, linear.weight.shape[1], requires_grad=True)
    with small_batches(nn.Sequential(linear), 3):
        ours = torch.autograd.grad(linear(input).square().sum(), [input, *linear.parameters()])
    theirs = torch.autograd.grad(expected_of(linear, input).square().sum(), [input, *linear.parameters()])
    for gradient, expected in zip(ours, theirs):
        assert torch.equal(gradient, expected)


@torch.no_grad()
def test_nested_and_failed_generations_leave_plain_layers():
    module = Gated()
    input = torch.randn(3, 48)
    with pytest.raises(RuntimeError, match="stop"), small_batches(module, 3):
        with small_batches(module, 1):
            torch.testing.assert_close(module(input[:1]), module.expected(input[:1]), **CLOSE)
        assert type(module.gate) is not nn.Linear
        torch.testing.assert_close(module(input), module.expected(input), **CLOSE)
        raise RuntimeError("stop")
    assert type(module.gate) is type(module.up) is nn.Linear
    assert vars(module.gate).keys() == vars(nn.Linear(1, 1)).keys()
    assert not vars(small_batch_linear._THREAD).get("products") and not small_batch_linear._USERS


@torch.no_grad()
def test_other_threads_multiply_as_before():
    module = Gated()
    input = torch.randn(1, 48)
    results = []
    with small_batches(module, 1):
        thread = threading.Thread(target=lambda: results.append(module(input)))
        with torch.no_grad():
            thread.start()
        thread.join()
    assert torch.equal(results[0], module.expected(input))


def test_copies_that_are_made_meanwhile_work():
    model = Gated()
    with small_batches(model, 1):
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    input = torch.randn(1, 48)
    for other in copies:
        torch.testing.assert_close(other(input), model.expected(input), **CLOSE)
        with torch.no_grad(), small_batches(other, 1):
            torch.testing.assert_close(other(input), model.expected(input), **CLOSE)
        assert type(other.gate) is nn.Linear


@torch.no_grad()
def test_the_module_can_be_reloaded(monkeypatch):
    # Other tests pickle its classes, and get back those that they imported.
    for name, value in list(vars(small_batch_linear).items()):
        monkeypatch.setattr(small_batch_linear, name, value)
    module = Gated()
    input = torch.randn(3, 48)
    with small_batches(module, 3):
        importlib.reload(small_batch_linear)
        torch.testing.assert_close(module(input), module.expected(input), **CLOSE)
    assert type(module.gate) is nn.Linear
    with small_batch_linear.small_batch_linears(module, [module], 3):
        torch.testing.assert_close(torch.compile(module, backend="aot_eager")(input), module.expected(input), **CLOSE)


class Pause(BaseStreamer):
    """Stops a generation at its third step until it may go on."""

    def __init__(self):
        self.steps, self.reached, self.go_on = 0, threading.Event(), threading.Event()

    def put(self, value):
        self.steps += 1
        if self.steps == 3:
            self.reached.set()
            assert self.go_on.wait(60)

    def end(self):
        pass


@pytest.mark.parametrize("make", [tiny_tts, tiny_local, tiny_local_v1])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_generation_hears_weights_that_were_loaded_while_another_one_runs(make, batch_size):
    served, changed = make(seed=5), make(seed=2)
    options = {**tiny_prompts(served.config, *[9] * batch_size), "max_new_tokens": 8, "do_sample": False}
    expected = changed.generate(**options)
    assert not torch.equal(served.generate(**options), expected)
    pause = Pause()
    first = threading.Thread(target=served.generate, kwargs={**options, "streamer": pause})
    first.start()
    assert pause.reached.wait(60)
    served.load_state_dict(changed.state_dict())
    spoken = served.generate(**options)
    pause.go_on.set()
    first.join()
    assert torch.equal(spoken, expected)


@pytest.mark.parametrize("make", [tiny_tts, tiny_local, tiny_local_v1])
def test_generations_in_threads_equal_single_ones(make):
    model = make()
    sizes = [1, 4, 8, 1]
    options = [
        {**tiny_prompts(model.config, *[7] * size, seed=seed), "max_new_tokens": 6, "seed": seed, "do_sample": True}
        for seed, size in enumerate(sizes)
    ]
    expected = [model.generate(**each) for each in options]
    results = [None] * len(options)

    def speak(index):
        results[index] = model.generate(**options[index])

    threads = [threading.Thread(target=speak, args=(index,)) for index in range(len(options))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, alone) for result, alone in zip(results, expected))
    assert {type(module) for module in model.modules() if isinstance(module, nn.Linear)} == {nn.Linear}
