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

"""PyTorch MossTTSLocal models."""

from typing import ClassVar

import torch
from torch import nn
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model
from transformers.utils import auto_docstring

from ..modules.small_batch_linear import joined_linears
from ..moss_tts.frame_model import IGNORED, MossTTSFrameModel, TiedFrameModel, apply_layers
from ..moss_tts.gpt2_transformer import MossTTSGPT2Transformer
from ..moss_tts.modeling_moss_tts import MossTTSPreTrainedModel
from .configuration_moss_tts_local import MossTTSLocalConfig, MossTTSLocalV1Config
from .generation_moss_tts_local import MossTTSLocalGenerationMixin, MossTTSLocalV1GenerationMixin
from .local_transformer import MossTTSLocalQwen3Transformer, MossTTSLocalRMSNorm


@auto_docstring
class MossTTSLocalPreTrainedModel(MossTTSPreTrainedModel):
    config: MossTTSLocalConfig
    _no_split_modules = ["Qwen3DecoderLayer", "MossTTSLocalQwen3Layer", "MossTTSGPT2Layer"]


class MossTTSLocalV1Adapter(nn.Module):
    """SwiGLU between the backbone's width and the local transformer's."""

    joined_linears = ("gate_proj", "up_proj")

    def __init__(self, d_in: int, width: int, d_out: int):
        super().__init__()
        self.gate_proj = nn.Linear(d_in, width, bias=False)
        self.up_proj = nn.Linear(d_in, width, bias=False)
        self.down_proj = nn.Linear(width, d_out, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate, up = joined_linears(hidden_states, self.gate_proj, self.up_proj)
        return self.down_proj(nn.functional.silu(gate) * up)


class MossTTSLocalV1Backbone(MossTTSLocalPreTrainedModel):
    """The embeddings of all streams and the Transformer over frames, under the names of the release."""

    config: MossTTSLocalV1Config

    def __init__(self, config: MossTTSLocalV1Config):
        super().__init__(config)
        text = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        codes = [
            nn.Embedding(config.audio_vocab_size + 1, config.hidden_size, config.audio_pad_code)
            for _ in range(config.n_vq)
        ]
        self.embedding_list = nn.ModuleList([text, *codes])
        self.language_model = Qwen3Model(config.language_config)
        # In every released checkpoint, and never used.
        self.language_model.embed_tokens.requires_grad_(False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding_list[0]

    def set_input_embeddings(self, value: nn.Embedding):
        self.embedding_list[0] = value


@auto_docstring(custom_intro="MOSS-TTS-Local v1.0: every stream has its own adapter, norm and head.")
class MossTTSLocalV1Model(MossTTSFrameModel, MossTTSLocalPreTrainedModel, MossTTSLocalV1GenerationMixin):
    config: MossTTSLocalV1Config
    first_audio_position = 1

    def __init__(self, config: MossTTSLocalV1Config):
        super().__init__(config)
        num_streams, num_codes = 1 + config.n_vq, config.audio_vocab_size + 1
        self.model = MossTTSLocalV1Backbone(config)
        width, local = config.additional_mlp_ffn_hidden_size, config.local_config
        self.local_transformer = MossTTSLocalQwen3Transformer(local)
        self.speech_embedding_to_local_mlp = MossTTSLocalV1Adapter(config.hidden_size, width, local.hidden_size)
        self.local_to_speech_embedding_mlps = nn.ModuleList(
            MossTTSLocalV1Adapter(local.hidden_size, width, config.hidden_size) for _ in range(num_streams)
        )
        self.layer_norm_before_lm_heads = nn.ModuleList(
            MossTTSLocalRMSNorm(config.hidden_size) for _ in range(num_streams)
        )
        sizes = [config.vocab_size] + [num_codes] * config.n_vq
        self.lm_heads = nn.ModuleList(nn.Linear(config.hidden_size, size, bias=False) for size in sizes)
        self.generation_config = self.default_generation_config(config)
        self.post_init()

    @property
    def backbone(self) -> Qwen3Model:
        return self.model.language_model

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        adapters = [self.speech_embedding_to_local_mlp, self.local_to_speech_embedding_mlps]
        return [self.backbone, self.local_transformer, *adapters, self.lm_heads]

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.embedding_list[0]

    def set_input_embeddings(self, value: nn.Embedding):
        self.model.embedding_list[0] = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_heads[0]

    def set_output_embeddings(self, value: nn.Linear):
        self.lm_heads[0] = value

    def embed_stream(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        return self.model.embedding_list[stream](tokens)

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        return self.speech_embedding_to_local_mlp(states)

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        return apply_layers(self._head(0), local_states)

    def audio_head(self, codebook: int) -> tuple[nn.Module, ...]:
        return self._head(1 + codebook)

    def _head(self, stream: int) -> tuple[nn.Module, ...]:
        return (
            self.local_to_speech_embedding_mlps[stream],
            self.layer_norm_before_lm_heads[stream],
            self.lm_heads[stream],
        )

    @property
    def modules_of_local_step(self) -> list[nn.Module]:
        return [self.speech_embedding_to_local_mlp, self.local_transformer]

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.config.local_config
        return local.num_hidden_layers, local.num_key_value_heads, 1 + self.config.n_vq, local.head_dim


@auto_docstring(
    custom_intro="MOSS-TTS-Local v1.5: heads tied to embeddings, and one decision, to go on or to stop, in place of text."
)
class MossTTSLocalModel(TiedFrameModel, MossTTSLocalPreTrainedModel, MossTTSLocalGenerationMixin):
    config: MossTTSLocalConfig
    first_audio_position = 0
    _tp_plan: ClassVar[dict[str, str]] = {
        "text_lm_head": "colwise_gather_output",
        "audio_lm_heads.*": "colwise_gather_output",
    }

    def __init__(self, config: MossTTSLocalConfig):
        super().__init__(config)
        self.transformer = Qwen3Model(config.language_config)
        config.gpt2_config._attn_implementation = config.language_config._attn_implementation
        self.add_streams(MossTTSGPT2Transformer(config.gpt2_config), "transformer.embed_tokens")
        if config.local_text_head_mode == "binary":
            self.local_text_lm_head = nn.Linear(config.hidden_size, 2, bias=False)
        self.generation_config = self.default_generation_config(config)
        self.post_init()

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        text_head = [] if self.config.local_text_head_mode == "binary" else [self.text_lm_head]
        return [self.backbone, self.local_transformer, self.audio_lm_heads, *text_head]

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.transformer.embed_tokens = value

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        if self.config.local_text_head_mode == "binary":
            return self.local_text_lm_head(local_states)
        return super().text_scores(local_states)

    def text_targets(self, labels: torch.LongTensor) -> torch.LongTensor:
        if self.config.local_text_head_mode != "binary":
            return labels
        targets = torch.full_like(labels, IGNORED)
        for index, token in enumerate(self.text_candidates(self.config)):
            targets = targets.masked_fill(labels == token, index)
        return targets

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.config.gpt2_config
        return local.n_layer, local.n_head, self.config.n_vq, local.n_embd // local.n_head


__all__ = ["MossTTSLocalModel", "MossTTSLocalPreTrainedModel", "MossTTSLocalV1Model"]
