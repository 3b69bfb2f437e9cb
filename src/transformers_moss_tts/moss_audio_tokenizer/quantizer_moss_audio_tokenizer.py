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
"""The residual quantizer of MossAudioTokenizer."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig


def _projection(d_in: int, d_out: int) -> nn.Module:
    return nn.Identity() if d_in == d_out else NormalizedProjection(d_in, d_out)


class NormalizedProjection(nn.Conv1d):
    """A 1x1 convolution with weight normalization, which can be pickled: torch's parametrized modules cannot."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__(d_in, d_out, kernel_size=1, dtype=torch.float32)
        # This gives the object a class of its own, derived from this one.
        weight_norm(self)

    def __reduce_ex__(self, protocol: int):
        # The new object has the hooks of its own.
        state = {name: value for name, value in self.__dict__.items() if name != "_load_state_dict_pre_hooks"}
        return NormalizedProjection, (self.in_channels, self.out_channels), state


class MossAudioTokenizerLFQ(nn.Module):
    """One codebook: the nearest entry by cosine, in a space of few dimensions."""

    def __init__(self, input_dim: int, codebook_size: int, codebook_dim: int):
        super().__init__()
        self.in_proj = _projection(input_dim, codebook_dim)
        self.out_proj = _projection(codebook_dim, input_dim)
        self.codebook = nn.Embedding(codebook_size, codebook_dim, dtype=torch.float32)

    def forward(self, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Returns, for a residual `(batch, features, frames)`, its quantized part (same shape, with the gradient of the
        residual), the codes `(batch, frames)` and the commitment and codebook losses a frame `(batch, frames)`.
        """
        latents = self.in_proj(residual)
        codes = self.nearest(latents)
        chosen = self.lookup(codes)
        commitment = (latents - chosen.detach()).pow(2).mean(1)
        codebook = (chosen - latents.detach()).pow(2).mean(1)
        # Straight through; also in evaluation, where its rounding is the reference's.
        quantized = self.out_proj(latents + (chosen - latents).detach())
        return quantized, codes, commitment, codebook

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """Codes `(batch, frames)` of latents `(batch, codebook_dim, frames)`."""
        vectors = nn.functional.normalize(latents.transpose(1, 2).flatten(0, 1))
        entries = nn.functional.normalize(self.codebook.weight)
        distances = vectors.pow(2).sum(1, keepdim=True) - 2 * vectors @ entries.t() + entries.pow(2).sum(1)
        return distances.argmin(1).view(latents.shape[0], -1)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """Entries of the codebook, `(batch, codebook_dim, frames)`."""
        return self.codebook(codes).transpose(1, 2)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """What the codes `(batch, frames)` add to the sum over codebooks, `(batch, features, frames)`."""
        return self.out_proj(self.lookup(codes))


class MossAudioTokenizerResidualLFQ(nn.Module):
    """Residual quantizer: every codebook codes what the ones before left over. Always float32."""

    def __init__(self, config: MossAudioTokenizerConfig):
        super().__init__()
        kwargs = config.quantizer_kwargs
        width = kwargs["rvq_dim"]
        self.dropout = config.quantizer_dropout
        self.input_proj = _projection(kwargs["input_dim"], width)
        self.output_proj = _projection(width, kwargs["output_dim"])
        self.quantizers = nn.ModuleList(
            MossAudioTokenizerLFQ(width, kwargs["codebook_size"], kwargs["codebook_dim"])
            for _ in range(kwargs["num_quantizers"])
        )

    def _apply(self, fn, recurse: bool = True):
        # `model.half()` and `model.to(torch.bfloat16)` move the quantizer but leave it in float32.
        def keep_dtype(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    def forward(
        self, hidden_states: torch.Tensor, frame_lengths: torch.Tensor, num_quantizers: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(batch_size, input_dim, frames)`)
            frame_lengths (`torch.LongTensor` of shape `(batch_size,)`): frames of audio; the residual is zero past them.

        Returns:
            The quantized states `(batch_size, output_dim, frames)`, the codes `(num_quantizers, batch_size, frames)`
            and the commitment and codebook losses.
        """
        with torch.autocast(hidden_states.device.type, enabled=False):
            residual = self.input_proj(hidden_states.float())
            is_audio = torch.arange(residual.shape[2], device=residual.device) < frame_lengths[:, None]
            kept = self._sample_codebook_counts(residual, num_quantizers)
            quantized = torch.zeros_like(residual)
            codes, commitment, codebook = [], 0.0, 0.0
            for index, quantizer in enumerate(self.quantizers[:num_quantizers]):
                part, part_codes, part_commitment, part_codebook = quantizer(residual * is_audio[:, None])
                part = part * is_audio[:, None]
                residual = residual - part
                codes.append(part_codes)
                is_kept = is_audio & (index < kept)[:, None]
                quantized = quantized + part * is_kept[:, None]
                if self.training:
                    commitment = commitment + (part_commitment * is_kept).sum() / is_audio.sum()
                    codebook = codebook + (part_codebook * is_kept).sum() / is_audio.sum()
            return self.output_proj(quantized), torch.stack(codes), commitment, codebook

    def _sample_codebook_counts(self, residual: torch.Tensor, num_quantizers: int) -> torch.Tensor:
        counts = torch.full((residual.shape[0],), num_quantizers, device=residual.device)
        if not self.training or self.dropout == 0:
            return counts
        sampled = torch.randint(1, num_quantizers + 1, counts.shape, device=residual.device)
        dropped = torch.rand(counts.shape, device=residual.device) < self.dropout
        return torch.where(dropped, sampled, counts)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Quantized states `(batch_size, output_dim, frames)` of codes `(num_quantizers, batch_size, frames)`."""
        with torch.autocast(codes.device.type, enabled=False):
            quantizers = self.quantizers[: len(codes)]
            if all(type(quantizer.out_proj).__base__ is NormalizedProjection for quantizer in quantizers):
                return self.output_proj(self._decode_at_once(quantizers, codes))
            return self.output_proj(sum(quantizer.decode(part) for quantizer, part in zip(quantizers, codes)))

    @staticmethod
    def _decode_at_once(quantizers: nn.ModuleList, codes: torch.Tensor) -> torch.Tensor:
        """The sum of what all codebooks add, as one product: for a frame, the calls of many small ones take the time."""
        chosen = [quantizer.codebook(part) for quantizer, part in zip(quantizers, codes)]
        weights = [quantizer.out_proj.parametrizations.weight for quantizer in quantizers]
        magnitude = torch.stack([weight.original0[..., 0] for weight in weights])
        direction = torch.stack([weight.original1[..., 0] for weight in weights])
        # Of shape (codebooks, width, codebook_dim).
        weight = direction * (magnitude / direction.norm(dim=2, keepdim=True))
        bias = torch.stack([quantizer.out_proj.bias for quantizer in quantizers]).sum(0)
        return nn.functional.linear(torch.cat(chosen, dim=-1), weight.transpose(0, 1).flatten(1), bias).transpose(1, 2)


__all__ = ["MossAudioTokenizerResidualLFQ"]
