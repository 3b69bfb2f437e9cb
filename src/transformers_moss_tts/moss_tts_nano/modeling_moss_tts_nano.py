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

"""PyTorch MossTTSNano model."""

from typing import ClassVar

import torch
from torch import nn
from transformers import GPT2Config
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import auto_docstring
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..compatibility import CACHE_NAME, takes_past_key_values
from ..modules.rotary import rotary_embedding
from ..modules.small_batch_linear import is_plain_linear
from ..moss_tts.frame_model import IGNORED, TiedFrameModel
from ..moss_tts.gpt2_transformer import MossTTSGPT2Attention, MossTTSGPT2Layer, MossTTSGPT2Transformer
from ..moss_tts.modeling_moss_tts import MossTTSPreTrainedModel
from .configuration_moss_tts_nano import MossTTSNanoConfig
from .generation_moss_tts_nano import MossTTSNanoGenerationMixin


@auto_docstring
class MossTTSNanoPreTrainedModel(MossTTSPreTrainedModel):
    config: MossTTSNanoConfig
    _no_split_modules = ["MossTTSGPT2Layer"]


class MossTTSNanoBackbone(PreTrainedModel):
    """GPT-2 with rotary positions over steps, and the text table, under the names of the release."""

    config: GPT2Config
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _no_split_modules = ["MossTTSGPT2Layer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs: ClassVar[dict[str, type]] = {
        "hidden_states": MossTTSGPT2Layer,
        "attentions": MossTTSGPT2Attention,
    }

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(MossTTSGPT2Layer(config, index) for index in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.wte

    def set_input_embeddings(self, value: nn.Embedding):
        self.wte = value

    @takes_past_key_values
    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        inputs_embeds: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """States `(batch_size, length, hidden_size)` of inputs of that shape."""
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        length = inputs_embeds.shape[1]
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        elif position_ids is None:
            seen = 0 if cache is None else cache.get_seq_length()
            position_ids = torch.arange(length, device=inputs_embeds.device)[None] + seen
        mask = create_causal_mask(self.config, inputs_embeds, attention_mask, cache, position_ids)
        # Computed, not kept: a buffer that no file has would be left as it is by some ways of loading.
        positions = rotary_embedding(position_ids, self.config.n_embd // self.config.n_head, self.config.rope_base)
        hidden_states = self.drop(inputs_embeds)
        for layer in self.h:
            hidden_states = layer(hidden_states, mask, positions, cache=cache, position_ids=position_ids, **kwargs)
        kept = cache if use_cache else None
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(hidden_states), **{CACHE_NAME: kept})


@auto_docstring(
    custom_intro="MOSS-TTS-Nano, small enough for a CPU: heads tied to embeddings, and one decision, to go on or to stop, in place "
    "of text."
)
class MossTTSNanoModel(TiedFrameModel, MossTTSNanoPreTrainedModel, MossTTSNanoGenerationMixin):
    config: MossTTSNanoConfig
    first_audio_position = 1
    reads_released_pickle = True
    loss_counts_silent_streams = False
    # In some files, and never used.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"local_transformer\.wte\.weight"]

    def __init__(self, config: MossTTSNanoConfig):
        super().__init__(config)
        self.transformer = MossTTSNanoBackbone(config.language_config)
        self.add_streams(MossTTSGPT2Transformer(config.local_config), "transformer.wte")
        self.generation_config = self.default_generation_config(config)
        self.post_init()

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        return [self.backbone, self.local_transformer, self.audio_lm_heads]

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.wte

    def set_input_embeddings(self, value: nn.Embedding):
        self.transformer.wte = value

    def decision_scores(self, local_states: torch.Tensor, candidates: torch.LongTensor | None) -> torch.Tensor:
        if candidates is None or torch.compiler.is_compiling() or not is_plain_linear(self.text_lm_head):
            return super().decision_scores(local_states, candidates)
        # Two entries of the head, which is a tenth of the model.
        return nn.functional.linear(local_states, self.text_lm_head.weight[candidates])

    def text_targets(self, labels: torch.LongTensor) -> torch.LongTensor:
        candidates = labels.new_tensor(self.text_candidates(self.config))
        return labels.masked_fill(~torch.isin(labels, candidates), IGNORED)

    @property
    def local_cache_shape(self) -> tuple[int, int, int, int]:
        local = self.local_transformer.config
        return local.n_layer, local.n_head, 1 + self.config.n_vq, local.n_embd // local.n_head


__all__ = ["MossTTSNanoModel", "MossTTSNanoPreTrainedModel"]
