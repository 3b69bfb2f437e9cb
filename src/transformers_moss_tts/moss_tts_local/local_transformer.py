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

"""The local transformer of v1.0: the streams of one frame, one position each."""

import functools

import torch
from torch import nn
from transformers import Qwen3Config
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm, eager_attention_forward

from ..modules.small_batch_linear import joined_linears
from ..moss_tts.frame_cache import FrameCache, StaticFrameCache, frame_mask


class MossTTSLocalRMSNorm(Qwen3RMSNorm):
    """[`Qwen3RMSNorm`] in few operations: a frame has hundreds of them."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        is_traced = torch.compiler.is_compiling() or torch.is_grad_enabled()
        if is_traced or hidden_states.dtype != torch.float32 or hidden_states.device.type != "cpu":
            return nn.functional.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)
        # PyTorch has no kernel of its own for a CPU and takes nine operations; x / hypot(|x|, sqrt(size * epsilon)) takes four.
        size = hidden_states.shape[-1]
        length = torch.linalg.vector_norm(hidden_states, dim=-1, keepdim=True)
        length = torch.hypot(length, _constant((size * self.variance_epsilon) ** 0.5))
        return torch.addcdiv(_constant(0.0), hidden_states, length, value=size**0.5) * self.weight


@functools.cache
@torch.inference_mode(False)
def _constant(value: float) -> torch.Tensor:
    return torch.tensor(value, device="cpu")


class MossTTSLocalQwen3Attention(Qwen3Attention):
    """Qwen3's attention without positions."""

    joined_linears = ("q_proj", "k_proj", "v_proj")

    def __init__(self, config: Qwen3Config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.q_norm = MossTTSLocalRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = MossTTSLocalRMSNorm(self.head_dim, eps=config.rms_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, cache: FrameCache | StaticFrameCache | None
    ) -> torch.Tensor:
        shape = (*hidden_states.shape[:2], -1, self.head_dim)
        projected = joined_linears(hidden_states, self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (states.view(shape) for states in projected)
        query, key, value = self.q_norm(query).transpose(1, 2), self.k_norm(key).transpose(1, 2), value.transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        attended, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=dropout)
        return self.o_proj(attended.flatten(2))


class MossTTSLocalQwen3MLP(Qwen3MLP):
    joined_linears = ("gate_proj", "up_proj")

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate, up = joined_linears(hidden_states, self.gate_proj, self.up_proj)
        return self.down_proj(self.act_fn(gate) * up)


class MossTTSLocalQwen3Layer(GradientCheckpointingLayer):
    """A Qwen3 block, with its parameters' names, over the streams of a frame."""

    def __init__(self, config: Qwen3Config, layer_idx: int):
        super().__init__()
        self.self_attn = MossTTSLocalQwen3Attention(config, layer_idx)
        self.mlp = MossTTSLocalQwen3MLP(config)
        self.input_layernorm = MossTTSLocalRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = MossTTSLocalRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, mask, cache) -> torch.Tensor:
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), mask, cache)
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class MossTTSLocalQwen3Transformer(nn.Module):
    """Of v1.0: Qwen3 blocks without positions."""

    def __init__(self, config: Qwen3Config):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(MossTTSLocalQwen3Layer(config, index) for index in range(config.num_hidden_layers))
        self.norm = MossTTSLocalRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, cache: FrameCache | StaticFrameCache | None = None) -> torch.Tensor:
        """States `(frames, positions, hidden_size)`; with a cache, those that follow on it."""
        mask = frame_mask(self.config, hidden_states, cache)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, cache)
        if cache is not None:
            cache.advance(hidden_states.shape[1])
        return self.norm(hidden_states)
