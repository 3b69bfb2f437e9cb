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

"""The local transformers: the codebooks of one frame, one position each."""

import torch
from torch import nn
from transformers import GPT2Config, Qwen3Config
from transformers.activations import ACT2FN
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm, eager_attention_forward

from ..modules.rotary import apply_rotary_embedding, rotary_embedding
from ..modules.small_batch_linear import joined_linears


class LocalCache:
    """
    Keys and values of the positions of one frame, allocated once: a frame has few positions, and every frame begins anew.

    Args:
        num_layers (`int`): layers of the local transformer.
        max_length (`int`): positions of a frame.
    """

    def __init__(self, num_layers: int, max_length: int):
        self.max_length = max_length
        self.length = 0
        self.layers: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self._views: dict[tuple[int, int, int], tuple[torch.Tensor, ...]] = {}

    def reset(self) -> None:
        """Begins the next frame."""
        self.length = 0

    def positions(self, count: int, device: torch.device) -> torch.LongTensor:
        """The next `count` positions, `(1, count)`."""
        return torch.arange(self.length, self.length + count, device=device)[None]

    def mask(self, dtype: torch.dtype) -> torch.Tensor | None:
        """What a single position may not see of what [`update`] returns."""
        return None

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds keys and values `(batch_size, heads, positions, head_dim)` and returns those of the frame so far."""
        if self.layers[layer_idx] is None:
            shape = (*key.shape[:2], self.max_length, key.shape[3])
            self.layers[layer_idx] = (key.new_zeros(shape), value.new_zeros(shape))
        end = self.length + key.shape[2]
        new_keys, new_values, keys, values = self._views_of(layer_idx, self.length, end)
        new_keys.copy_(key)
        new_values.copy_(value)
        return keys, values

    def _views_of(self, layer_idx: int, start: int, end: int) -> tuple[torch.Tensor, ...]:
        # Kept, as every frame has the same: making four views takes as long as filling them.
        if (layer_idx, start, end) not in self._views:
            keys, values = (tensor[:, :, :end] for tensor in self.layers[layer_idx])
            self._views[layer_idx, start, end] = (keys[:, :, start:], values[:, :, start:], keys, values)
        return self._views[layer_idx, start, end]

    def advance(self, num_positions: int) -> None:
        """Counts positions, once all layers have added theirs."""
        self.length += num_positions


class StaticLocalCache:
    """
    As [`LocalCache`], in tensors of one shape for one position at a time, with the position on the device: all positions of a
    frame then run the same compiled step.

    Args:
        num_layers (`int`): layers of the local transformer.
        shape (`tuple[int, int, int, int]`): batch size, key-value heads, positions of a frame, width of a head.
    """

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device):
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(num_layers)]
        self.position = torch.zeros(1, dtype=torch.long, device=device)

    def reset(self) -> None:
        """Begins the next frame."""
        self.position.zero_()

    def positions(self, count: int, device: torch.device) -> torch.LongTensor:
        """The next position, `(1, 1)`."""
        return self.position[None]

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask `(1, 1, 1, positions)` of the positions that are not there yet."""
        places = torch.arange(self.keys[0].shape[2], device=self.position.device)
        mask = torch.zeros(places.shape, dtype=dtype, device=places.device)
        return mask.masked_fill(places > self.position, torch.finfo(dtype).min)[None, None, None]

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds keys and values `(batch_size, heads, 1, head_dim)` and returns those of all positions."""
        self.keys[layer_idx].index_copy_(2, self.position, key)
        self.values[layer_idx].index_copy_(2, self.position, value)
        return self.keys[layer_idx], self.values[layer_idx]

    def advance(self, num_positions: int) -> None:
        """Counts positions, once all layers have added theirs."""
        self.position += num_positions


class MossTTSLocalRMSNorm(Qwen3RMSNorm):
    """[`Qwen3RMSNorm`] as one operation: a frame has hundreds of them."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)


