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
"""A start for codecs from the principal components of recordings, instead of random weights."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ...moss_audio_tokenizer import MossAudioTokenizerModel
from ...moss_audio_tokenizer.modeling_moss_audio_tokenizer import interleave_channels
from ...moss_audio_tokenizer.quantizer_moss_audio_tokenizer import MossAudioTokenizerLFQ


_MAX_FRAMES = 20_000
_MAX_LATENTS = 60_000
# Length of the constant dimension of a codebook over the root mean square length of its vectors: the nearest code by cosine is
# then all but always the nearest code by distance.
_CONSTANT = 10.0


@torch.no_grad()
def initialize_linear(model: MossAudioTokenizerModel, recordings: Sequence[np.ndarray], seed: int = 0) -> list[float]:
    """
    Makes a codec a linear low-pass codec, which has the pitch of the recordings before any training: each projection of the
    encoder becomes the principal components of what reaches it, the mirrored projection of the decoder their transpose.

    A random start learns magnitudes first, and with them a wave form that repeats with every patch. From there a spectral loss
    has no gradient that leads to the right pitch. The Transformer layers between the projections keep their random weights, so
    their `layer_scale` should be small: .05 or less.

    Args:
        model ([`MossAudioTokenizerModel`]):
            Codec whose decoder has the stages of the encoder in opposite order, of any widths. The outer projections of the
            quantizer are initialized too; its codebooks are not, see [`initialize_codebooks`].
        recordings (`Sequence[np.ndarray]`):
            Recordings of 16 bit samples at the codec's sampling rate, of shape `(samples,)` or `(channels, samples)`. Some
            minutes are enough.
        seed (`int`, *optional*, defaults to 0):
            Seed of the random choice of frames.

    Returns:
        `list[float]`: share of the energy that remains after each stage of the encoder and after the quantizer's projection.

    Raises:
        ValueError: if encoder and decoder do not mirror each other, or no recording is as long as a frame.
    """
    config = model.config
    encoder, decoder = config.encoder_kwargs or [], config.decoder_kwargs or []
    stages = list(zip(encoder, reversed(decoder), strict=False))
    if len(encoder) != len(decoder) or any(_interface(one) != _interface(other)[::-1] for one, other in stages):
        raise ValueError(
            "A linear start needs a decoder that mirrors the encoder. The encoder's stages are "
            f"{[_interface(stage) for stage in encoder]}, the decoder's from the end are "
            f"{[_interface(stage)[::-1] for stage in reversed(decoder)]}."
        )
    vectors = _sample_frames(model, recordings, seed)
    energies = [vectors.pow(2).sum()]
    pairs: Iterable[tuple[Any, Any]] = zip(model.encoder, reversed(model.decoder))
    for encoder_module, decoder_module in pairs:
        if hasattr(encoder_module, "patch_size"):
            vectors = encoder_module(vectors)
            continue
        encoder_pair = (encoder_module.input_proj, encoder_module.output_proj)
        decoder_pair = (decoder_module.input_proj, decoder_module.output_proj)
        vectors = _set_principal(vectors, encoder_pair, decoder_pair)
        energies.append(vectors.pow(2).sum())
    quantizer = model.quantizer
    if isinstance(quantizer.input_proj, nn.Conv1d):
        components = _principal_components(vectors.flatten(0, 1), quantizer.input_proj.out_channels)
        _set_convolution(quantizer.input_proj, components)
        _set_convolution(quantizer.output_proj, components.t())
        vectors = vectors @ components.t()
    energies.append(vectors.pow(2).sum())
    return [float(energy / energies[0]) for energy in energies[1:]]


@torch.no_grad()
def initialize_codebooks(
    model: MossAudioTokenizerModel,
    recordings: Sequence[np.ndarray],
    iterations: int = 10,
    seed: int = 0,
    dimensions: Sequence[slice] | None = None,
) -> list[float]:
    """
    Sets the codebooks by residual k-means of the encoder's latents.

    The quantizer of the architecture compares directions. Where a codebook has projections of its own (`codebook_dim` differs
    from `rvq_dim`), `codebook_dim - 1` of its dimensions become the principal components of what the codebooks before leave
    over, and the last one is a constant much longer than these, which the projection back ignores. The nearest code by cosine is
    then the nearest by distance, which costs no bits on the length of a vector. A `codebook_dim` of 33 to `rvq_dim + 1` is a
    good choice. Without projections of their own the codebooks are k-means by cosine.

    Args:
        model ([`MossAudioTokenizerModel`]):
            Codec with a trained encoder.
        recordings (`Sequence[np.ndarray]`):
            Recordings of 16 bit samples at the codec's sampling rate, of shape `(samples,)` or `(channels, samples)`. An hour
            or more, with at least `codebook_size` frames.
        iterations (`int`, *optional*, defaults to 10):
            Iterations of k-means for each codebook.
        seed (`int`, *optional*, defaults to 0):
            Seed of the random choices.
        dimensions (`Sequence[slice]`, *optional*):
            Dimensions of the latents that each codebook codes, all of them by default. Where parts of the latents know
            nothing of each other, codebooks of one part leave less over than codebooks of all. It needs codebooks with
            projections of their own.

    Returns:
        `list[float]`: share of the latents' energy that is left over after each codebook.

    Raises:
        ValueError: if the recordings have fewer frames than a codebook has codes, or `dimensions` are not as many as the
            codebooks or given for codebooks without projections.
    """
    quantizers = cast(Sequence[MossAudioTokenizerLFQ], model.quantizer.quantizers)
    parts = _parts_of(quantizers, dimensions)
    generator = torch.Generator().manual_seed(seed)
    residual = _latents_of(model, recordings, generator)
    if len(residual) < model.config.codebook_size:
        raise ValueError(
            f"The recordings have {len(residual)} frames, but a codebook has {model.config.codebook_size} codes. Give more "
            "recordings."
        )
    energy, left = residual.pow(2).sum(), []
    for quantizer, part in zip(quantizers, parts):
        _set_codebook_projections(quantizer, residual, part)
        columns = residual.t()[None]
        latents = quantizer.in_proj(columns)
        _set_k_means(quantizer, latents, iterations, generator)
        residual = residual - quantizer.decode(quantizer.nearest(latents))[0].t()
        left.append(float(residual.pow(2).sum() / energy))
    return left


def _interface(stage: dict) -> tuple[int, int]:
    if "patch_size" in stage:
        return stage["patch_size"], stage["patch_size"]
    return stage["input_dimension"], stage["output_dimension"]


def _waveform(model: MossAudioTokenizerModel, recording: np.ndarray) -> torch.Tensor:
    """A recording as a waveform `(1, channels, samples)`."""
    waveform = torch.from_numpy(np.atleast_2d(recording).astype(np.float32) / 32767)
    return waveform.expand(model.config.num_channels, -1)[None].to(model.device)


def _sample_frames(model: MossAudioTokenizerModel, recordings: Sequence[np.ndarray], seed: int) -> torch.Tensor:
    """Random frames of the recordings, `(frames, samples * channels, 1)`."""
    frame = model.config.downsample_rate
    long_enough = [recording for recording in recordings if recording.shape[-1] >= frame]
    if not long_enough:
        raise ValueError(f"None of the {len(recordings)} recordings is as long as one frame, {frame} samples.")
    generator = np.random.default_rng(seed)
    lengths = np.array([recording.shape[-1] for recording in long_enough], dtype=float)
    count = min(_MAX_FRAMES, int(lengths.sum()) // frame)
    frames = []
    for index in generator.choice(len(long_enough), size=count, p=lengths / lengths.sum()):
        start = generator.integers(long_enough[index].shape[-1] - frame + 1)
        frames.append(_waveform(model, long_enough[index][..., start : start + frame]))
    return interleave_channels(torch.cat(frames)).to(model.dtype)[..., None]


def _principal_components(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """
    The first principal components of vectors `(vectors, features)`, without subtraction of their mean, `(count, features)`,
    zero where there are fewer features.
    """
    vectors = vectors.double()
    _, columns = torch.linalg.eigh(vectors.t() @ vectors)
    components = columns.flip(1).t()[:count].float()
    return nn.functional.pad(components, (0, 0, 0, count - len(components)))


def _set_principal(
    vectors: torch.Tensor, encoder_pair: tuple[nn.Module, nn.Module], decoder_pair: tuple[nn.Module, nn.Module]
) -> torch.Tensor:
    """
    Sets the two projections of a stage of the encoder and of its mirror, of which any can be missing, and returns what the
    encoder's make of `vectors`.
    """
    features = vectors.shape[-1]
    flat = vectors.flatten(0, 1)
    (first, last), (mirrored_last, mirrored_first) = encoder_pair, decoder_pair
    is_fixed = any(
        isinstance(one, nn.Identity) and isinstance(other, nn.Identity) for one, other in (encoder_pair, decoder_pair)
    )
    most = max(getattr(layer, "out_features", features) for layer in (first, last))
    most = max(most, features, getattr(mirrored_first, "in_features", features))
    basis = torch.eye(most, features) if is_fixed else _principal_components(flat, most)
    basis = basis.to(vectors)
    if isinstance(first, nn.Identity):
        _set_linear(last, basis)
    else:
        _set_linear(first, basis)
        _set_linear(last, torch.eye(most).to(vectors))
    if isinstance(mirrored_first, nn.Identity):
        _set_linear(mirrored_last, basis.t())
    else:
        _set_linear(mirrored_last, torch.eye(most).to(vectors))
        _set_linear(mirrored_first, basis.t())
    return last(first(vectors))


def _set_linear(layer: Any, weight: torch.Tensor) -> None:
    """Sets a linear layer to the upper left part of a matrix, which is zero beyond its end."""
    if isinstance(layer, nn.Identity):
        return
    outputs, inputs = layer.weight.shape
    part = weight[:outputs, :inputs]
    layer.weight.copy_(nn.functional.pad(part, (0, inputs - part.shape[1], 0, outputs - part.shape[0])))


def _set_convolution(layer: Any, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Sets a weight-normalized convolution of width 1. Outputs of zero weights get a direction, so that they can be trained."""
    norms = weight.norm(dim=1, keepdim=True)
    directions = torch.where(norms > 0, weight, torch.ones_like(weight))
    layer.parametrizations.weight.original0.copy_(norms[..., None])
    layer.parametrizations.weight.original1.copy_(directions[..., None])
    layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)


