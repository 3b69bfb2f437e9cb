"""The bytes that a step reads, against the modules that are called in one."""

import pytest
import torch
from tiny_models import tiny_local, tiny_tts
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from transformers_moss_tts.evaluation.measures.memory_bandwidth import read_rate_in_own_process, weights_read_a_step


@pytest.mark.parametrize("build", [tiny_tts, tiny_local])
def test_every_weight_counts_as_often_as_it_is_read(build):
    model = build()
    config = model.config
    prompt = torch.full((1, 6, 1 + config.n_vq), config.audio_pad_code)
    prompt[..., 0] = config.audio_assistant_gen_slot_token_id
    prompt[:, 0, 0] = config.audio_start_token_id
    prompt[:, 1:, 1:] = 0
    read = []

    def count(module, inputs):
        if module is model:
            read.append(0)
        elif not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            read[-1] += sum(weight.nbytes for weight in module.parameters(recurse=False))

    handle = register_module_forward_pre_hook(count)
    try:
        model.generate(prompt, max_new_tokens=2, do_sample=False)
    finally:
        handle.remove()
    assert read[-1] == weights_read_a_step(model)


def test_the_rate_is_of_this_machine():
    assert 1e8 < read_rate_in_own_process("cpu", torch.float32) < 1e13
