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
"""What `forward` and `generate` return."""

from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.utils import ModelOutput, auto_docstring

from ..compatibility import CACHE_NAME


@auto_docstring
@dataclass
class MossTTSOutputWithPast(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`, *optional*, returned when `labels` is provided):
        Cross entropy of all streams in one number, as the model's `forward` says.
    logits (`torch.FloatTensor` of shape `(batch_size, length, vocab_size)`, *optional*):
        Scores of the text stream; of two candidates, the assistant's slot and audio_end, where MossTTSLocal v1.5 decides
        between them; MossTTSNano has the whole vocabulary's here and those two in `generate`. MossTTSLocal has scores only when `labels` is provided.
    audio_logits (`torch.FloatTensor` of shape `(batch_size, length, n_vq, num_codes)`, *optional*):
        Scores of every codebook. With the delay pattern the pad code's are minus infinity; those of MossTTSLocal are given the
        labels of the codebooks before.
    channel_losses (`torch.FloatTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Mean cross entropy of the text stream and of every codebook.
    channel_counts (`torch.LongTensor` of shape `(1 + n_vq,)`, *optional*, returned when `labels` is provided):
        Number of labels that each of them is the mean of.
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, length, hidden_size)`):
        States of the backbone, from which the streams are predicted.
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


@dataclass
class MossTTSGenerateOutput(GenerateDecoderOnlyOutput):
    """
    Outputs of `generate` with `return_dict_in_generate=True`.

    Args:
        sequences (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            The prompt and what was generated; sequences that ended are padded on the right.
        scores:
            Always `None`: there is no one tensor of processed scores.
        logits (`tuple(torch.FloatTensor)`, *optional*, returned when `output_logits=True`):
            Text scores of every step, `(batch_size, vocab_size)`.
        audio_logits (`tuple(torch.FloatTensor)`, *optional*, returned when `output_logits=True`):
            Scores of the codebooks of every step, `(batch_size, n_vq, num_codes)`.
        attentions, hidden_states (`tuple(tuple(torch.FloatTensor))`, *optional*):
            Of every step, as transformers returns them.
        cache (`Cache`, *optional*):
            Keys and values of the backbone; `past_key_values` before transformers 5.24.
        audio_codes (`list[torch.LongTensor]`):
            The generated codes of every sequence, `(frames, n_vq)`, no longer delayed and without those of the prompt. Only
            complete frames; the spans of a sequence that has several are joined.
        prefix_codes (`list[torch.LongTensor]`):
            The codes that the prompt's assistant turn began with, `(frames, n_vq)`: a codec that decodes the continuation
            alone would miss its context. Empty where the prompt was no continuation.
        reached_limit (`torch.BoolTensor` of shape `(batch_size,)`):
            Sequences that did not end by themselves but were cut.
    """

    audio_codes: list[torch.LongTensor] | None = None
    prefix_codes: list[torch.LongTensor] | None = None
    audio_logits: tuple[torch.FloatTensor, ...] | None = None
    reached_limit: torch.BoolTensor | None = None


__all__ = ["MossTTSGenerateOutput", "MossTTSOutputWithPast"]
