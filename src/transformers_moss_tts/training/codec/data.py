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
"""Random crops of recordings for codec training."""

import os
import random
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from ...audio_io import DEFAULT_LIMITS, load_audio
from ...utils.audio_files import check_rate
from ...utils.checks import check_number


logger = logging.get_logger(__name__)

# Samples of all crops of a batch, an hour and a half at 24 kHz: beyond them nothing can be trained.
_MOST_SAMPLES = 2**27


def load_recordings(paths: list[str | Path], sampling_rate: int, num_channels: int = 1) -> list[np.ndarray]:
    """
    Reads recordings into memory as 16 bit samples; those that cannot be read are listed and left out.

    Args:
        paths (`list[str | Path]`): paths or URLs of the recordings.
        sampling_rate (`int`): rate of the codec, in Hz.
        num_channels (`int`, *optional*, defaults to 1): number of channels of the codec.

    Returns:
        An array of each recording, `(samples,)` or `(2, samples)` in int16.

    Raises:
        ValueError: if none can be read.
        TypeError: for what is no list of paths.
    """
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise TypeError(f"`paths` must be a list of paths of recordings, got {paths!r:.80}.")
    check_rate(sampling_rate, "`sampling_rate`", DEFAULT_LIMITS.max_sampling_rate)
    recordings, broken = [], []
    for path in paths:
        try:
            waveform = load_audio(path, sampling_rate, num_channels=num_channels)
        except ValueError as error:
            broken.append(f"{path}: {error}")
            continue
        recordings.append((waveform.clip(-1, 1) * 32767).astype(np.int16))
    if broken:
        logger.warning(f"{len(broken)} of {len(paths)} recordings are left out:\n" + "\n".join(broken))
    if not recordings:
        raise ValueError(f"None of the {len(paths)} recordings could be read.")
    return recordings


class RandomCrops:
    """
    Batches of random crops, as many as are asked for. Batch `n` of a process follows from the seed, `n` and the process alone,
    so that a run can go on where it stopped without replaying anything.

    Args:
        recordings (`list[np.ndarray]`): recordings of 16 bit samples, sampled in proportion to their lengths.
        crop_samples (`int`): length of a crop; shorter recordings are padded with zeros.
        batch_size (`int`): crops a batch.
        seed (`int`): seed of the crops.
        process_index, num_processes (`int`, *optional*): index of this process, whose share of the batches it is, and their number.
    """

    def __init__(
        self,
        recordings: list[np.ndarray],
        crop_samples: int,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        if not isinstance(recordings, list | tuple) or not recordings:
            raise ValueError(f"`recordings` must be a list of arrays of 16 bit samples, got {recordings!r:.80}.")
        for recording in recordings:
            if (
                not isinstance(recording, np.ndarray)
                or recording.ndim != 1
                or recording.dtype != np.int16
                or not len(recording)
            ):
                raise ValueError(
                    "`recordings` must be arrays (samples,) of 16 bit samples: `load_recordings` returns them."
                )
        check_number("crop_samples", crop_samples, 1, _MOST_SAMPLES, is_whole=True)
        check_number("batch_size", batch_size, 1, is_whole=True)
        if crop_samples * batch_size > _MOST_SAMPLES:
            raise ValueError(
                f"`crop_samples` {crop_samples} times `batch_size` {batch_size} must be at most {_MOST_SAMPLES}: a batch has to "
                "fit into memory."
            )
        check_number("seed", seed, -(2**63), 2**63, is_whole=True)
        self.recordings = recordings
        self.weights = [len(recording) for recording in recordings]
        self.crop_samples = crop_samples
        self.batch_size = batch_size
        self.seed = seed
        self.process_index = process_index
        self.num_processes = num_processes

    def batch(self, number: int) -> torch.Tensor:
        """Batch `number` of this process, `(batch_size, crop_samples)` in float32."""
        crops = np.zeros((self.batch_size, self.crop_samples), np.int16)
        for crop, (index, start) in zip(crops, self._sample(number)):
            part = self.recordings[index][start : start + self.crop_samples]
            crop[: len(part)] = part
        return torch.from_numpy(crops).float() / 32767

    def _sample(self, number: int) -> list[tuple[int, int]]:
        """Recording and first sample of each crop."""
        generator = random.Random(f"{self.seed} {number * self.num_processes + self.process_index}")
        chosen = generator.choices(range(len(self.recordings)), weights=self.weights, k=self.batch_size)
        return [(index, generator.randint(0, max(0, self.weights[index] - self.crop_samples))) for index in chosen]
