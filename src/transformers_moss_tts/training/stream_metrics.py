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
"""Evaluation losses of `Trainer`, stream by stream."""

import numpy as np
import torch
from transformers import EvalPrediction


# Places in the outputs of every generator without the loss.
_LOSSES, _COUNTS = 2, 3


def keep_stream_losses(outputs: tuple[torch.Tensor, ...], labels: torch.LongTensor) -> torch.Tensor:
    """
    `preprocess_logits_for_metrics` of `Trainer`: keeps of a batch's outputs the losses of the streams and the number of labels
    that they are means of, so that no logits pile up.

    Args:
        outputs (`tuple[torch.Tensor, ...]`): outputs of a generator without the loss.
        labels (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`): labels of the batch.

    Returns:
        `torch.Tensor` of shape `(batch_size, 2, 1 + n_vq)`.
    """
    losses = outputs[_LOSSES].float()
    # `Trainer` gathers and cuts one entry a sample.
    counts = outputs[_COUNTS].to(losses.dtype) / len(labels)
    return torch.stack([losses, counts]).expand(len(labels), -1, -1)


def stream_loss_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` of `Trainer`, with [`keep_stream_losses`].

    Args:
        prediction (`EvalPrediction`): losses that [`keep_stream_losses`] kept of all batches.

    Returns:
        Mean cross entropy of the text stream (`loss_text`) and of each codebook (`loss_codebook_1`, ...) over all labels, however
        they were batched.
    """
    kept = np.asarray(prediction.predictions)
    losses, counts = kept[:, 0], kept[:, 1]
    means = (losses * counts).sum(0) / counts.sum(0).clip(min=1)
    names = ["text", *(f"codebook_{number}" for number in range(1, len(means)))]
    return {f"loss_{name}": float(mean) for name, mean in zip(names, means)}
