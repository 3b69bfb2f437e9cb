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
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import CompileConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple

from ..compatibility import CACHE_NAME, takes_past_key_values
from ..loading.remote_code import RemoteCodeMixin
from ..loading.strict_loading import StrictLoadingMixin
from ..modules.few_row_linear import FewRowModule, JoinedLinears, few_row_linear, use_few_row_linears
from ..moss_tts.losses import channel_sums, weighted_loss
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
@dataclass
class MossTTSLocalOutputWithPast(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`, *optional*, returned when `labels` is provided):
        Weighted mean of the channels' losses.
    logits (`torch.FloatTensor` of shape `(batch_size, length, vocab_size)`, *optional*, returned when `labels` is provided):
        Text scores; of two candidates, the assistant's slot and audio_end, where a binary head decides.
    audio_logits (`torch.FloatTensor` of shape `(batch_size, length, n_vq, num_codes)`, *optional*, returned when `labels` is
        provided): scores of the codebooks, each given the labels of those before.
    channel_losses (`torch.FloatTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Mean cross entropy of each channel.
    channel_counts (`torch.LongTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Number of labels that each of them is the mean of.
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, length, hidden_size)`):
        The backbone's states, from which the local transformer speaks a frame each.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    audio_logits: torch.FloatTensor | None = None
    channel_losses: torch.FloatTensor | None = None
    channel_counts: torch.LongTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    if CACHE_NAME == "cache":
        cache: Cache | None = None
    else:
        past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring
class MossTTSLocalPreTrainedModel(RemoteCodeMixin, StrictLoadingMixin, PreTrainedModel):
    config: MossTTSLocalConfig
    base_model_prefix = ""
    input_modalities = ("text", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen3DecoderLayer", "MossTTSLocalQwen3Layer", "MossTTSLocalGPT2Layer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, MossTTSLocalTiedHead):
            init.normal_(module.weight, std=self.config.initializer_range)


class MossTTSLocalFrameModel(MossTTSLocalPreTrainedModel):
    """
    What the versions share: a backbone over frames, and a local transformer over the channels of one frame. Subclasses say
    what differs: the parts and their names, and which output speaks which channel.
    """

    # Local position whose output speaks the first codebook. The text decision is always the first position's.
    first_audio_position: int
    _compiled_local_step: tuple[CompileConfig, Callable] | None = None

    @property
    def backbone(self) -> Qwen3Model:
        """The Transformer over frames."""
        raise NotImplementedError

    def embed_channel(self, channel: int, tokens: torch.LongTensor) -> torch.Tensor:
        """States of the tokens of a channel (0 is text); zero where there are none."""
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

    def text_targets(self, labels: torch.LongTensor) -> torch.LongTensor:
        """Text labels as indices of the text scores."""
        return labels

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        """Layers, key-value heads, positions and width of a head of a cache for one frame."""
        raise NotImplementedError

    def new_local_cache(self) -> LocalCache:
        """A cache for the positions of one frame."""
        layers, _, positions, _ = self.local_cache_shape
        return LocalCache(layers, positions)

    def new_static_local_cache(self, batch_size: int) -> StaticLocalCache:
        """A cache of `batch_size` rows for compiled steps."""
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
    ) -> MossTTSLocalOutputWithPast:
        r"""
        input_ids (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            Text tokens in channel 0, codes in the others (`audio_pad_code` where there is no audio).
        cache (`Cache`, *optional*):
            Keys and values of the backbone for the positions before `input_ids`. Also taken as `past_key_values`, its name
            before transformers 5.24.0.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`, *optional*):
            What every position has to predict, already shifted by one. -100 and, in the audio channels, the pad code are
            ignored. The local transformer is fed with them.
        channelwise_loss_weight (`list[float]` of length `1 + n_vq`, *optional*):
            Weights of the channels; all the same by default.
        num_items_in_batch (`int`, *optional*):
            Number of labels over all gradient accumulation steps, as `Trainer` counts them: the loss is then the labels' sum,
            weighted by their channels, divided by it.
        logits_to_keep (`int`, *optional*):
            Last positions to return states and scores of; 0 for all.
        n_vq_for_inference (`int`, *optional*):
            Codebooks to embed; all by default.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either `input_ids` or `inputs_embeds`, not both and not none.")
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, n_vq_for_inference)
        outputs = self.backbone(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{CACHE_NAME: cache},
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden_states = outputs.last_hidden_state[:, kept]
        loss = logits = audio_logits = channel_losses = channel_counts = None
        if labels is not None:
            logits, audio_logits = self.score_labels(hidden_states, labels)
            loss, channel_losses, channel_counts = self.loss_of(
                logits, audio_logits, labels, channelwise_loss_weight, num_items_in_batch
            )
        return MossTTSLocalOutputWithPast(
            loss=loss,
            logits=logits,
            audio_logits=audio_logits,
            channel_losses=channel_losses,
            channel_counts=channel_counts,
            last_hidden_state=hidden_states,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
        )

    def embed(self, input_ids: torch.LongTensor, num_codebooks: int | None = None) -> torch.Tensor:
        """Input states `(batch_size, length, hidden_size)` of `input_ids` `(batch_size, length, 1 + n_vq)`."""
        n_vq = self.config.n_vq
        if input_ids.ndim != 3 or input_ids.shape[-1] != 1 + n_vq:
            raise ValueError(
                f"`input_ids` must have shape (batch_size, length, {1 + n_vq}): a text token and {n_vq} codes a position. "
                f"Got {tuple(input_ids.shape)}."
            )
        num_codebooks = n_vq if num_codebooks is None else num_codebooks
        states = self.embed_channel(0, input_ids[..., 0])
        for channel in range(1, 1 + num_codebooks):
            states = states + self.embed_channel(channel, input_ids[..., channel])
        return states

    def score_labels(self, hidden_states: torch.Tensor, labels: torch.LongTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Text and audio scores of backbone states `(batch_size, length, hidden_size)`, with the local transformer fed by the
        labels.
        """
        first = self.first_audio_position
        fed = [self._embed_labels(channel, labels[..., channel]) for channel in range(1 - first, self.config.n_vq)]
        inputs = self.to_local(torch.stack([hidden_states, *fed], dim=2))
        outputs = self.local_transformer(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        audio = [self.audio_scores(k, outputs[:, :, first + k]) for k in range(self.config.n_vq)]
        return self.text_scores(outputs[:, :, 0]), torch.stack(audio, dim=2)

    def _embed_labels(self, channel: int, labels: torch.LongTensor) -> torch.Tensor:
        is_ignored = labels == _IGNORED
        return self.embed_channel(channel, labels.masked_fill(is_ignored, 0)).masked_fill(is_ignored[..., None], 0)

    def loss_of(
        self,
        logits: torch.Tensor,
        audio_logits: torch.Tensor,
        labels: torch.LongTensor,
        channelwise_loss_weight: list[float] | torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and the channels' means and numbers of labels, `(1 + n_vq,)`; see [`~MossTTSLocalModel.forward`]."""
        targets = torch.cat([self.text_targets(labels[..., :1]), labels[..., 1:]], dim=-1)
        sums, counts = channel_sums(logits, audio_logits, targets, self.config.audio_pad_code)
        weights = torch.ones_like(sums) if channelwise_loss_weight is None else channelwise_loss_weight
        loss = weighted_loss(sums, counts, weights, num_items_in_batch)
        return loss, sums / counts.clamp(min=1), counts


class MossTTSLocalV1Adapter(JoinedLinears, nn.Module):
    """SwiGLU between the backbone's width and the local transformer's."""

    joined_linears = ("gate_proj", "up_proj")

    def __init__(self, d_in: int, width: int, d_out: int):
        super().__init__()
        self.gate_proj = nn.Linear(d_in, width, bias=False)
        self.up_proj = nn.Linear(d_in, width, bias=False)
        self.down_proj = nn.Linear(width, d_out, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate, up = self.multiply_joined(hidden_states)
        return self.down_proj(nn.functional.silu(gate) * up)


class MossTTSLocalV1Backbone(MossTTSLocalPreTrainedModel):
    """The embeddings of all channels and the Transformer over frames, under the names of the release."""

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


@auto_docstring(custom_intro="MOSS-TTS-Local v1.0: every channel has its own adapter, norm and head.")
class MossTTSLocalV1Model(MossTTSLocalFrameModel, MossTTSLocalV1GenerationMixin):
    config: MossTTSLocalV1Config
    first_audio_position = 1

    def __init__(self, config: MossTTSLocalV1Config):
        super().__init__(config)
        channels, num_codes = 1 + config.n_vq, config.audio_vocab_size + 1
        self.model = MossTTSLocalV1Backbone(config)
        width, local = config.additional_mlp_ffn_hidden_size, config.local_config
        self.local_transformer = MossTTSLocalQwen3Transformer(local)
        self.speech_embedding_to_local_mlp = MossTTSLocalV1Adapter(config.hidden_size, width, local.hidden_size)
        self.local_to_speech_embedding_mlps = nn.ModuleList(
            MossTTSLocalV1Adapter(local.hidden_size, width, config.hidden_size) for _ in range(channels)
        )
        self.layer_norm_before_lm_heads = nn.ModuleList(
            MossTTSLocalRMSNorm(config.hidden_size) for _ in range(channels)
        )
        sizes = [config.vocab_size] + [num_codes] * config.n_vq
        self.lm_heads = nn.ModuleList(nn.Linear(config.hidden_size, size, bias=False) for size in sizes)
        use_few_row_linears(self)
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

    def embed_channel(self, channel: int, tokens: torch.LongTensor) -> torch.Tensor:
        return self.model.embedding_list[channel](tokens)

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        return self.speech_embedding_to_local_mlp(states)

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        return self._scores(0, local_states)

    def audio_scores(self, codebook: int, local_states: torch.Tensor) -> torch.Tensor:
        return self._scores(1 + codebook, local_states)

    def _scores(self, channel: int, local_states: torch.Tensor) -> torch.Tensor:
        states = self.local_to_speech_embedding_mlps[channel](local_states)
        return self.lm_heads[channel](self.layer_norm_before_lm_heads[channel](states))

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.config.local_config
        return local.num_hidden_layers, local.num_key_value_heads, 1 + self.config.n_vq, local.head_dim


class MossTTSLocalTiedHead(FewRowModule, nn.Module):
    """
    Scores by the rows of an embedding, whose weight it shares. Not an `nn.Linear`: adapters would be merged into the embedding
    too, and quantizers would untie the two.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return few_row_linear(hidden_states, self.weight)


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
        self.audio_lm_heads = nn.ModuleList(
            MossTTSLocalTiedHead(hidden_size, config.audio_vocab_size) for _ in range(n_vq)
        )
        self.text_lm_head = nn.Linear(hidden_size, config.vocab_size, bias=False)
        self._tied_weights_keys = {"text_lm_head.weight": "transformer.embed_tokens.weight"} | {
            f"audio_lm_heads.{k}.weight": f"audio_embeddings.{k}.weight" for k in range(n_vq)
        }
        if config.local_text_head_mode == "binary":
            self.local_text_lm_head = nn.Linear(hidden_size, 2, bias=False)
        use_few_row_linears(self)
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

    def embed_channel(self, channel: int, tokens: torch.LongTensor) -> torch.Tensor:
        if channel == 0:
            return self.transformer.embed_tokens(tokens)
        # There is no row for the pad code: it adds nothing.
        is_pad = tokens == self.config.audio_pad_code
        states = self.audio_embeddings[channel - 1](tokens.masked_fill(is_pad, 0))
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
