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
"""GPT-2 blocks under the names of the releases, in which every layer is an `nn.Linear`."""

import torch
from torch import nn
from transformers import GPT2Config
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3.modeling_qwen3 import eager_attention_forward

from ..modules.rotary import apply_rotary_embedding
from .frame_cache import FrameCache, StaticFrameCache, frame_mask


class MossTTSGPT2Attention(nn.Module):
    """Causal self-attention, with rotary positions or none."""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: GPT2Config, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.num_heads, self.head_dim = config.n_head, config.n_embd // config.n_head
        self.scaling = self.head_dim**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scaling /= layer_idx + 1
        self.dropout = config.attn_pdrop
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
        cache: FrameCache | StaticFrameCache | Cache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        projected = self.c_attn(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        projected = projected.permute(2, 0, 3, 1, 4)
        turned, value = projected[:2], projected[2]
        if position_embeddings is not None:
            turned = apply_rotary_embedding(turned, *position_embeddings)
        query, key = turned.unbind(0)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.dropout if self.training else 0.0
        attended, weights = attend(self, query, key, value, mask, scaling=self.scaling, dropout=dropout, **kwargs)
        return self.c_proj(attended.flatten(2)), weights


class MossTTSGPT2MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        width = config.n_inner or 4 * config.n_embd
        self.fc_in = nn.Linear(config.n_embd, width)
        self.fc_out = nn.Linear(width, config.n_embd)
        # The same function as one operation: a frame has dozens of them.
        name = config.activation_function
        self.act = ACT2FN["gelu_pytorch_tanh" if name == "gelu_new" else name]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.act(self.fc_in(hidden_states)))


class MossTTSGPT2Layer(GradientCheckpointingLayer):
    def __init__(self, config: GPT2Config, layer_idx: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = MossTTSGPT2Attention(config, layer_idx)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MossTTSGPT2MLP(config)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: torch.Tensor, mask, position_embeddings, cache=None, **kwargs) -> torch.Tensor:
        attended, _ = self.attn(self.ln_1(hidden_states), mask, position_embeddings, cache, **kwargs)
        hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.mlp(self.ln_2(hidden_states)))


class MossTTSGPT2Transformer(nn.Module):
    """GPT-2 blocks with rotary or learned positions, over the positions of a frame."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.h = nn.ModuleList(MossTTSGPT2Layer(config, index) for index in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        if config.position_embedding_type == "absolute":
            self.wpe = nn.Embedding(config.n_positions, config.n_embd)

    def forward(self, hidden_states: torch.Tensor, cache: FrameCache | StaticFrameCache | None = None) -> torch.Tensor:
        """States `(frames, positions, hidden_size)`; with a cache, those that follow on it."""
        device, count = hidden_states.device, hidden_states.shape[1]
        positions = FrameCache(0, count) if cache is None else cache
        position_embeddings = None
        if self.config.position_embedding_type == "absolute":
            hidden_states = hidden_states + self.wpe(positions.positions(count, device))
        else:
            head_dim = self.config.n_embd // self.config.n_head
            position_embeddings = positions.rotary(count, device, head_dim, self.config.rope_base)
        mask = frame_mask(self.config, hidden_states, cache)
        for layer in self.h:
            hidden_states = layer(hidden_states, mask, position_embeddings, cache)
        if cache is not None:
            cache.advance(hidden_states.shape[1])
        return self.ln_f(hidden_states)
