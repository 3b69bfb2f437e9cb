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
"""Cross entropy of the text stream and the codebooks."""

import torch
from torch import nn

from ..utils.checks import is_number


def stream_sums(
    logits: torch.Tensor, audio_logits: torch.Tensor, labels: torch.LongTensor, audio_pad_code: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Sum of the cross entropy over the labelled positions of each stream, and their number, both `(1 + n_vq,)`.

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, length, vocab_size)`): text scores.
        audio_logits (`torch.FloatTensor` of shape `(batch_size, length, n_vq, num_codes)`): scores of the codebooks.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`): -100 is ignored.
        audio_pad_code (`int`): ignored in the codebooks.
    """
    n_vq = audio_logits.shape[-2]
    audio_labels = labels[..., 1:].masked_fill(labels[..., 1:] == audio_pad_code, -100)
    text_sum = nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels[..., 0].flatten(), ignore_index=-100, reduction="sum"
    )
    audio_losses = nn.functional.cross_entropy(
        audio_logits.flatten(0, 2).float(), audio_labels.flatten(), ignore_index=-100, reduction="none"
    )
    sums = torch.cat([text_sum[None], audio_losses.view(-1, n_vq).sum(0)])
    counts = torch.cat([(labels[..., 0] != -100).sum()[None], (audio_labels != -100).sum((0, 1))])
    return sums, counts


def weighted_loss(
    sums: torch.Tensor,
    counts: torch.Tensor,
    weights: list[float] | torch.Tensor,
    num_items_in_batch: int | torch.Tensor | None = None,
    counts_silent_streams: bool = True,
) -> torch.Tensor:
    """
    Weighted mean of the streams' means, of those with labels alone if `counts_silent_streams` is False; with
    `num_items_in_batch`, the number of labels over all accumulated batches, the labels' sum with each weighted by its stream's
    share of the mean weight.

    Raises:
        ValueError: for another number of weights than streams, or weights that are negative, not finite or all 0.
        TypeError: for what are no numbers.
    """
    try:
        if isinstance(weights, list | tuple) and not all(map(is_number, weights)):
            raise TypeError(f"got {weights!r:.80}")
        weights = torch.as_tensor(weights, dtype=sums.dtype, device=sums.device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"`channelwise_loss_weight` must be numbers, one a stream: {error}.") from error
    if weights.shape != sums.shape:
        raise ValueError(
            f"`channelwise_loss_weight` needs {len(sums)} weights, text first, got {tuple(weights.shape)}."
        )
    if not torch.compiler.is_compiling() and not (weights.isfinite().all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            f"`channelwise_loss_weight` must be numbers of at least 0, and not all 0, got {weights.tolist()}."
        )
    if num_items_in_batch is not None:
        return (sums * weights).sum() / (num_items_in_batch * weights.mean())
    heard = weights if counts_silent_streams else weights * (counts > 0)
    return (sums / counts.clamp(min=1) * weights).sum() / heard.sum().clamp(min=torch.finfo(sums.dtype).tiny)
