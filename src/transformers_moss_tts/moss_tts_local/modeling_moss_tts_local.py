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

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import CompileConfig
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model
from transformers.utils import auto_docstring, can_return_tuple

from ..compatibility import takes_past_key_values
from ..modules.small_batch_linear import TiedLinear, joined_linears
from ..moss_tts.modeling_moss_tts import MossTTSPreTrainedModel
from ..moss_tts.outputs import MossTTSOutputWithPast
from .configuration_moss_tts_local import MossTTSLocalConfig, MossTTSLocalV1Config
from .generation_moss_tts_local import MossTTSLocalGenerationMixin, MossTTSLocalV1GenerationMixin
from .local_transformer import (
    LocalCache,
    MossTTSLocalGPT2Transformer,
    MossTTSLocalQwen3Transformer,
    MossTTSLocalRMSNorm,
    StaticLocalCache,
)


_IGNORED = -100


@auto_docstring
class MossTTSLocalPreTrainedModel(MossTTSPreTrainedModel):
    config: MossTTSLocalConfig
    _no_split_modules = ["Qwen3DecoderLayer", "MossTTSLocalQwen3Layer", "MossTTSLocalGPT2Layer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, TiedLinear):
            init.normal_(module.weight, std=self.config.initializer_range)


class MossTTSLocalFrameModel(MossTTSLocalPreTrainedModel):
    """
    What the versions share: a backbone over frames, and a local transformer over the streams of one frame. Subclasses say
    what differs: the parts and their names, and which output speaks which stream.
    """

    # Local position whose output speaks the first codebook. The text decision is always the first position's.
    first_audio_position: int
    _compiled_local_step: tuple[CompileConfig, Callable] | None = None

    def embed_stream(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        """States of the tokens of a stream (0 is text); zero where there are none."""
        raise NotImplementedError

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        """Inputs of the local transformer, of states `(..., hidden_size)`."""
        raise NotImplementedError

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        """Scores of the text decision, of outputs of the first local position."""
        raise NotImplementedError

    def audio_scores(self, codebook: int, local_states: torch.Tensor) -> torch.Tensor:
        """Scores `(..., num_codes)` of a codebook, of outputs of its local position."""
        raise NotImplementedError

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        """Layers, key-value heads, positions and width of a head of a cache for one frame."""
        raise NotImplementedError

    def new_local_cache(self) -> LocalCache:
        """A cache for the positions of one frame."""
        layers, _, positions, _ = self.local_cache_shape
        return LocalCache(layers, positions)

    def new_static_local_cache(self, batch_size: int) -> StaticLocalCache:
        """A cache of `batch_size` sequences for compiled steps."""
        layers, heads, positions, head_dim = self.local_cache_shape
        return StaticLocalCache(layers, (batch_size, heads, positions, head_dim), self.dtype, self.device)

    def local_step(self, states: torch.Tensor, cache: LocalCache | StaticLocalCache) -> torch.Tensor:
        """Outputs `(batch_size, width)` of the next position of a frame, of what it hears, `(batch_size, hidden_size)`."""
        return self.local_transformer(self.to_local(states[:, None]), cache)[:, 0]

    def compiled_local_step(self, compile_config: CompileConfig) -> Callable:
        """[`~MossTTSLocalFrameModel.local_step`], compiled once for a config."""
        if self._compiled_local_step is None or self._compiled_local_step[0] != compile_config:
            self._compiled_local_step = (compile_config, torch.compile(self.local_step, **compile_config.to_dict()))
        return self._compiled_local_step[1]

    def set_attn_implementation(self, *args, **kwargs):
        super().set_attn_implementation(*args, **kwargs)
        self.local_transformer.config._attn_implementation = self.config.language_config._attn_implementation

    @takes_past_key_values
    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        channelwise_loss_weight: list[float] | torch.FloatTensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        n_vq_for_inference: int | None = None,
        **kwargs,
    ) -> MossTTSOutputWithPast:
        r"""
        input_ids (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            A text token and a code of every codebook a step (`audio_pad_code` where there is no audio).
        cache (`Cache`, *optional*):
            Keys and values of the backbone for the positions before `input_ids`. Also taken as `past_key_values`, its name
            before transformers 5.24.0.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`, *optional*):
            What every step has to predict, already shifted by one. -100 and, in the codebooks, the pad code are ignored. The
            local transformer is fed with them.
        channelwise_loss_weight (`list[float]` of length `1 + n_vq`, *optional*):
            Weights of the streams, text first: the loss is the weighted mean of the streams' means. All the same by default.
        num_items_in_batch (`int`, *optional*):
            Number of labels over all gradient accumulation steps, as `Trainer` counts them: the loss is then the labels' sum,
            weighted by their streams, divided by it.
        logits_to_keep (`int`, *optional*):
            Last positions to return states and scores of; 0 for all.
        n_vq_for_inference (`int`, *optional*):
            Codebooks to embed; all by default.
        """
        outputs = self.run_backbone(
            input_ids,
            inputs_embeds,
            cache,
            logits_to_keep,
            {"num_codebooks": n_vq_for_inference},
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **kwargs,
        )
        if labels is not None:
            outputs.logits, outputs.audio_logits = self.score_labels(outputs.last_hidden_state, labels)
        return self.add_loss(outputs, labels, channelwise_loss_weight, num_items_in_batch)

    def embed(self, input_ids: torch.LongTensor, num_codebooks: int | None = None) -> torch.Tensor:
        """
        Input states `(batch_size, length, hidden_size)` of `input_ids` `(batch_size, length, 1 + n_vq)`, of their first
        `num_codebooks` alone if it is given.
        """
        num_codebooks = self.config.n_vq if num_codebooks is None else num_codebooks
        if not 1 <= num_codebooks <= self.config.n_vq:
            raise ValueError(f"`n_vq_for_inference` must be between 1 and {self.config.n_vq}, got {num_codebooks}.")
        states = self.embed_stream(0, input_ids[..., 0])
        for stream in range(1, 1 + num_codebooks):
            states = states + self.embed_stream(stream, input_ids[..., stream])
        return states

    def score_labels(self, hidden_states: torch.Tensor, labels: torch.LongTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Text and audio scores of backbone states `(batch_size, length, hidden_size)`, with the local transformer fed by the
        labels.
        """
        first = self.first_audio_position
        fed = [self._embed_labels(stream, labels[..., stream]) for stream in range(1 - first, self.config.n_vq)]
        inputs = self.to_local(torch.stack([hidden_states, *fed], dim=2))
        outputs = self.local_transformer(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        audio = [self.audio_scores(k, outputs[:, :, first + k]) for k in range(self.config.n_vq)]
        return self.text_scores(outputs[:, :, 0]), torch.stack(audio, dim=2)

    def _embed_labels(self, stream: int, labels: torch.LongTensor) -> torch.Tensor:
        is_ignored = labels == _IGNORED
        return self.embed_stream(stream, labels.masked_fill(is_ignored, 0)).masked_fill(is_ignored[..., None], 0)


class MossTTSLocalV1Adapter(nn.Module):
    """SwiGLU between the backbone's width and the local transformer's."""

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
class MossTTSLocalV1Model(MossTTSLocalFrameModel, MossTTSLocalV1GenerationMixin):
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
        return self._scores(0, local_states)

    def audio_scores(self, codebook: int, local_states: torch.Tensor) -> torch.Tensor:
        return self._scores(1 + codebook, local_states)

    def _scores(self, stream: int, local_states: torch.Tensor) -> torch.Tensor:
        states = self.local_to_speech_embedding_mlps[stream](local_states)
        return self.lm_heads[stream](self.layer_norm_before_lm_heads[stream](states))

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.config.local_config
        return local.num_hidden_layers, local.num_key_value_heads, 1 + self.config.n_vq, local.head_dim


@auto_docstring(
    custom_intro="MOSS-TTS-Local v1.5: heads tied to embeddings, and one decision, to go on or to stop, in place of text."
)
class MossTTSLocalModel(MossTTSLocalFrameModel, MossTTSLocalGenerationMixin):
    first_audio_position = 0
    _tp_plan: ClassVar[dict[str, str]] = {
        "text_lm_head": "colwise_gather_output",
        "audio_lm_heads.*": "colwise_gather_output",
    }

    def __init__(self, config: MossTTSLocalConfig):
        super().__init__(config)
        hidden_size, n_vq = config.hidden_size, config.n_vq
        self.transformer = Qwen3Model(config.language_config)
        config.gpt2_config._attn_implementation = config.language_config._attn_implementation
        self.local_transformer = MossTTSLocalGPT2Transformer(config.gpt2_config)
        self.audio_embeddings = nn.ModuleList(nn.Embedding(config.audio_vocab_size, hidden_size) for _ in range(n_vq))
        self.audio_lm_heads = nn.ModuleList(TiedLinear(hidden_size, config.audio_vocab_size) for _ in range(n_vq))
        self.text_lm_head = nn.Linear(hidden_size, config.vocab_size, bias=False)
        self._tied_weights_keys = {"text_lm_head.weight": "transformer.embed_tokens.weight"} | {
            f"audio_lm_heads.{k}.weight": f"audio_embeddings.{k}.weight" for k in range(n_vq)
        }
        if config.local_text_head_mode == "binary":
            self.local_text_lm_head = nn.Linear(hidden_size, 2, bias=False)
        self.generation_config = self.default_generation_config(config)
        self.post_init()

    @property
    def backbone(self) -> Qwen3Model:
        return self.transformer

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        text_head = [] if self.config.local_text_head_mode == "binary" else [self.text_lm_head]
        return [self.backbone, self.local_transformer, self.audio_lm_heads, *text_head]

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.transformer.embed_tokens = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.text_lm_head

    def set_output_embeddings(self, value: nn.Linear):
        self.text_lm_head = value

    def embed_stream(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        if stream == 0:
            return self.transformer.embed_tokens(tokens)
        # There is no entry for the pad code: it adds nothing.
        is_pad = tokens == self.config.audio_pad_code
        states = self.audio_embeddings[stream - 1](tokens.masked_fill(is_pad, 0))
        return states.masked_fill(is_pad[..., None], 0)

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        if self.config.local_text_head_mode == "binary":
            return self.local_text_lm_head(local_states)
        return self.text_lm_head(local_states)

    def audio_scores(self, codebook: int, local_states: torch.Tensor) -> torch.Tensor:
        return self.audio_lm_heads[codebook](local_states)

    def text_targets(self, labels: torch.LongTensor) -> torch.LongTensor:
        if self.config.local_text_head_mode != "binary":
            return labels
        targets = torch.full_like(labels, _IGNORED)
        for index, token in enumerate(self.text_candidates(self.config)):
            targets = targets.masked_fill(labels == token, index)
        return targets

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.config.gpt2_config
        return local.n_layer, local.n_head, self.config.n_vq, local.n_embd // local.n_head


__all__ = ["MossTTSLocalModel", "MossTTSLocalPreTrainedModel", "MossTTSLocalV1Model"]
