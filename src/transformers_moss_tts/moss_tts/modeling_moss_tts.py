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
"""What the models of all generators share: classes of checkpoints, the backbone's pass, the loss and its outputs."""

from typing import Any, ClassVar

import torch
from transformers.cache_utils import Cache
from transformers.modeling_utils import PreTrainedModel
from transformers.models.qwen3 import Qwen3Model

from ..compatibility import CACHE_NAME
from ..loading.checkpoint import CheckpointMixin
from ..loading.remote_code import RemoteCodeMixin
from ..utils.checks import check_number, is_integral
from .configuration_moss_tts import MossTTSConfig
from .generation_parameters import check_whole_numbers
from .losses import stream_sums, weighted_loss
from .outputs import MossTTSOutputWithPast


# Label that no loss looks at.
_IGNORED = -100
# Attributes of `PreTrainedModel.get_compiled_call`.
_COMPILED = ("_compiled_call", "_last_compile_config")


class MossTTSPreTrainedModel(RemoteCodeMixin, CheckpointMixin, PreTrainedModel):
    """Base of the generators: a backbone over steps, each a text token and a code of every codebook."""

    config: MossTTSConfig
    base_model_prefix = ""
    input_modalities = ("text", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen3DecoderLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True
    # Without weights the loss is the mean over the streams, else the mean over all labels.
    loss_averages_streams: ClassVar[bool] = True
    # Whether the weighted mean of the streams is over those without labels too, whose mean is then 0.
    loss_counts_silent_streams: ClassVar[bool] = True

    def __init__(self, config: MossTTSConfig, *args, **kwargs):
        if not isinstance(config, self.config_class):
            raise ValueError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, got a {type(config).__name__}. AutoModel chooses "
                "the class by the configuration."
            )
        # Parameters of generation may stand in a config.json, as in old ones of transformers.
        check_whole_numbers(vars(config))
        super().__init__(config, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # What transformers compiled is a method of this object: a copy would run its weights, and a pickle cannot hold it.
        return {name: value for name, value in super().__getstate__().items() if name not in _COMPILED}

    @property
    def backbone(self) -> Qwen3Model:
        """The Transformer over steps."""
        raise NotImplementedError

    def embed(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Input states `(batch_size, length, hidden_size)` of `input_ids` `(batch_size, length, 1 + n_vq)`."""
        raise NotImplementedError

    def text_targets(self, labels: torch.LongTensor) -> torch.LongTensor:
        """Text labels as indices of the text scores."""
        return labels

    def check_input_ids(self, input_ids: torch.LongTensor) -> None:
        """
        Raises:
            TypeError: for ids that are no tensor of whole numbers.
            ValueError: for another shape than `(batch_size, length, 1 + n_vq)`, and on a CPU for ids out of range.
        """
        num_streams = 1 + self.config.n_vq
        _check_whole("input_ids", input_ids)
        if input_ids.ndim != 3 or input_ids.shape[-1] != num_streams:
            raise ValueError(
                f"`input_ids` must have shape (batch_size, length, {num_streams}): a text token and {self.config.n_vq} codes a "
                f"step. Got {tuple(input_ids.shape)}."
            )
        # A step alone is one that was sampled.
        if input_ids.shape[1] > 1:
            self._check_range("input_ids", input_ids)

    def check_labels(self, labels: torch.LongTensor, states: torch.Tensor) -> None:
        """
        Raises:
            TypeError: for labels that are no tensor of whole numbers.
            ValueError: for another shape than `(*states.shape[:2], 1 + n_vq)`, and on a CPU for labels out of range.
        """
        _check_whole("labels", labels)
        shape = (*states.shape[:2], 1 + self.config.n_vq)
        if labels.shape != shape:
            raise ValueError(f"`labels` must have shape {shape}, like `input_ids`, got {tuple(labels.shape)}.")
        self._check_range("labels", labels.masked_fill(labels == _IGNORED, 0))

    def _check_range(self, name: str, tokens: torch.LongTensor) -> None:
        # On other devices this would wait for them.
        if tokens.device.type != "cpu" or torch.compiler.is_compiling() or not tokens.numel():
            return
        config = self.config
        least, most_text, most_code = int(tokens.min()), int(tokens[..., 0].max()), int(tokens[..., 1:].max())
        if least < 0 or most_text >= config.vocab_size or most_code > config.audio_vocab_size:
            raise ValueError(
                f"`{name}` has ids out of range: text tokens must be below {config.vocab_size}, codes at most "
                f"{config.audio_vocab_size}, none below 0. Got text tokens up to {most_text}, codes up to {most_code}, and {least} "
                "as the lowest."
            )

    def run_backbone(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor | None,
        cache: Cache | None,
        logits_to_keep: int | torch.Tensor,
        embed_options: dict[str, Any] | None = None,
        **kwargs,
    ) -> MossTTSOutputWithPast:
        """The backbone's outputs, with the last hidden states that `logits_to_keep` leaves."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either `input_ids` or `inputs_embeds`, not both and not none.")
        if inputs_embeds is None:
            self.check_input_ids(input_ids)
            inputs_embeds = self.embed(input_ids, **(embed_options or {}))
        outputs = self.backbone(inputs_embeds=inputs_embeds, **{CACHE_NAME: cache}, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return MossTTSOutputWithPast(
            last_hidden_state=outputs.last_hidden_state[:, kept],
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
        )

    def add_loss(
        self,
        outputs: MossTTSOutputWithPast,
        labels: torch.LongTensor | None,
        channelwise_loss_weight: list[float] | torch.Tensor | None,
        num_items_in_batch: int | torch.Tensor | None,
    ) -> MossTTSOutputWithPast:
        """The outputs with the loss of their scores, where there are labels."""
        if labels is None:
            if num_items_in_batch is not None or channelwise_loss_weight is not None:
                raise ValueError(
                    "`num_items_in_batch` and `channelwise_loss_weight` are of a loss, and there are no `labels`. If this is a "
                    "training with `label_smoothing_factor`, set it to 0: transformers' smoothing takes the labels of all "
                    "streams for those of the text."
                )
            return _in_order(outputs)
        outputs.loss, outputs.channel_losses, outputs.channel_counts = self.loss_of(
            outputs.logits, outputs.audio_logits, labels, channelwise_loss_weight, num_items_in_batch
        )
        return _in_order(outputs)

    def loss_of(
        self,
        logits: torch.Tensor,
        audio_logits: torch.Tensor,
        labels: torch.LongTensor,
        channelwise_loss_weight: list[float] | torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and the streams' means and numbers of labels, `(1 + n_vq,)`; see the model's `forward`."""
        self.check_labels(labels, logits)
        _check_num_items(num_items_in_batch)
        targets = torch.cat([self.text_targets(labels[..., :1]), labels[..., 1:]], dim=-1)
        sums, counts = stream_sums(logits, audio_logits, targets, self.config.audio_pad_code)
        means = sums / counts.clamp(min=1)
        if channelwise_loss_weight is None and not self.loss_averages_streams:
            total = counts.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
            return sums.sum() / total, means, counts
        weights = torch.ones_like(sums) if channelwise_loss_weight is None else channelwise_loss_weight
        loss = weighted_loss(sums, counts, weights, num_items_in_batch, self.loss_counts_silent_streams)
        return loss, means, counts


def _check_whole(name: str, tokens: torch.LongTensor) -> None:
    if not is_integral(tokens):
        given = getattr(tokens, "dtype", type(tokens).__name__)
        raise TypeError(f"`{name}` must be a tensor of whole numbers (torch.long), got {given}.")


def _check_num_items(number: int | torch.Tensor | None) -> None:
    if isinstance(number, torch.Tensor):
        if number.numel() != 1:
            raise ValueError(f"`num_items_in_batch` must be one number, got a tensor of shape {tuple(number.shape)}.")
    elif number is not None:
        check_number("num_items_in_batch", number, 1, is_whole=True)


def _in_order(outputs: MossTTSOutputWithPast) -> MossTTSOutputWithPast:
    """The outputs in the order of their declaration, as tuples and `Trainer` take them, not in that of their assignment."""
    return MossTTSOutputWithPast(**outputs)


__all__ = ["MossTTSPreTrainedModel"]
