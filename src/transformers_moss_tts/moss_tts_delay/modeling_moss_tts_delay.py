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
"""PyTorch MossTTSDelay model."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_utils import PreTrainedModel
from transformers.models.qwen3 import Qwen3Model
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple

from ..compatibility import CACHE_NAME, takes_past_key_values
from ..loading.remote_code import RemoteCodeMixin
from ..loading.strict_loading import StrictLoadingMixin
from ..modules.few_row_linear import FewRowLinear, has_plain_weight, use_few_row_linears
from ..moss_tts.generation_moss_tts import MossTTSGenerationMixin
from ..moss_tts.losses import channel_sums, weighted_loss
from .configuration_moss_tts_delay import MossTTSDelayConfig
from .conversion_moss_tts_delay import fuse_head_adapters, read_released_heads, take_released_names


@auto_docstring
@dataclass
class MossTTSDelayOutputWithPast(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`, *optional*, returned when `labels` is provided):
        Cross entropy over all labelled positions and channels, or the weighted mean of the channels.
    logits (`torch.FloatTensor` of shape `(batch_size, length, vocab_size)`):
        Scores of the text channel.
    audio_logits (`torch.FloatTensor` of shape `(batch_size, length, n_vq, audio_vocab_size + 1)`):
        Scores of every codebook; the pad code's are minus infinity.
    channel_losses (`torch.FloatTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Mean cross entropy of the text channel and of every codebook.
    channel_counts (`torch.LongTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Number of labels that each of them is the mean of.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    audio_logits: torch.FloatTensor | None = None
    channel_losses: torch.FloatTensor | None = None
    channel_counts: torch.LongTensor | None = None
    if CACHE_NAME == "cache":
        cache: Cache | None = None
    else:
        past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class MossTTSAudioEmbedding(nn.EmbeddingBag):
    """Sum of the embeddings of one code of each codebook, all in one table of `n_vq * (audio_vocab_size + 1)` rows."""

    def __init__(self, n_vq: int, num_codes: int, hidden_size: int):
        super().__init__(n_vq * num_codes, hidden_size, mode="sum")
        self.num_codes = num_codes

    def forward(self, codes: torch.LongTensor) -> torch.Tensor:
        """Codes `(batch_size, length, n_vq)` to states `(batch_size, length, hidden_size)`."""
        rows = codes + torch.arange(codes.shape[-1], device=codes.device) * self.num_codes
        return super().forward(rows.flatten(0, 1)).unflatten(0, codes.shape[:2])


@auto_docstring
class MossTTSDelayPreTrainedModel(RemoteCodeMixin, StrictLoadingMixin, PreTrainedModel):
    config: MossTTSDelayConfig
    base_model_prefix = ""
    input_modalities = ("text", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen3DecoderLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, nn.EmbeddingBag):
            init.normal_(module.weight, std=self.config.initializer_range)


@auto_docstring(
    custom_intro="""
    MOSS-TTS with the delay pattern: a Qwen3 backbone that predicts a text token and one code of each codebook a step,
    codebook k shifted by k steps.
    """
)
class MossTTSDelayModel(MossTTSDelayPreTrainedModel, MossTTSGenerationMixin):
    def __init__(self, config: MossTTSDelayConfig):
        super().__init__(config)
        num_codes = config.audio_vocab_size + 1
        self.language_model = Qwen3Model(config.language_config)
        self.audio_embedding = MossTTSAudioEmbedding(config.n_vq, num_codes, config.hidden_size)
        self.text_head = FewRowLinear(config.hidden_size, config.vocab_size, bias=False)
        self.audio_heads = FewRowLinear(config.hidden_size, config.n_vq * num_codes, bias=False)
        use_few_row_linears(self.language_model)
        self.generation_config = self.default_generation_config(config)
        self.register_load_state_dict_pre_hook(take_released_names)
        self.post_init()

    def load_adapter(self, peft_model_id: str | None = None, adapter_name: str | None = None, **kwargs):
        """
        As transformers' `load_adapter`, also for adapters that name the heads as the release does (`lm_heads.{k}`): theirs
        become adapters of the fused heads.
        """
        if peft_model_id is not None and kwargs.get("adapter_state_dict") is None:
            load_config = kwargs.get("load_config")
            options = dict(getattr(load_config, "download_kwargs", {})) | (kwargs.get("adapter_kwargs") or {})
            if released := read_released_heads(peft_model_id, options):
                kwargs["peft_config"], kwargs["adapter_state_dict"] = fuse_head_adapters(*released, self.config)
                peft_model_id = None
        return super().load_adapter(peft_model_id, adapter_name, **kwargs)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.language_model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.text_head

    def set_output_embeddings(self, value: nn.Linear):
        self.text_head = value

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
        text_head_rows: torch.LongTensor | None = None,
        **kwargs,
    ) -> MossTTSDelayOutputWithPast:
        r"""
        input_ids (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            Text tokens in channel 0, codes in the others (`audio_pad_code` where there is no audio).
        cache (`Cache`, *optional*):
            Keys and values of the backbone for the positions before `input_ids`. Also taken as `past_key_values`, its name
            before transformers 5.24.0.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`, *optional*):
            What every position has to predict, already shifted by one: `labels[:, t]` is `input_ids[:, t + 1]`. -100 and,
            in the audio channels, the pad code are ignored.
        channelwise_loss_weight (`list[float]` of length `1 + n_vq`, *optional*):
            Weights of the channels: the loss is then the weighted mean of the channels' means.
        num_items_in_batch (`int`, *optional*):
            Number of labels over all gradient accumulation steps, as `Trainer` counts them: the loss is then their sum
            divided by it (with weights, each label weighted by its channel's share of the mean weight), so that the
            accumulated gradient does not depend on how the batch was cut.
        text_head_rows (`torch.LongTensor` of shape `(rows,)`, *optional*):
            Compute only these text scores; `logits` then has shape `(batch_size, length, rows)`.

        Example:

        ```python
        >>> from transformers_moss_tts import MossTTSDelayModel, MossTTSDelayProcessor

        >>> processor = MossTTSDelayProcessor.from_pretrained("OpenMOSS-Team/MOSS-TTS")
        >>> model = MossTTSDelayModel.from_pretrained("OpenMOSS-Team/MOSS-TTS")
        >>> outputs = model.generate(**processor(text="Hello."), return_dict_in_generate=True)
        >>> processor.save_audio(processor.decode(outputs), "hello.wav")
        ```"""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either `input_ids` or `inputs_embeds`, not both and not none.")
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids)

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{CACHE_NAME: cache},
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden_states = outputs.last_hidden_state[:, kept]
        logits = self._text_logits(hidden_states, text_head_rows)
        audio_logits = self._audio_logits(hidden_states)

        loss = channel_losses = channel_counts = None
        if labels is not None:
            loss, channel_losses, channel_counts = self.loss_of(
                logits, audio_logits, labels, channelwise_loss_weight, num_items_in_batch
            )
        return MossTTSDelayOutputWithPast(
            loss=loss,
            logits=logits,
            audio_logits=audio_logits,
            channel_losses=channel_losses,
            channel_counts=channel_counts,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
        )

    def embed(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Input states `(batch_size, length, hidden_size)` of `input_ids` `(batch_size, length, 1 + n_vq)`."""
        if input_ids.ndim != 3 or input_ids.shape[-1] != 1 + self.config.n_vq:
            raise ValueError(
                f"`input_ids` must have shape (batch_size, length, {1 + self.config.n_vq}): a text token and "
                f"{self.config.n_vq} codes a position. Got {tuple(input_ids.shape)}."
            )
        return self.get_input_embeddings()(input_ids[..., 0]) + self.audio_embedding(input_ids[..., 1:])

    def _text_logits(self, hidden_states: torch.Tensor, rows: torch.LongTensor | None) -> torch.Tensor:
        if rows is None:
            return self.text_head(hidden_states)
        if not has_plain_weight(self.text_head):
            return self.text_head(hidden_states)[..., rows]
        return nn.functional.linear(hidden_states, self.text_head.weight[rows])

    def _audio_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        logits = self.audio_heads(hidden_states).unflatten(-1, (self.config.n_vq, -1))
        is_pad = torch.arange(logits.shape[-1], device=logits.device) == self.config.audio_pad_code
        return logits.masked_fill(is_pad, float("-inf"))

    def loss_of(
        self,
        logits: torch.Tensor,
        audio_logits: torch.Tensor,
        labels: torch.LongTensor,
        channelwise_loss_weight: list[float] | torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and the channels' means and numbers of labels, `(1 + n_vq,)`; see [`~MossTTSDelayModel.forward`]."""
        sums, counts = channel_sums(logits, audio_logits, labels, self.config.audio_pad_code)
        channel_losses = sums / counts.clamp(min=1)
        if channelwise_loss_weight is None:
            total = counts.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
            return sums.sum() / total, channel_losses, counts
        return weighted_loss(sums, counts, channelwise_loss_weight, num_items_in_batch), channel_losses, counts


__all__ = ["MossTTSDelayModel", "MossTTSDelayPreTrainedModel"]
