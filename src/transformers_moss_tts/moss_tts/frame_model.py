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
"""Models that speak a frame at a time: a backbone over frames, and a local transformer over the streams of one frame."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import CompileConfig
from transformers.utils import auto_docstring, can_return_tuple

from ..compatibility import takes_past_key_values
from ..modules.packed_linear import keep_rows
from ..modules.small_batch_linear import TiedLinear
from ..utils.compiling import CompiledFunctions
from .configuration_moss_tts import MossTTSConfig
from .frame_cache import FrameCache, StaticFrameCache
from .modeling_moss_tts import MossTTSPreTrainedModel
from .outputs import MossTTSOutputWithPast


IGNORED = -100


class MossTTSFrameModel(MossTTSPreTrainedModel):
    """
    What the versions share: a backbone over frames, and a local transformer over the streams of one frame. Subclasses say
    what differs: the parts and their names, and which output speaks which stream.
    """

    # Local position whose output speaks the first codebook. The text decision is always the first position's.
    first_audio_position: int

    def __init__(self, config: MossTTSConfig, *args, **kwargs):
        super().__init__(config, *args, **kwargs)
        self._compiled_functions = CompiledFunctions()

    def embed_stream(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        """States of the tokens of a stream (0 is text); zero where there are none."""
        raise NotImplementedError

    def embed_sampled(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        """As `embed_stream`, of tokens that generation has sampled, among which is no pad code."""
        return self.embed_stream(stream, tokens)

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        """Inputs of the local transformer, of states `(..., hidden_size)`."""
        raise NotImplementedError

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        """Scores of the text decision, of outputs of the first local position."""
        raise NotImplementedError

    def decision_scores(self, local_states: torch.Tensor, candidates: torch.LongTensor | None) -> torch.Tensor:
        """As `text_scores`, of the text tokens `candidates` alone if they are given."""
        scores = self.text_scores(local_states)
        is_whole = candidates is None or scores.shape[-1] == len(candidates)
        return scores if is_whole else scores[..., candidates]

    def audio_head(self, codebook: int) -> tuple[nn.Module, ...]:
        """Layers that, one after the other, make the scores of a codebook."""
        raise NotImplementedError

    def audio_scores(self, codebook: int, local_states: torch.Tensor) -> torch.Tensor:
        """Scores `(..., num_codes)` of a codebook, of outputs of its local position."""
        return apply_layers(self.audio_head(codebook), local_states)

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        """Layers, key-value heads, positions and width of a head of a cache for one frame."""
        raise NotImplementedError

    def new_local_cache(self) -> FrameCache:
        """A cache for the positions of one frame."""
        layers, _, positions, _ = self.local_cache_shape
        return FrameCache(layers, positions)

    def new_static_local_cache(self, batch_size: int) -> StaticFrameCache:
        """A cache of `batch_size` sequences for compiled steps."""
        layers, heads, positions, head_dim = self.local_cache_shape
        return StaticFrameCache(layers, (batch_size, heads, positions, head_dim), self.dtype, self.device)

    @property
    def modules_of_local_step(self) -> list[nn.Module]:
        """Parts of the model that `local_step` reads."""
        return [self.local_transformer]

    def local_step(self, states: torch.Tensor, cache: FrameCache | StaticFrameCache) -> torch.Tensor:
        """Outputs `(batch_size, width)` of the next position of a frame, of what it hears, `(batch_size, hidden_size)`."""
        return self.local_transformer(self.to_local(states[:, None]), cache)[:, 0]

    def score_step(
        self, head: tuple[nn.Module, ...], states: torch.Tensor, cache: FrameCache | StaticFrameCache
    ) -> torch.Tensor:
        """As `local_step`, and of its outputs the scores `(batch_size, num_codes)` of a codebook with these layers."""
        return apply_layers(head, self.local_step(states, cache))

    def compiled_steps(self, compile_config: CompileConfig, batch_size: int) -> tuple[Callable, Callable]:
        """
        [`~MossTTSFrameModel.local_step`] and [`~MossTTSFrameModel.score_step`], compiled once for a config: of a single sequence a
        graph each, which serves all positions and codebooks. The heads of more sequences are products, which the compiler leaves as
        they are.
        """
        local_step = self._compiled_functions.get(self.local_step, compile_config)
        if batch_size > 1:
            return local_step, lambda head, states, cache: apply_layers(head, local_step(states, cache))
        heads = [layer for codebook in range(self.config.n_vq) for layer in self.audio_head(codebook)]
        keep_rows(*self.modules_of_local_step, *heads)
        return local_step, self._compiled_functions.get(self.score_step, compile_config)

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
            self.check_labels(labels, outputs.last_hidden_state)
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
        is_ignored = labels == IGNORED
        return self.embed_stream(stream, labels.masked_fill(is_ignored, 0)).masked_fill(is_ignored[..., None], 0)


def apply_layers(layers: tuple[nn.Module, ...], states: torch.Tensor) -> torch.Tensor:
    """Outputs of layers, one after the other."""
    for layer in layers:
        states = layer(states)
    return states


class TiedFrameModel(MossTTSFrameModel):
    """
    What the versions share whose heads are the embeddings' weights, and that decide, to go on or to stop, in place of text.
    Subclasses have a `transformer`, and call `add_streams` before `post_init`.
    """

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, TiedLinear):
            init.normal_(module.weight, std=self.config.initializer_range)

    def add_streams(self, local_transformer: nn.Module, text_table: str) -> None:
        """Adds the local transformer, the codebooks' embeddings and all heads; `text_table` is the text embeddings' name."""
        config = self.config
        hidden_size, num_codes, n_vq = config.hidden_size, config.audio_vocab_size, config.n_vq
        self.local_transformer = local_transformer
        self.audio_embeddings = nn.ModuleList(nn.Embedding(num_codes, hidden_size) for _ in range(n_vq))
        self.audio_lm_heads = nn.ModuleList(TiedLinear(hidden_size, num_codes) for _ in range(n_vq))
        self.text_lm_head = nn.Linear(hidden_size, config.vocab_size, bias=False)
        self._tied_weights_keys = {"text_lm_head.weight": f"{text_table}.weight"} | {
            f"audio_lm_heads.{k}.weight": f"audio_embeddings.{k}.weight" for k in range(n_vq)
        }

    @property
    def backbone(self) -> nn.Module:
        return self.transformer

    def get_output_embeddings(self) -> nn.Linear:
        return self.text_lm_head

    def set_output_embeddings(self, value: nn.Linear):
        self.text_lm_head = value

    def embed_stream(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        if stream == 0:
            return self.get_input_embeddings()(tokens)
        # There is no entry for the pad code: it adds nothing.
        is_pad = tokens == self.config.audio_pad_code
        states = self.audio_embeddings[stream - 1](tokens.masked_fill(is_pad, 0))
        return states.masked_fill(is_pad[..., None], 0)

    def embed_sampled(self, stream: int, tokens: torch.LongTensor) -> torch.Tensor:
        return self.embed_stream(stream, tokens) if stream == 0 else self.audio_embeddings[stream - 1](tokens)

    def to_local(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def text_scores(self, local_states: torch.Tensor) -> torch.Tensor:
        return self.text_lm_head(local_states)

    def audio_head(self, codebook: int) -> tuple[nn.Module, ...]:
        return (self.audio_lm_heads[codebook],)
