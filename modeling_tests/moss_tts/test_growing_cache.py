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
"""The growing cache does what transformers' dynamic one does, without copying the history."""

import copy
import pickle
import random

import pytest
import torch
from transformers import DynamicCache, Qwen3Config
from transformers.cache_utils import DynamicLayer

from transformers_moss_tts.moss_tts.growing_cache import GrowingLayer, let_grow


def states(layer, length: int, draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    batch_size = layer.keys.shape[0] if layer.is_initialized else draw.randint(1, 3)
    generator = torch.Generator().manual_seed(draw.randint(0, 10**6))
    return torch.randn(2, batch_size, 2, length, 4, generator=generator).unbind(0)


def crop(layer, draw):
    layer.crop(-draw.randint(0, max(layer.get_seq_length() - 1, 0)))


def crop_to_nothing(layer, draw):
    if layer.get_seq_length():
        layer.crop(-layer.get_seq_length())


def reorder(layer, draw):
    if layer.is_initialized:
        layer.reorder_cache(torch.tensor([draw.randrange(len(layer.keys)) for _ in range(len(layer.keys))]))


def repeat(layer, draw):
    if layer.is_initialized and len(layer.keys) < 9:
        layer.batch_repeat_interleave(2)


def select(layer, draw):
    if layer.is_initialized:
        layer.batch_select_indices(torch.tensor([0, len(layer.keys) - 1]))


def select_the_first(layer, draw):
    if layer.is_initialized:
        layer.batch_select_indices(slice(0, 1))


def offload(layer, draw):
    layer.offload()
    layer.prefetch()


def replace_values(layer, draw):
    if layer.is_initialized:
        layer.values = 2 * layer.values


def drop_every_second(layer, draw):
    if layer.is_initialized:
        layer.keys, layer.values = layer.keys[:, :, ::2], layer.values[:, :, ::2]


CHANGES = [
    crop,
    crop_to_nothing,
    reorder,
    repeat,
    select,
    select_the_first,
    offload,
    replace_values,
    drop_every_second,
    lambda layer, draw: layer.reset(),
]
COPIES = [lambda layer: layer, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]


@torch.no_grad()
@pytest.mark.parametrize("seed", range(30))
def test_it_holds_what_the_dynamic_layer_holds(seed):
    ours, theirs = GrowingLayer(), DynamicLayer()
    draws = random.Random(seed), random.Random(seed)
    for _ in range(40):
        length = draws[0].choice([1, 1, 1, 5, 200])
        draws[1].choice([1, 1, 1, 5, 200])
        results = [layer.update(*states(layer, length, draw)) for layer, draw in zip((ours, theirs), draws)]
        for result, expected in zip(*results):
            assert torch.equal(result, expected)
        change, make_copy = draws[0].choice([None, None, *CHANGES]), draws[0].choice(COPIES)
        draws[1].choice([None, None, *CHANGES]), draws[1].choice(COPIES)
        if change is not None:
            change(ours, draws[0])
            change(theirs, draws[1])
        ours = make_copy(ours)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(3) == theirs.get_mask_sizes(3)
        assert ours.is_initialized == theirs.is_initialized
        if ours.get_seq_length():
            assert torch.equal(ours.keys, theirs.keys) and torch.equal(ours.values, theirs.values)


@torch.no_grad()
def test_steps_do_not_copy_the_history():
    layer, draw = GrowingLayer(), random.Random(0)
    addresses = [layer.update(*states(layer, 1, draw))[0].data_ptr() for _ in range(1000)]
    assert len(set(addresses)) <= 4
    layer.crop(-500)
    assert layer.update(*states(layer, 1, draw))[0].data_ptr() == addresses[-1]


@torch.no_grad()
def test_what_was_returned_stays_while_the_cache_grows():
    layer, draw = GrowingLayer(), random.Random(0)
    returned = [layer.update(*states(layer, 7, draw))[0] for _ in range(100)]
    kept = [keys.clone() for keys in returned]
    for _ in range(100):
        layer.update(*states(layer, 7, draw))
    assert all(torch.equal(keys, copied) for keys, copied in zip(returned, kept))


@torch.no_grad()
@pytest.mark.parametrize("batch_sizes", [(2, 1), (1, 2)], ids=str)
def test_another_batch_size_is_refused_as_by_the_dynamic_layer(batch_sizes):
    first, second = (torch.ones(size, 2, 3, 4) for size in batch_sizes)
    for layer in (GrowingLayer(), DynamicLayer()):
        layer.update(first, first)
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            layer.update(second, second)


@torch.no_grad()
def test_another_precision_is_promoted_as_by_the_dynamic_layer():
    half, single = torch.full((1, 2, 3, 4), 1.5).bfloat16(), torch.full((1, 2, 3, 4), 1 / 3)
    for layer in (GrowingLayer(), DynamicLayer()):
        layer.update(half, half)
        keys, _ = layer.update(single, single)
        assert keys.dtype == torch.float32 and torch.equal(keys[:, :, 3:], single)
        assert torch.equal(layer.update(single, single)[0][:, :, 3:6], single)


def test_gradients_flow_through_all_steps():
    steps = torch.randn(5, 1, 2, 1, 4, requires_grad=True)
    layers, gradients = (GrowingLayer(), DynamicLayer()), []
    for layer in layers:
        with torch.no_grad():
            layer.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4))
        loss = sum(layer.update(step, step)[0].square().sum() for step in steps)
        gradients += torch.autograd.grad(loss, steps)
    assert torch.equal(*gradients)


def test_a_cache_of_inference_mode_goes_on_outside():
    layer, ones = GrowingLayer(), torch.ones(1, 2, 3, 4)
    with torch.inference_mode():
        layer.update(ones, ones)
        layer.update(ones, ones)
    with torch.no_grad():
        assert torch.equal(layer.update(2 * ones, ones)[0], torch.cat([ones, ones, 2 * ones], dim=2))


def test_only_plain_dynamic_layers_grow():
    config = Qwen3Config(
        num_hidden_layers=2,
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=4,
        use_sliding_window=True,
    )
    cache = DynamicCache(config=config)
    sliding = cache.layers[1]
    assert let_grow(cache) is cache
    assert type(cache.layers[0]) is GrowingLayer and cache.layers[1] is sliding