def _latents_of(
    model: MossAudioTokenizerModel, recordings: Sequence[np.ndarray], generator: torch.Generator
) -> torch.Tensor:
    """Latents that the quantizer codes, `(frames, rvq_dim)`, of a random choice of the recordings."""
    is_training = model.training
    model.eval()
    latents, count = [], 0
    for index in torch.randperm(len(recordings), generator=generator).tolist():
        if recordings[index].shape[-1] < model.config.downsample_rate:
            continue
        encoded = model.encode(_waveform(model, recordings[index]), num_quantizers=1)
        states = encoded.encoder_hidden_states[..., : encoded.audio_codes_lengths[0]].float()
        latents.append(model.quantizer.input_proj(states)[0].t())
        count += len(latents[-1])
        if count >= _MAX_LATENTS:
            break
    model.train(is_training)
    return torch.cat(latents) if latents else torch.zeros(0, 1)


def _parts_of(quantizers: Sequence[MossAudioTokenizerLFQ], dimensions: Sequence[slice] | None) -> Sequence[slice]:
    if dimensions is None:
        return [slice(None)] * len(quantizers)
    if len(dimensions) != len(quantizers):
        raise ValueError(f"Got `dimensions` of {len(dimensions)} codebooks, but the codec has {len(quantizers)}.")
    if any(isinstance(quantizer.in_proj, nn.Identity) for quantizer in quantizers):
        raise ValueError("`dimensions` need codebooks with projections: `codebook_dim` must differ from `rvq_dim`.")
    return dimensions


