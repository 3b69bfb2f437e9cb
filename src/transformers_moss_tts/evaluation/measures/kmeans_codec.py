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
"""A codec without a network: what every trained codec of its bit rate should be better than."""

from collections.abc import Iterable

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank


_BANDS, _WINDOW = 80, 1024
_SLOTS = 8  # mel spectra a frame
_COMPONENTS = 96
_MAX_FRAMES = 30_000
_ITERATIONS = 8
_SMALLEST = 1e-4


class KMeansCodec:
    """
    Residual k-means of the principal components of mel spectrograms, heard through Griffin-Lim (32 iterations, from librosa).

    Args:
        sampling_rate (`int`):
            Sampling rate, in Hz.
        frame_rate (`float`):
            Frames of codes a second.
        num_codebooks (`int`):
            Codebooks.
        codebook_size (`int`):
            Codes of each.
    """

    def __init__(self, sampling_rate: int, frame_rate: float, num_codebooks: int, codebook_size: int):
        self.hop = round(sampling_rate / frame_rate / _SLOTS)
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        filters = mel_filter_bank(_WINDOW // 2 + 1, _BANDS, 0.0, sampling_rate / 2, sampling_rate, "slaney", "slaney")
        self.filters = torch.from_numpy(filters.astype(np.float32))
        self.inverse = torch.linalg.pinv(self.filters)

    def fit(self, recordings: Iterable[np.ndarray], seed: int = 0) -> "KMeansCodec":
        """
        Learns components and codebooks.

        Args:
            recordings (`Iterable[np.ndarray]`):
                Waveforms `(samples,)` of other speech than what is coded later.
            seed (`int`, *optional*, defaults to 0):
                Seed of the random choices.

        Raises:
            ValueError: if they have fewer frames than a codebook has codes.
        """
        frames, count = [], 0
        for recording in recordings:
            frames.append(self._frames(recording))
            count += len(frames[-1])
            if count >= _MAX_FRAMES:
                break
        if count < self.codebook_size:
            raise ValueError(f"A k-means codec of {self.codebook_size} codes needs as many frames, got {count}.")
        vectors = torch.cat(frames)
        self.mean = vectors.mean(0)
        vectors = vectors - self.mean
        self.components = torch.linalg.eigh(vectors.t() @ vectors)[1].flip(1)[:, :_COMPONENTS]
        residual = vectors @ self.components
        generator = torch.Generator().manual_seed(seed)
        self.codebooks = []
        for _ in range(self.num_codebooks):
            self.codebooks.append(_k_means(residual, self.codebook_size, generator))
            residual = residual - _quantize(residual, self.codebooks[-1])
        return self

    def reconstruct(self, waveform: np.ndarray, num_codebooks: int) -> np.ndarray:
        """A waveform `(samples,)` as the first `num_codebooks` codebooks keep it, of the same length."""
        import librosa

        residual = (self._frames(waveform) - self.mean) @ self.components
        kept = torch.zeros_like(residual)
        for codebook in self.codebooks[:num_codebooks]:
            part = _quantize(residual, codebook)
            kept, residual = kept + part, residual - part
        levels = (kept @ self.components.t() + self.mean).reshape(-1, _BANDS)
        magnitudes = (10 ** (levels / 20) @ self.inverse).clamp(min=0).t().numpy()
        heard = librosa.griffinlim(magnitudes, n_iter=32, hop_length=self.hop, n_fft=_WINDOW, random_state=0)
        return librosa.util.fix_length(heard, size=len(waveform)).astype(np.float32)

    def _frames(self, waveform: np.ndarray) -> torch.Tensor:
        """Levels in dB of the mel bands of whole frames, `(frames, _SLOTS * _BANDS)`; the last frame is padded with silence."""
        samples = torch.from_numpy(np.asarray(waveform, dtype=np.float32))
        samples = torch.nn.functional.pad(samples, (0, max(_WINDOW, -len(samples) % (_SLOTS * self.hop))))
        window = torch.hann_window(_WINDOW)
        spectrum = torch.stft(samples, _WINDOW, self.hop, window=window, pad_mode="constant", return_complex=True)
        levels = 20 * (spectrum.abs().t() @ self.filters).clamp(min=_SMALLEST).log10()
        count = -(-len(waveform) // (_SLOTS * self.hop)) * _SLOTS
        levels = torch.nn.functional.pad(
            levels, (0, 0, 0, max(0, count - len(levels))), value=20 * np.log10(_SMALLEST)
        )
        return levels[:count].reshape(-1, _SLOTS * _BANDS)


def _nearest(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    return (vectors @ codebook.t() - codebook.pow(2).sum(1) / 2).argmax(1)


def _quantize(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    return codebook[_nearest(vectors, codebook)]


def _k_means(vectors: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    codebook = vectors[torch.randperm(len(vectors), generator=generator)[:size]].clone()
    for _ in range(_ITERATIONS):
        codes = _nearest(vectors, codebook)
        counts = torch.bincount(codes, minlength=size)[:, None]
        sums = torch.zeros_like(codebook).index_add_(0, codes, vectors)
        others = vectors[torch.randint(len(vectors), (size,), generator=generator)]
        codebook = torch.where(counts > 0, sums / counts.clamp(min=1), others)
    return codebook


__all__ = ["KMeansCodec"]
