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
"""Rows of `datasets` for training the generators."""

import random
from collections import defaultdict

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset
from transformers.utils import logging

from .tts_collator import encode_sample, is_code_rows


logger = logging.get_logger(__name__)

# How the report serialises every sample: with its number of frames in the prompt, and without.
SERIALISATIONS = ("set", "none")


class TrainingSamples(TorchDataset):
    """
    Encoded samples of rows, for `Trainer`. Every row is there once for each serialisation of its length; references are
    drawn anew each epoch, as they follow from the seed, the epoch and the sample alone.

    Args:
        rows (`Dataset`): columns as for [`~transformers_moss_tts.training.encode_sample`], with `codes`, and `speaker` where
            references are drawn.
        processor ([`MossTTSDelayProcessor`]): of the model in training.
        serialisations (`tuple[str, ...]`): `"set"` writes `tokens` into the prompt, the row's or its number of frames,
            `"none"` does not; both, as in the report, by default.
        reference_share (`float`): share of the samples that get another recording of their speaker as reference; rows that
            bring a `reference` keep it.
        sequence_dropout (`float`): share of the samples that keep only their first codebooks, how many drawn uniformly from 1
            to `n_vq - 1`; the others leave input and loss. The report trains MossTTSLocal so, for fewer codebooks at
            inference.
        max_length (`int`, *optional*): context length in positions; samples that are longer are left out, with a warning.
        seed (`int`): of the draws.

    Raises:
        ValueError: unknown serialisations, a share that is none, references without speakers, no rows, or codes of another
            codec or number of codebooks.
    """

    _reference_column = "codes"

    def __init__(
        self,
        rows: Dataset,
        processor,
        serialisations: tuple[str, ...] = SERIALISATIONS,
        reference_share: float = 0.0,
        sequence_dropout: float = 0.0,
        max_length: int | None = None,
        seed: int = 0,
    ):
        if not serialisations or set(serialisations) - set(SERIALISATIONS):
            raise ValueError(f"`serialisations` must be some of {SERIALISATIONS}, got {serialisations}.")
        for name, share in (("reference_share", reference_share), ("sequence_dropout", sequence_dropout)):
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {share}.")
        if reference_share and "speaker" not in rows.column_names:
            raise ValueError(
                f"References of the same speaker need a column `speaker`; the columns are {', '.join(rows.column_names)}."
            )
        if len(rows) == 0:
            raise ValueError("There are no rows to train on.")
        self.rows = rows
        self.processor = processor
        self.serialisations = serialisations
        self.reference_share = reference_share
        self.sequence_dropout = sequence_dropout
        self.seed = seed
        self.epoch = 0
        self._by_speaker: dict[str, list[int]] = defaultdict(list)
        if reference_share:
            for index, speaker in enumerate(rows["speaker"]):
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

    def encode(self, index: int, draw: int) -> dict[str, torch.LongTensor]:
        """The sample with the references of draw number `draw`."""
        row_index, serialisation = divmod(self._kept[index], len(self.serialisations))
        row = dict(self.rows[row_index])
        row["codes"] = np.asarray(row["codes"], dtype=np.int64)
        is_set = self.serialisations[serialisation] == "set"
        row["tokens"] = (row.get("tokens") or len(row["codes"])) if is_set else None
        if row.get("reference") is None:
            row["reference"] = self._draw_reference(row_index, random.Random(f"{self.seed} {draw} {index}"))
        sample = encode_sample(self.processor, row)
        return self._drop_codebooks(sample, random.Random(f"{self.seed} depth {draw} {index}"))

    def _drop_codebooks(self, sample: dict[str, torch.LongTensor], draw: random.Random) -> dict[str, torch.LongTensor]:
        config = self.processor.model_config
        if draw.random() >= self.sequence_dropout or config.n_vq == 1:
            return sample
        depth = draw.randint(1, config.n_vq - 1)
        sample["input_ids"][:, 1 + depth :] = config.audio_pad_code
        sample["labels"][:, 1 + depth :] = -100
        return sample

    def _draw_reference(self, row_index: int, draw: random.Random) -> np.ndarray | None:
        if draw.random() >= self.reference_share:
            return None
        others = [index for index in self._by_speaker[self.rows[row_index]["speaker"]] if index != row_index]
        if not others:
            return None
        codes = np.asarray(self.rows[draw.choice(others)][self._reference_column], dtype=np.int64)
        return codes[: int(self.processor.max_reference_duration * self.processor.frame_rate)]

    def _estimate_lengths(self) -> list[int]:
        """Positions of each sample, with a drawn reference as long as an average recording."""
        span = self.processor.model_config.n_vq + 1  # flush rows, start and end of a span
        names = [name for name in ("codes", "text", "reference") if name in self.rows.column_names]
        tokenizer = self.processor.tokenizer
        frames, others = [], []
        for number, row in enumerate(self.rows.select_columns(names)):
            self._check_codes(number, row["codes"])
            frames.append(len(row["codes"]))
            text = len(tokenizer.encode(row.get("text") or "", add_special_tokens=False))
            given = [item for item in row.get("reference") or [] if is_code_rows(item)]
            others.append(text + sum(len(item) + span for item in given))
        drawn = round(self.reference_share * (sum(frames) / len(frames) + span))
        template = len(encode_sample(self.processor, self.rows[0])["input_ids"]) - frames[0] - others[0]
        return [f + o + template + drawn for f, o in zip(frames, others) for _ in self.serialisations]

    def _check_codes(self, number: int, codes: list[list[int]]) -> None:
        config = self.processor.model_config
        values = np.asarray(codes)
        if values.ndim != 2 or values.shape[1] != config.n_vq or len(values) == 0:
            raise ValueError(
                f"Row {number} cannot be trained on: `codes` must have shape (frames, {config.n_vq}), got {values.shape}."
            )
        if not 0 <= values.min() <= values.max() < config.audio_vocab_size:
            raise ValueError(
                f"Row {number} cannot be trained on: `codes` must be between 0 and {config.audio_vocab_size - 1}, got "
                f"{values.min()} to {values.max()}: are they of another codec?"
            )
