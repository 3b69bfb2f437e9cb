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
"""Training samples of the generators as tensors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..moss_tts.prompt import USER_FIELDS
from ..utils.checks import check_number


# Labels that no loss looks at.
_IGNORED = -100


def paper_stream_weights(n_vq: int) -> list[float]:
    """
    Weights of the streams' losses in the paper (arXiv 2603.18090), `1 + n_vq` of them: text 1, the first six codebooks 3, 3,
    3, 2, 2, 2, the others 1.
    """
    check_number("n_vq", n_vq, 1, 2**16, is_whole=True)
    return [1.0, *([3.0, 3.0, 3.0, 2.0, 2.0, 2.0] + [1.0] * n_vq)[:n_vq]]


def encode_sample(processor, example: Mapping[str, Any]) -> dict[str, torch.LongTensor]:
    """
    Turns an example of a table into a training sample.

    Args:
        processor ([`MossTTSProcessor`]):
            Processor of the model in training.
        example (`Mapping`):
            `text` and `codes` `(frames, n_vq)`, or `audio` instead of codes, and optionally what else a user message has:
            `reference` (recordings or codes), `language`, `tokens`, `instruction`, `quality`, `sound_event`, `ambient_sound`.
            Other columns are ignored.

    Returns:
        `input_ids` and `labels`, both `(length, 1 + n_vq)`. Labels are shifted: `labels[t]` is `input_ids[t + 1]` where that
        belongs to the assistant's reply, -100 elsewhere and where a codebook is silent.

    Raises:
        ValueError: if the example lacks text or codes, or the codes are none or of another codec.
    """
    spoken = example.get("codes") if example.get("codes") is not None else example.get("audio")
    if spoken is None:
        raise ValueError(f"An example needs `codes` (or `audio`), got the columns {', '.join(map(str, example))}.")
    if example.get("codes") is not None and not _has_frames(spoken):
        raise ValueError(f"`codes` has no frames: it must be of shape (frames, n_vq), got {spoken!r:.80}.")
    message = {name: value_of_table(example.get(name)) for name in USER_FIELDS}
    message["reference"] = _reference_of(example)
    user = processor.build_user_message(**message)
    reply = processor.build_assistant_message([_codes_of(spoken)])
    prompt_length = processor(conversations=[[user]], mode="generation")["input_ids"].shape[1]
    input_ids = processor(conversations=[[user, reply]], mode="computing_loss")["input_ids"][0]
    labels = torch.full_like(input_ids, _IGNORED)
    labels[prompt_length - 1 : -1] = input_ids[prompt_length:]
    is_silent = labels[:, 1:] == processor.model_config.audio_pad_code
    labels[:, 1:].masked_fill_(is_silent, _IGNORED)
    return {"input_ids": input_ids, "labels": labels}


def _has_frames(codes: Any) -> bool:
    is_array = isinstance(codes, torch.Tensor | np.ndarray)
    return codes.ndim > 0 and len(codes) > 0 if is_array else isinstance(codes, list | tuple) and len(codes) > 0


def value_of_table(value: Any) -> Any:
    """A value of an example; NaN, which tables write where there is nothing, is None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _reference_of(example: Mapping[str, Any]) -> list | None:
    reference = example.get("reference")
    if reference is None:
        return None
    references = reference if isinstance(reference, list) and not is_code_table(reference) else [reference]
    return [None if item is None else _codes_of(item) for item in references]


