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
"""Samples of a table for training the generators."""

import math
import random
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from transformers.utils import logging

from ..utils.checks import check_number
from .collator import encode_sample, is_code_table, value_of_table


logger = logging.get_logger(__name__)


class TrainingSamples(TorchDataset):
    """
    Encoded samples of a table, for `Trainer`. Every example is there once for each way of duration conditioning; references are
    sampled anew each epoch: they follow from the seed, the epoch and the sample alone.

    Args:
        table (`Dataset`):
            Columns as for [`~transformers_moss_tts.training.encode_sample`], with `codes`, and `speaker` where references are
            sampled. An example whose speaker is None gets no reference.
        processor ([`MossTTSProcessor`]):
            Processor of the model in training.
        duration_conditioning (`tuple[bool, ...]`, *optional*, defaults to `(True, False)`):
            Whether the prompt has `tokens`, the example's or its number of frames. Both, as in the paper, by default.
        reference_share (`float`, *optional*, defaults to 0.0):
            Share of the samples that get another recording of their speaker as reference; examples that bring a `reference` keep
            it.
        sequence_dropout (`float`, *optional*, defaults to 0.0):
            Share of the samples that keep only their first codebooks, how many sampled uniformly from 1 to `n_vq - 1`; the others
            leave input and loss. The paper trains MossTTSLocal so, for fewer codebooks at inference.
        max_length (`int`, *optional*):
            Context length in positions; samples that are longer are left out, with a warning.
        seed (`int`, *optional*, defaults to 0):
            Seed of the references and of the sequence dropout.

    Raises:
        ValueError: unknown duration conditioning, a share that is none, references without speakers, no examples, or codes of
            another codec or number of codebooks.
    """

    _reference_column = "codes"

    def __init__(
        self,
        table: Dataset,
        processor,
        duration_conditioning: tuple[bool, ...] = (True, False),
        reference_share: float = 0.0,
        sequence_dropout: float = 0.0,
        max_length: int | None = None,
        seed: int = 0,
    ):
        ways = tuple(duration_conditioning) if isinstance(duration_conditioning, list | tuple) else ()
        if not all(isinstance(way, bool) for way in ways) or sorted(ways) not in ([False, True], [True], [False]):
            raise ValueError(
                f"`duration_conditioning` must be (True, False), (True,) or (False,), got {duration_conditioning!r:.80}."
            )
        for name, share in (("reference_share", reference_share), ("sequence_dropout", sequence_dropout)):
            check_number(name, share, 0, 1)
        if max_length is not None:
            check_number("max_length", max_length, 1, is_whole=True, unit="positions")
        check_number("seed", seed, -math.inf, is_whole=True)
        if reference_share and "speaker" not in table.column_names:
            raise ValueError(
                f"References of the same speaker need a column `speaker`; the columns are {', '.join(table.column_names)}."
            )
        if len(table) == 0:
            raise ValueError("There are no examples to train on.")
        self.table = table
        self.processor = processor
        self.duration_conditioning = duration_conditioning
        self.reference_share = reference_share
        self.sequence_dropout = sequence_dropout
        self.seed = seed
        self.epoch = 0
        self._by_speaker: dict[Any, list[int]] = defaultdict(list)
        if reference_share:
            for index, speaker in enumerate(table["speaker"]):
                if speaker is not None:
                    self._by_speaker[speaker].append(index)
        self.lengths = self._estimate_lengths()
        self._kept = [i for i, length in enumerate(self.lengths) if max_length is None or length <= max_length]
        if not self._kept:
            raise ValueError(f"All {len(self.lengths)} samples are longer than {max_length} positions.")
        if left_out := len(self.lengths) - len(self._kept):
            logger.warning(
                f"{left_out} of {len(self.lengths)} samples are longer than {max_length} positions: left out."
            )
        self.lengths = [self.lengths[i] for i in self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict[str, torch.LongTensor]:
        return self.encode(index, self.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Called by `Trainer`'s data loader."""
        self.epoch = epoch

    def encode(self, index: int, epoch: int) -> dict[str, torch.LongTensor]:
        """The sample with the references of an epoch."""
        number, way = divmod(self._kept[index], len(self.duration_conditioning))
        example = dict(self.table[number])
        example["codes"] = np.asarray(example["codes"], dtype=np.int64)
        has_duration = self.duration_conditioning[way]
        example["tokens"] = (value_of_table(example.get("tokens")) or len(example["codes"])) if has_duration else None
        if example.get("reference") is None:
            example["reference"] = self._sample_reference(number, random.Random(f"{self.seed} {epoch} {index}"))
        sample = encode_sample(self.processor, example)
        return self._drop_codebooks(sample, random.Random(f"{self.seed} depth {epoch} {index}"))

    def _drop_codebooks(
        self, sample: dict[str, torch.LongTensor], generator: random.Random
    ) -> dict[str, torch.LongTensor]:
        config = self.processor.model_config
        if generator.random() >= self.sequence_dropout or config.n_vq == 1:
            return sample
        depth = generator.randint(1, config.n_vq - 1)
        sample["input_ids"][:, 1 + depth :] = config.audio_pad_code
        sample["labels"][:, 1 + depth :] = -100
        return sample

    def _sample_reference(self, number: int, generator: random.Random) -> np.ndarray | None:
        if generator.random() >= self.reference_share:
            return None
        others = [other for other in self._by_speaker.get(self.table[number]["speaker"], ()) if other != number]
        if not others:
            return None
        codes = np.asarray(self.table[generator.choice(others)][self._reference_column], dtype=np.int64)
        return codes[: int(self.processor.max_reference_duration * self.processor.frame_rate)]

    def _estimate_lengths(self) -> list[int]:
        """Positions of each sample, with a sampled reference as long as an average recording."""
        span = self.processor.model_config.n_vq + 1  # steps that flush the delays, start and end of a span
        names = [name for name in ("codes", "text", "reference") if name in self.table.column_names]
        tokenizer = self.processor.tokenizer
        frames, others = [], []
        for number, example in enumerate(self.table.select_columns(names)):
            self._check_codes(number, example["codes"])
            frames.append(len(example["codes"]))
            text = len(tokenizer.encode(example.get("text") or "", add_special_tokens=False))
            given = [item for item in example.get("reference") or [] if is_code_table(item)]
            others.append(text + sum(len(item) + span for item in given))
        sampled = round(self.reference_share * (sum(frames) / len(frames) + span))
        template = len(encode_sample(self.processor, self.table[0])["input_ids"]) - frames[0] - others[0]
        return [f + o + template + sampled for f, o in zip(frames, others) for _ in self.duration_conditioning]

    def _check_codes(self, number: int, codes: list[list[int]]) -> None:
        values = np.asarray(codes)
        if values.ndim != 2 or len(values) == 0:
            n_vq = self.processor.model_config.n_vq
            raise ValueError(
                f"Example {number} cannot be trained on: `codes` must have shape (frames, {n_vq}), got {values.shape}."
            )
        try:
            self.processor.encode_audio([values])
        except ValueError as error:
            raise ValueError(f"Example {number} cannot be trained on: {error}") from error
