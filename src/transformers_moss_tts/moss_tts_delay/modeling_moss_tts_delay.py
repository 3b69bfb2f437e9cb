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

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.models.qwen3 import Qwen3Model
from transformers.utils import auto_docstring, can_return_tuple

from ..compatibility import takes_past_key_values
from ..loading.checkpoint import adapter_options
from ..loading.weight_files import check_adapter
from ..modules.small_batch_linear import is_plain_linear
from ..moss_tts.modeling_moss_tts import MossTTSPreTrainedModel
from ..moss_tts.outputs import MossTTSOutputWithPast
from .configuration_moss_tts_delay import MossTTSDelayConfig
from .conversion_moss_tts_delay import (
    fuse_head_adapters,
    read_released_heads,
    register_conversions,
    take_released_names,
)
from .generation_moss_tts_delay import MossTTSDelayGenerationMixin


class MossTTSAudioEmbedding(nn.EmbeddingBag):
    """Sum of the embeddings of one code of each codebook, all in one table of `n_vq * (audio_vocab_size + 1)` entries."""

    def __init__(self, n_vq: int, num_codes: int, hidden_size: int):
        super().__init__(n_vq * num_codes, hidden_size, mode="sum")
        self.num_codes = num_codes

    def forward(self, codes: torch.LongTensor) -> torch.Tensor:
        """Codes `(batch_size, length, n_vq)` to states `(batch_size, length, hidden_size)`."""
        entries = codes + torch.arange(codes.shape[-1], device=codes.device) * self.num_codes
        return super().forward(entries.flatten(0, 1)).unflatten(0, codes.shape[:2])


@auto_docstring
class MossTTSDelayPreTrainedModel(MossTTSPreTrainedModel):
    config: MossTTSDelayConfig
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    loss_averages_streams = False

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
class MossTTSDelayModel(MossTTSDelayPreTrainedModel, MossTTSDelayGenerationMixin):
    def __new__(cls, *args, **kwargs):
        # Here, so that models that are unpickled or copied are known too.
        register_conversions(MossTTSDelayModel.__name__)
        return super().__new__(cls)

    def __init__(self, config: MossTTSDelayConfig):
        super().__init__(config)
        num_codes = config.audio_vocab_size + 1
        self.language_model = Qwen3Model(config.language_config)
        self.audio_embedding = MossTTSAudioEmbedding(config.n_vq, num_codes, config.hidden_size)
        self.text_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.audio_heads = nn.Linear(config.hidden_size, config.n_vq * num_codes, bias=False)
        self.generation_config = self.default_generation_config(config)
        self.register_load_state_dict_pre_hook(take_released_names)
        self.post_init()

    @property
    def backbone(self) -> Qwen3Model:
        return self.language_model

    def load_adapter(self, peft_model_id: str | None = None, adapter_name: str | None = None, **kwargs):
        """
        As transformers' `load_adapter`, also for adapters that name the heads as the release does (`lm_heads.{k}`): theirs
        become adapters of the fused heads.
        """
        if peft_model_id is not None and kwargs.get("adapter_state_dict") is None:
            options = adapter_options(kwargs)
            check_adapter(peft_model_id, options)
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
        text_candidates: torch.LongTensor | None = None,
        **kwargs,
    ) -> MossTTSOutputWithPast:
        r"""
        input_ids (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            A text token and a code of every codebook a step (`audio_pad_code` where there is no audio).
        cache (`Cache`, *optional*):
            Keys and values of the backbone for the positions before `input_ids`. Also taken as `past_key_values`, its name
            before transformers 5.24.0.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`, *optional*):
            What every step has to predict, already shifted by one: `labels[:, t]` is `input_ids[:, t + 1]`. -100 and, in the
            codebooks, the pad code are ignored.
        channelwise_loss_weight (`list[float]` of length `1 + n_vq`, *optional*):
            Weights of the streams, text first: the loss is then the weighted mean of the streams' means. Without them it is
            the mean over all labels.
        num_items_in_batch (`int`, *optional*):
            Number of labels over all gradient accumulation steps, as `Trainer` counts them: the loss is then their sum
            divided by it (with weights, each label weighted by its stream's share of the mean weight), so that the
            accumulated gradient does not depend on how the batch was cut.
        logits_to_keep (`int` or `torch.LongTensor`, *optional*):
            Number of last steps to return states and scores of, 0 for all; or the steps' indices.
        text_candidates (`torch.LongTensor` of shape `(tokens,)`, *optional*):
            Text tokens to compute the scores of; `logits` then has shape `(batch_size, length, tokens)`.

        Example:

        ```python
        >>> from transformers_moss_tts import MossTTSDelayModel, MossTTSDelayProcessor

        >>> processor = MossTTSDelayProcessor.from_pretrained("OpenMOSS-Team/MOSS-TTS")
        >>> model = MossTTSDelayModel.from_pretrained("OpenMOSS-Team/MOSS-TTS")
        >>> outputs = model.generate(**processor(text="Hello."), return_dict_in_generate=True)
        >>> processor.save_audio(processor.decode(outputs), "hello.wav")
        ```"""
        outputs = self.run_backbone(
            input_ids,
            inputs_embeds,
            cache,
            logits_to_keep,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **kwargs,
        )
        outputs.logits = self._text_logits(outputs.last_hidden_state, text_candidates)
        outputs.audio_logits = self._audio_logits(outputs.last_hidden_state)
        return self.add_loss(outputs, labels, channelwise_loss_weight, num_items_in_batch)

    def embed(self, input_ids: torch.LongTensor) -> torch.Tensor:
        return self.get_input_embeddings()(input_ids[..., 0]) + self.audio_embedding(input_ids[..., 1:])

    def _text_logits(self, hidden_states: torch.Tensor, tokens: torch.LongTensor | None) -> torch.Tensor:
        if tokens is None:
            return self.text_head(hidden_states)
        if not is_plain_linear(self.text_head):
            return self.text_head(hidden_states)[..., tokens]
        return nn.functional.linear(hidden_states, self.text_head.weight[tokens])

    def _audio_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        logits = self.audio_heads(hidden_states).unflatten(-1, (self.config.n_vq, -1))
        is_pad = torch.arange(logits.shape[-1], device=logits.device) == self.config.audio_pad_code
        return logits.masked_fill(is_pad, float("-inf"))


__all__ = ["MossTTSDelayModel", "MossTTSDelayPreTrainedModel"]