def is_code_table(value: Any) -> bool:
    """Whether a value of a table is codes `(frames, n_vq)`, as lists."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, list) and bool(first) and isinstance(first[0], int)


def _codes_of(value: Any) -> Any:
    """Codes that `datasets` returned as lists, as a tensor; everything else as it is."""
    return torch.tensor(value) if is_code_table(value) else value


class MossTTSDataCollator:
    """
    Batches for `Trainer`: left padded `input_ids`, `attention_mask` and shifted `labels`. Labels start at the first position
    that any sample has to predict, and `logits_to_keep` is their length: the heads, most of a small model's work, skip the
    prompts. Tables of `datasets` need `remove_unused_columns=False` in the `TrainingArguments`.

    Args:
        processor ([`MossTTSProcessor`]):
            Processor of the model in training.
        channelwise_loss_weight (`list[float]`, *optional*):
            Weights of the streams' losses, text first, for instance [`paper_stream_weights`]. All labels weigh the same by
            default.
        packing (`bool`, *optional*, defaults to `False`):
            Whether the samples of a batch stand one behind the other instead of being padded. Positions begin anew with each
            and attention stays inside it, so loss and gradients are those of the padded batch.

    Raises:
        ValueError: if the weights are not `1 + n_vq` numbers of at least 0.
        TypeError: for `packing` that is no flag.
    """

    def __init__(self, processor, channelwise_loss_weight: list[float] | None = None, packing: bool = False):
        num_streams = 1 + processor.model_config.n_vq
        if channelwise_loss_weight is not None:
            _check_weights(channelwise_loss_weight, num_streams)
        if not isinstance(packing, bool):
            raise TypeError(f"`packing` must be True or False, got {packing!r:.80}.")
        self.processor = processor
        self.channelwise_loss_weight = channelwise_loss_weight
        self.packing = packing

    def __call__(self, examples: list[Mapping[str, Any]]) -> dict[str, Any]:
        """
        Takes examples as [`encode_sample`] describes them, or the samples that it returned.

        Raises:
            ValueError: if there are none.
        """
        if not examples:
            raise ValueError("`examples` is empty: a batch needs one example or more.")
        samples = [item if "labels" in item else encode_sample(self.processor, item) for item in examples]
        batch = _pack(samples) if self.packing else self._pad(samples)
        if self.channelwise_loss_weight is not None:
            batch["channelwise_loss_weight"] = torch.tensor(self.channelwise_loss_weight)
        return batch

    def _pad(self, samples: list[Mapping[str, torch.LongTensor]]) -> dict[str, Any]:
        config = self.processor.model_config
        lengths = torch.tensor([len(sample["input_ids"]) for sample in samples])
        longest = int(lengths.max())
        input_ids = torch.full((len(samples), longest, 1 + config.n_vq), config.audio_pad_code)
        input_ids[..., 0] = config.pad_token_id
        labels = torch.full_like(input_ids, _IGNORED)
        for index, sample in enumerate(samples):
            input_ids[index, longest - len(sample["input_ids"]) :] = sample["input_ids"]
            labels[index, longest - len(sample["labels"]) :] = sample["labels"]
        is_labelled = (labels != _IGNORED).any(0).any(-1)
        num_kept = longest - int(is_labelled.int().argmax())
        return {
            "input_ids": input_ids,
            "attention_mask": torch.arange(longest) >= (longest - lengths)[:, None],
            "labels": labels[:, -num_kept:],
            "logits_to_keep": num_kept,
        }


def _check_weights(weights: Any, num_streams: int) -> None:
    if not isinstance(weights, list | tuple | np.ndarray) or len(weights) != num_streams:
        raise ValueError(f"`channelwise_loss_weight` needs {num_streams} weights, text first, got {weights!r:.200}.")
    for weight in weights:
        check_number("channelwise_loss_weight", weight, 0)
    if not any(weights):
        raise ValueError("`channelwise_loss_weight` must not be 0 for all streams.")


def _pack(samples: list[Mapping[str, torch.LongTensor]]) -> dict[str, Any]:
    labels = torch.cat([sample["labels"] for sample in samples])
    kept = (labels != _IGNORED).any(-1).nonzero().flatten()
    return {
        "input_ids": torch.cat([sample["input_ids"] for sample in samples])[None],
        # By positions that begin anew transformers knows where a sample ends, if there is neither a mask nor a cache.
        "position_ids": torch.cat([torch.arange(len(sample["input_ids"])) for sample in samples])[None],
        "use_cache": False,
        "labels": labels[None, kept],
        "logits_to_keep": kept,
    }
