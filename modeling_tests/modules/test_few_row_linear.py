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

import pytest
import torch
from torch import nn

from transformers_moss_tts.modules.few_row_linear import FewRowLinear, JoinedLinears, ready_weights


@pytest.fixture(params=[(48, 33, False), (65, 32, False), (5, 7, True), (1025, 24, True)], ids=str)
def linear(request):
    torch.manual_seed(0)
    inputs, outputs, bias = request.param
    return FewRowLinear(inputs, outputs, bias=bias)


def expected_of(linear, rows):
    return nn.functional.linear(rows, linear.weight, linear.bias)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1,), (1, 1), (2,), (2, 3), (8,), (9,), (0,)], ids=str)
def test_it_multiplies_like_linear(linear, shape):
    rows = torch.randn(*shape, linear.in_features)
    torch.testing.assert_close(linear(rows), expected_of(linear, rows), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("num_rows", [1, 2, 3, 6, 8, 12])
def test_ready_weights_multiply_the_same(linear, num_rows):
    rows = torch.randn(num_rows, 1, linear.in_features)
    with ready_weights([nn.Sequential(linear)], num_rows):
        torch.testing.assert_close(linear(rows), expected_of(linear, rows), atol=1e-5, rtol=1e-5)
        # A step of another batch is right too.
        torch.testing.assert_close(linear(rows[:1]), expected_of(linear, rows[:1]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_ready_weights_are_given_back(linear):
    rows = torch.randn(8, linear.in_features)
    with pytest.raises(RuntimeError, match="stop"), ready_weights([linear], 8):
        linear(rows)
        raise RuntimeError("stop")
    linear.weight.mul_(2)
    torch.testing.assert_close(linear(rows), expected_of(linear, rows), atol=1e-5, rtol=1e-5)


class Gated(JoinedLinears, nn.Module):
    joined_linears = ("gate", "up")

    def __init__(self, gate: nn.Module):
        super().__init__()
        self.gate, self.up = gate, FewRowLinear(48, 16, bias=False)

    def forward(self, input):
        return torch.cat(tuple(self.multiply_joined(input)), dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("num_rows", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("gate", [FewRowLinear, nn.Linear], ids=["joined", "apart"])
def test_joined_weights_multiply_the_same(gate, num_rows):
    torch.manual_seed(0)
    module = Gated(gate(48, 33, bias=False))
    rows = torch.randn(num_rows, 1, 48)
    expected = torch.cat([expected_of(module.gate, rows), expected_of(module.up, rows)], dim=-1)
    names = list(module.state_dict())
    with ready_weights([module], num_rows):
        torch.testing.assert_close(module(rows), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(module(rows[:1]), expected[:1], atol=1e-5, rtol=1e-5)
        assert list(module.state_dict()) == names
    module.up.weight.zero_()
    assert module(rows)[..., 33:].eq(0).all()


@pytest.mark.parametrize("num_rows", [3, 8])
def test_gradients_are_those_of_linear(linear, num_rows):
    rows = torch.randn(num_rows, linear.in_features, requires_grad=True)
    ours = torch.autograd.grad(linear(rows).square().sum(), [rows, *linear.parameters()])
    theirs = torch.autograd.grad(expected_of(linear, rows).square().sum(), [rows, *linear.parameters()])
    for gradient, expected in zip(ours, theirs):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)
