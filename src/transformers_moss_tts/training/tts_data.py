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

import hashlib
import io
import random
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from datasets import Array2D, Audio, Dataset
from torch.utils.data import Dataset as TorchDataset
from transformers.utils import logging

from .tts_collator import encode_sample


logger = logging.get_logger(__name__)

# How the report serialises every sample: with its number of frames in the prompt, and without.
SERIALISATIONS = ("set", "none")


def encode_codes(rows: Dataset, processor, batch_size: int = 16, audio_column: str = "audio") -> Dataset:
    """
    Adds the column `codes` `(frames, n_vq)` to rows with recordings, and takes the recordings away. `datasets` caches the
    result by rows and codec, so that a second call reads it from the disk.

    Args:
        rows (`Dataset`): `audio_column` holds paths or what `datasets.Audio` takes.
        processor ([`MossTTSDelayProcessor`]): its codec encodes.
        batch_size (`int`): recordings a forward pass.
        audio_column (`str`): name of the column.

    Raises:
        ValueError: if there is no such column, or a recording cannot be read.
    """
    if audio_column not in rows.column_names:
        raise ValueError(f"There is no column {audio_column!r}; the columns are {', '.join(rows.column_names)}.")
    if isinstance(rows.features[audio_column], Audio):
        rows = rows.cast_column(audio_column, Audio(decode=False))
    n_vq = processor.model_config.n_vq

    def encode(batch: dict[str, list]) -> dict[str, list]:
        return {
            "codes": [codes.numpy() for codes in processor.encode_audio([_opened(a) for a in batch[audio_column]])]
        }

    features = rows.features.copy()
    features.pop(audio_column)
    features["codes"] = Array2D((None, n_vq), "int16")
    fingerprint = hashlib.sha256(f"{rows._fingerprint} {_codec_fingerprint(processor)} {n_vq}".encode()).hexdigest()
    return rows.map(
        encode,
        batched=True,
        batch_size=batch_size,
        remove_columns=[audio_column],
        features=features,
        new_fingerprint=fingerprint[:32],
        desc="codes",
    )


def _opened(audio: Any) -> Any:
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        return io.BytesIO(audio["bytes"])
    return audio["path"] if isinstance(audio, dict) and "path" in audio else audio


def _codec_fingerprint(processor) -> str:
    """Changes with every weight that the codes depend on."""
    digest = hashlib.sha256()
    for name, tensor in processor.audio_tokenizer.state_dict().items():
        if not name.startswith(("decoder.", "quantizer.output_proj.")):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class TrainingSamples(TorchDataset):
    """
    Encoded samples of rows, for `Trainer`. Every row is there once for each serialisation of its length; references are
    drawn anew each epoch, as they follow from the seed, the epoch and the sample alone.

    Args:
        rows (`Dataset`): columns as for [`~transformers_moss_tts.training.encode_sample`], with `codes`; `speaker` where
            references are drawn.
        processor ([`MossTTSDelayProcessor`]): of the model in training.
        serialisations (`tuple[str, ...]`): `"set"` writes the number of frames as `tokens` into the prompt, `"none"` does
            not; both, as in the report, by default.
        reference_share (`float`): share of the samples that get another recording of their speaker as reference; rows that
            bring a `reference` keep it.
        sequence_dropout (`float`): share of the samples that keep only their first codebooks, how many drawn uniformly from 1
            to `n_vq - 1`; the others leave input and loss. The report trains MossTTSLocal so, for fewer codebooks at
            inference.
        max_length (`int`, *optional*): context length in positions; samples that are longer are left out, with a warning.
        seed (`int`): of the draws.

    Raises:
        ValueError: unknown serialisations, a share that is none, references without speakers, or no rows.
    """

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
        if self.serialisations[serialisation] == "set":
            row["tokens"] = len(row["codes"])
        else:
            row["tokens"] = None
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
        codes = np.asarray(self.rows[draw.choice(others)]["codes"], dtype=np.int64)
        return codes[: int(self.processor.max_reference_duration * self.processor.frame_rate)]

    def _estimate_lengths(self) -> list[int]:
        """Positions of each sample, with a reference as long as an average recording."""
        frames = [len(codes) for codes in self.rows["codes"]]
        span = self.processor.model_config.n_vq + 1  # flush rows, start and end of a span
        reference = round(self.reference_share * (sum(frames) / len(frames) + span))
        tokenizer = self.processor.tokenizer
        texts = [len(tokenizer.encode(text or "", add_special_tokens=False)) for text in self.rows["text"]]
        template = len(encode_sample(self.processor, self.rows[0])["input_ids"]) - frames[0] - texts[0]
        return [f + t + template + reference for f, t in zip(frames, texts) for _ in self.serialisations]
