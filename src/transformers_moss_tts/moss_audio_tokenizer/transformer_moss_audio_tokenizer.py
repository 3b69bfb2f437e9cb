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
"""The transformer stages of MossAudioTokenizer, and the patches between them."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..modules.rotary import apply_rotary_embedding, rotary_embedding
from .cache_moss_audio_tokenizer import ChunkPlaces, MossAudioTokenizerCache
from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig
from .windowed_attention import AttentionBlock, needs_keys_in_order, plan_attention_blocks, windowed_attention


class MossAudioTokenizerLayerScale(nn.Module):
    """Adds a residual branch, with a learned scale (arXiv 2103.17239)."""

    def __init__(self, channels: int, initial_scale: float):
        super().__init__()
        self.initial_scale = initial_scale
        self.scale = nn.Parameter(torch.full((channels,), float(initial_scale)))

    def forward(self, branch: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(hidden_states, self.scale, branch)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention: the `eager` implementation of the attention interface."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class MossAudioTokenizerAttention(nn.Module):
    """Causal self-attention over a sliding window."""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: MossAudioTokenizerConfig, d_model: int, num_heads: int, window: int, layer_idx: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.window = window
        self.layer_idx = layer_idx
        self._add_projections(d_model)

    def _add_projections(self, d_model: int) -> None:
        # Lists of one, for the parameter names of the release.
        self.in_projs = nn.ModuleList([nn.Linear(d_model, 3 * d_model, bias=False)])
        self.out_projs = nn.ModuleList([nn.Linear(d_model, d_model, bias=False)])

    def _projections(self) -> tuple[nn.Module, nn.Module]:
        return self.in_projs[0], self.out_projs[0]

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        blocks: list[AttentionBlock],
        layer_past: MossAudioTokenizerCache | None = None,
        places: ChunkPlaces | None = None,
    ) -> torch.Tensor:
        in_proj, out_proj = self._projections()
        projected = in_proj(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        projected = projected.permute(2, 0, 3, 1, 4)
        query, key = apply_rotary_embedding(projected[:2], *position_embeddings).unbind(0)
        value = projected[2]
        if layer_past is not None:
            key, value = layer_past.update(self.layer_idx, key, value, places)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended = windowed_attention(attend, self, query, key, value, blocks, self.window, self.head_dim**-0.5)
        return out_proj(attended.flatten(2))


class MossAudioTokenizerV2Attention(MossAudioTokenizerAttention):
    """Under the parameter names of the second release."""

    def _add_projections(self, d_model: int) -> None:
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def _projections(self) -> tuple[nn.Module, nn.Module]:
        return self.in_proj, self.out_proj


class MossAudioTokenizerTransformerLayer(GradientCheckpointingLayer):
    """Pre-norm block: attention, then a GELU MLP, each scaled and added."""

    attention_class = MossAudioTokenizerAttention

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, layer_idx: int):
        super().__init__()
        kwargs = stage["kwargs"]
        d_model = kwargs["d_model"]
        self.self_attn = self.attention_class(config, d_model, kwargs["num_heads"], stage["window"], layer_idx)
        self._add_mlp(d_model, kwargs["dim_feedforward"])
        self.norm1 = nn.LayerNorm(d_model, eps=1e-5)
        self.norm2 = nn.LayerNorm(d_model, eps=1e-5)
        self.layer_scale_1 = MossAudioTokenizerLayerScale(d_model, kwargs["layer_scale"])
        self.layer_scale_2 = MossAudioTokenizerLayerScale(d_model, kwargs["layer_scale"])

    def _add_mlp(self, d_model: int, dim_feedforward: int) -> None:
        self.linear1 = nn.Linear(d_model, dim_feedforward, bias=False)
        self.linear2 = nn.Linear(dim_feedforward, d_model, bias=False)

    def mlp(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.linear2(nn.functional.gelu(self.linear1(hidden_states)))

    def forward(self, hidden_states: torch.Tensor, **attention_kwargs) -> torch.Tensor:
        attended = self.self_attn(self.norm1(hidden_states), **attention_kwargs)
        hidden_states = self.layer_scale_1(attended, hidden_states)
        return self.layer_scale_2(self.mlp(self.norm2(hidden_states)), hidden_states)


class MossAudioTokenizerV2TransformerLayer(MossAudioTokenizerTransformerLayer):
    """Under the parameter names of the second release."""

    attention_class = MossAudioTokenizerV2Attention

    def _add_mlp(self, d_model: int, dim_feedforward: int) -> None:
        up, down = nn.Linear(d_model, dim_feedforward, bias=False), nn.Linear(dim_feedforward, d_model, bias=False)
        self.ffn = nn.Sequential(up, nn.GELU(), down)

    def mlp(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.ffn(hidden_states)


class MossAudioTokenizerTransformer(nn.Module):
    """The layers of one stage."""

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, first_layer_idx: int):
        super().__init__()
        self.config = config
        self.window = stage["window"]
        self.steps_per_frame = stage["steps_per_frame"]
        self.head_dim = stage["kwargs"]["d_model"] // stage["kwargs"]["num_heads"]
        self.max_period = stage["kwargs"]["max_period"]
        layer_class = MossAudioTokenizerV2TransformerLayer if config.is_v2 else MossAudioTokenizerTransformerLayer
        self.layers = nn.ModuleList(
            layer_class(config, stage, first_layer_idx + i) for i in range(stage["kwargs"]["num_layers"])
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        cache: MossAudioTokenizerCache | None = None,
        frame_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
        if cache is not None:
            positions = positions + (cache.num_frames * self.steps_per_frame).to(positions.device)[:, None]
        blocks, places = self._plan(hidden_states, cache, frame_lengths)
        position_embeddings = rotary_embedding(positions, self.head_dim, self.max_period)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                position_embeddings=position_embeddings,
                blocks=blocks,
                # By this name transformers leaves a cache out of gradient checkpointing, in every version.
                layer_past=cache,
                places=places,
            )
        return hidden_states

    def _plan(
        self,
        hidden_states: torch.Tensor,
        cache: MossAudioTokenizerCache | None,
        frame_lengths: torch.Tensor | None,
    ) -> tuple[list[AttentionBlock], ChunkPlaces | None]:
        """Which keys the queries of all layers look at, and where the chunk of a stream is remembered."""
        num_queries, implementation = hidden_states.shape[1], self.config._attn_implementation
        if cache is None:
            dtype, device = hidden_states.dtype, hidden_states.device
            return plan_attention_blocks(num_queries, self.window, implementation, dtype, device), None
        # Gradients do not go through buffers.
        in_order = needs_keys_in_order(implementation) or torch.is_grad_enabled()
        first = self.layers[0].self_attn.layer_idx
        places = cache.places(first, self.window, self.steps_per_frame, num_queries, frame_lengths, in_order)
        return places.attention_blocks(implementation, cache.dtype), places


class MossAudioTokenizerProjectedTransformer(nn.Module):
    """A stage between its two projections, which the first release leaves out where the widths agree."""

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, first_layer_idx: int):
        super().__init__()
        kwargs = stage["kwargs"]
        d_model, d_in, d_out = kwargs["d_model"], kwargs["input_dimension"], kwargs["output_dimension"]
        leaves_out = not config.is_v2
        self.input_proj = self._projection(d_in, d_model, leaves_out)
        self.transformer = MossAudioTokenizerTransformer(config, stage, first_layer_idx)
        self.output_proj = self._projection(d_model, d_out, leaves_out)

    @staticmethod
    def _projection(d_in: int, d_out: int, leaves_out: bool) -> nn.Module:
        return nn.Identity() if leaves_out and d_in == d_out else nn.Linear(d_in, d_out, bias=False)

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return self.output_proj(self.transformer(self.input_proj(hidden_states), *args))


class MossAudioTokenizerPatch(nn.Module):
    """Joins `patch_size` steps, `(batch, steps * patch, features)`, into one, `(batch, steps, features * patch)`."""

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return hidden_states.unflatten(1, (-1, self.patch_size)).transpose(2, 3).flatten(2)


class MossAudioTokenizerUnpatch(nn.Module):
    """The inverse of [`MossAudioTokenizerPatch`]."""

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return hidden_states.unflatten(2, (-1, self.patch_size)).transpose(2, 3).flatten(1, 2)


__all__ = [
    "MossAudioTokenizerLayerScale",
    "MossAudioTokenizerPatch",
    "MossAudioTokenizerProjectedTransformer",
    "MossAudioTokenizerUnpatch",
]