def _set_codebook_projections(quantizer: MossAudioTokenizerLFQ, residual: torch.Tensor, part: slice) -> None:
    if isinstance(quantizer.in_proj, nn.Identity):
        return
    codebook_dim = quantizer.codebook.embedding_dim
    components = torch.zeros(codebook_dim - 1, residual.shape[1]).to(residual)
    components[:, part] = _principal_components(residual[:, part], codebook_dim - 1).to(residual)
    constant = _CONSTANT * math.sqrt(float(residual.pow(2).sum(1).mean()))
    inward = nn.functional.pad(components, (0, 0, 0, 1))
    bias = torch.zeros(codebook_dim, device=residual.device)
    bias[-1] = max(constant, 1e-3)
    _set_convolution(quantizer.in_proj, inward, bias)
    _set_convolution(quantizer.out_proj, inward.t())


def _set_k_means(
    quantizer: MossAudioTokenizerLFQ, latents: torch.Tensor, iterations: int, generator: torch.Generator
) -> None:
    """Sets a codebook to the centres of latents `(1, codebook_dim, frames)`."""
    vectors, entries = latents[0].t(), quantizer.codebook.weight
    size = len(entries)
    entries.copy_(vectors[torch.randperm(len(vectors), generator=generator)[:size]])
    for _ in range(iterations):
        codes = quantizer.nearest(latents)[0]
        counts = torch.bincount(codes, minlength=size)
        sums = torch.zeros_like(entries).index_add_(0, codes, vectors)
        others = vectors[torch.randint(len(vectors), (size,), generator=generator)]
        entries.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], others))


__all__ = ["initialize_codebooks", "initialize_linear"]
