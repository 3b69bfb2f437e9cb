"""
What the encoder of the family's codec is to compute: levels of mel bands and the slow part of the waveform, which together say what is
heard in few bits.

The latents of an autoencoder are spread over all their dimensions, and codebooks lose the words with them. Levels of neighbouring
bands and patches go together, so that few components hold them; the components of the waveform below 300 Hz hold the pitch and its
phase, which levels do not. Codebooks are k-means of these latents, the decoder learns to speak from them, and the encoder to compute
them, each by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.signal import lfilter
from torch import nn
from transformers.audio_utils import mel_filter_bank

from .corpus import RATE


PATCH, PATCHES_A_FRAME = 240, 8
FRAME = PATCH * PATCHES_A_FRAME
NUM_BANDS, FFT_SIZE, QUIETEST = 80, 1024, 1e-3
# Samples over which a window rises and falls. It is highest in the middle of its patch and ends with it: an encoder sees no more.
RISE, FALL = 400, 120
NUM_LEVELS, NUM_WAVE = 64, 32
LATENT = NUM_LEVELS + NUM_WAVE
# The waveform goes through a leaky integrator, which leaves the fundamental above its harmonics: F0 of the part of the waveform is then
# right in 90 % of the voiced frames of held-out voices with four codebooks of 1024 and 92 % with eight, without it in 67 and 74 %
# (in 36 and 44 % of those of a low voice), at the same error of the levels.
LEAK = 0.98
# Root mean square length of the part of the waveform over that of the levels: half of it costs a fifth of the right F0 with few
# codebooks, and leaves a tenth less of the levels over.
WAVE_SHARE = 0.6
# Loud frames would otherwise take all bits of the waveform.
LOUDNESS_EXPONENT = 0.5
_MOST_FRAMES = 40_000


@dataclass
class SpectralLatents:
    """
    Latents `(frames, 96)` of a waveform, of root mean square 1.

    Args:
        mean (`torch.Tensor` of shape `(640,)`): mean levels of a frame's patches and bands, in dB.
        levels (`torch.Tensor` of shape `(640, 64)`): principal components of the levels.
        wave (`torch.Tensor` of shape `(1920, 32)`): principal components of the integrated samples of a frame.
        scales (`torch.Tensor` of shape `(2,)`): factors of the two parts.
    """

    mean: torch.Tensor
    levels: torch.Tensor
    wave: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def fit(cls, recordings: Sequence[np.ndarray], seed: int = 0) -> "SpectralLatents":
        """The components of a random choice of recordings of 16 bit samples `(samples,)` at 24 kHz."""
        frames, count = [], 0
        for index in np.random.default_rng(seed).permutation(len(recordings)):
            waveform = whole_frames(recordings[index])
            frames.append(
                (mel_levels(waveform).view(-1, PATCHES_A_FRAME * NUM_BANDS), integrated(waveform).view(-1, FRAME))
            )
            count += len(frames[-1][0])
            if count >= _MOST_FRAMES:
                break
        levels, samples = (torch.cat(parts) for parts in zip(*frames))
        mean = levels.mean(0)
        latents = cls(mean, _components(levels - mean, NUM_LEVELS), _components(samples, NUM_WAVE), torch.ones(2))
        parts = latents.of_frames(levels, samples).split((NUM_WAVE, NUM_LEVELS), dim=-1)
        wave, level = (part.pow(2).sum(-1).mean().sqrt() for part in parts)
        latents.scales = (LATENT / (1 + WAVE_SHARE**2)) ** 0.5 * torch.stack([WAVE_SHARE / wave, 1 / level])
        return latents

    def of_frames(self, levels: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Latents of the levels `(..., 640)` and integrated samples `(..., 1920)` of frames."""
        wave = samples @ self.wave
        loudness = wave.norm(dim=-1, keepdim=True).clamp(min=QUIETEST)
        wave = wave * loudness ** (LOUDNESS_EXPONENT - 1)
        return torch.cat([wave * self.scales[0], (levels - self.mean) @ self.levels * self.scales[1]], dim=-1)

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Latents `(batch_size, frames, 96)` of waveforms `(batch_size, samples)` of whole frames."""
        levels = mel_levels(waveforms)
        shape = (waveforms.shape[0], -1)
        frames = integrated(waveforms).reshape(*shape, FRAME)
        return self.of_frames(levels.reshape(*shape, PATCHES_A_FRAME * NUM_BANDS), frames)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(asdict(self), path)

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> "SpectralLatents":
        return cls(**load_file(path, str(device)))


class SpectralEncoder(nn.ModuleList):
    """The modules of a codec's encoder, in whose place the latents are computed until they have learned to."""

    def __init__(self, encoder: nn.ModuleList, latents: SpectralLatents):
        super().__init__(encoder)
        self.latents = latents

    def __iter__(self) -> Iterator[Any]:
        yield self._compute

    @torch.no_grad()
    def _compute(self, samples: torch.Tensor, *args) -> torch.Tensor:
        """Latents of samples `(batch_size, samples, 1)`."""
        return self.latents(samples[..., 0])


def integrated(waveforms: torch.Tensor) -> torch.Tensor:
    """Waveforms `(..., samples)` through the leaky integrator."""
    if waveforms.is_cuda:
        return convolved(waveforms)
    return torch.from_numpy(lfilter([1 - LEAK], [1, -LEAK], waveforms.numpy())).to(waveforms)


def convolved(waveforms: torch.Tensor) -> torch.Tensor:
    """The same where recursion is slow: beyond so many samples nothing is left in single precision."""
    kernel = (1 - LEAK) * LEAK ** torch.arange(1023, -1, -1, device=waveforms.device)
    padded = nn.functional.pad(waveforms, (len(kernel) - 1, 0))
    return nn.functional.conv1d(padded.flatten(0, -2)[:, None], kernel[None, None]).view(waveforms.shape)


def mel_levels(waveforms: torch.Tensor) -> torch.Tensor:
    """Levels in dB of 80 mel bands for each patch of 10 ms, `(..., patches, 80)`, of waveforms `(..., samples)`."""
    rise, fall = torch.hann_window(2 * RISE)[:RISE], torch.hann_window(2 * FALL)[FALL:]
    window = torch.cat([rise, fall]).to(waveforms.device)
    pieces = nn.functional.pad(waveforms, (len(window) - PATCH, 0)).unfold(-1, len(window), PATCH)
    spectrum = torch.fft.rfft(pieces * window, FFT_SIZE).abs()
    return 20 * (spectrum @ _filters(waveforms.device)).clamp(min=QUIETEST).log10()


@cache
def _filters(device: torch.device) -> torch.Tensor:
    bank = mel_filter_bank(FFT_SIZE // 2 + 1, NUM_BANDS, 0.0, RATE / 2, RATE, "slaney", "slaney")
    return torch.from_numpy(bank).float().to(device)


def whole_frames(recording: np.ndarray) -> torch.Tensor:
    """The waveform `(samples,)` of the whole frames of a recording of 16 bit samples."""
    waveform = torch.from_numpy(recording.astype(np.float32) / 32767)
    return waveform[: len(waveform) // FRAME * FRAME]


def _components(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """The first principal components of vectors, `(features, count)`."""
    _, columns = torch.linalg.eigh((vectors.t() @ vectors).double())
    return columns.flip(1)[:, :count].float().contiguous()