class MossTTSLocalQwen3Attention(Qwen3Attention):
    """Qwen3's attention without positions."""

    def __init__(self, config: Qwen3Config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.q_norm = MossTTSLocalRMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = MossTTSLocalRMSNorm(self.head_dim, eps=config.rms_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None, cache: LocalCache | StaticLocalCache | None
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

    def forward(self, hidden_states: torch.Tensor, cache: LocalCache | StaticLocalCache | None = None) -> torch.Tensor:
        """States `(frames, positions, hidden_size)`; with a cache, those that follow on it."""
        mask = _mask_of(self.config, hidden_states, cache)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, cache)
        if cache is not None:
            cache.advance(hidden_states.shape[1])
        return self.norm(hidden_states)


class MossTTSLocalGPT2Attention(nn.Module):
    """Causal self-attention, with rotary positions or none."""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: GPT2Config, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.n_embd // config.n_head
        self.scaling = self.head_dim**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scaling /= layer_idx + 1
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
        cache: LocalCache | StaticLocalCache | None,
    ) -> torch.Tensor:
        projected = self.c_attn(hidden_states).unflatten(-1, (3, self.config.n_head, self.head_dim))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        if position_embeddings is not None:
            query = apply_rotary_embedding(query, *position_embeddings)
            key = apply_rotary_embedding(key, *position_embeddings)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attn_pdrop if self.training else 0.0
        attended, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=dropout)
        return self.c_proj(attended.flatten(2))


class MossTTSLocalGPT2MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        width = config.n_inner or 4 * config.n_embd
        self.fc_in = nn.Linear(config.n_embd, width)
        self.fc_out = nn.Linear(width, config.n_embd)
        self.act = ACT2FN[config.activation_function]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.act(self.fc_in(hidden_states)))


class MossTTSLocalGPT2Layer(GradientCheckpointingLayer):
    def __init__(self, config: GPT2Config, layer_idx: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = MossTTSLocalGPT2Attention(config, layer_idx)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MossTTSLocalGPT2MLP(config)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: torch.Tensor, mask, position_embeddings, cache) -> torch.Tensor:
        attended = self.attn(self.ln_1(hidden_states), mask, position_embeddings, cache)
        hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.mlp(self.ln_2(hidden_states)))


class MossTTSLocalGPT2Transformer(nn.Module):
    """Of v1.5: GPT-2 blocks with rotary or learned positions."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.h = nn.ModuleList(MossTTSLocalGPT2Layer(config, index) for index in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        if config.position_embedding_type == "absolute":
            self.wpe = nn.Embedding(config.n_positions, config.n_embd)

    def forward(self, hidden_states: torch.Tensor, cache: LocalCache | StaticLocalCache | None = None) -> torch.Tensor:
        """States `(frames, positions, hidden_size)`; with a cache, those that follow on it."""
        device, count = hidden_states.device, hidden_states.shape[1]
        positions = torch.arange(count, device=device)[None] if cache is None else cache.positions(count, device)
        position_embeddings = None
        if self.config.position_embedding_type == "absolute":
            hidden_states = hidden_states + self.wpe(positions)
        else:
            head_dim = self.config.n_embd // self.config.n_head
            position_embeddings = rotary_embedding(positions, head_dim, self.config.rope_base)
        mask = _mask_of(self.config, hidden_states, cache)
        for layer in self.h:
            hidden_states = layer(hidden_states, mask, position_embeddings, cache)
        if cache is not None:
            cache.advance(hidden_states.shape[1])
        return self.ln_f(hidden_states)


def _mask_of(config, hidden_states: torch.Tensor, cache: LocalCache | StaticLocalCache | None) -> torch.Tensor | None:
    if hidden_states.shape[1] > 1:
        return create_causal_mask(config, hidden_states, None, None)
    # A position that follows on a cache may see all that is in it.
    return None if cache is None else cache.mask(hidden_states.dtype)
