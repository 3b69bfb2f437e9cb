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
"""Keeps the codebooks of a codec in training alive."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import nn

from ...moss_audio_tokenizer import MossAudioTokenizerModel
from ...moss_audio_tokenizer.quantizer_moss_audio_tokenizer import MossAudioTokenizerLFQ


# Idle steps of an entry that has not met the data yet.
_NEVER = -1
# Number of vectors that an entry counts for when it is placed on one, and number below which it is dead.
_PLACED, _DEAD = 0.1, 0.03


class _CodebookObserver:
    """Sees which vectors chose which entries."""

    def __init__(self, model: MossAudioTokenizerModel):
        self.quantizers = cast(Sequence[MossAudioTokenizerLFQ], model.quantizer.quantizers)
        self._seen: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(self.quantizers)

    @contextlib.contextmanager
    def observe(self) -> Iterator[None]:
        """Notes the codes and vectors of a forward pass."""
        handles = [
            quantizer.register_forward_hook(functools.partial(self._keep, index))
            for index, quantizer in enumerate(self.quantizers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _keep(self, index: int, module: MossAudioTokenizerLFQ, args, output) -> None:
        vectors = module.in_proj(args[0].detach()).transpose(1, 2).flatten(0, 1)
        self._seen[index] = (vectors, output[1].flatten())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """State that a run goes on from."""
        raise NotImplementedError

    def tensors(self) -> list[torch.Tensor]:
        """State that has to be equal in all processes."""
        return [quantizer.codebook.weight.data for quantizer in self.quantizers] + list(self.state_dict().values())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


class CodebookRefresher(_CodebookObserver):
    """
    Moves entries of the codebooks that nothing has chosen for a while to vectors of the current batch. Without it the first
    codebooks of a fresh codec use a handful of their entries (random restarts, arXiv 2005.00341). The very first batch fills
    all entries, so that codebooks begin where the data is.

    Use `observe()` around the forward pass and call `refresh()` after the optimizer's step.

    Args:
        model ([`MossAudioTokenizerModel`]): the codec.
        patience (`int`): steps without being chosen after which an entry is dead.
    """

    def __init__(self, model: MossAudioTokenizerModel, patience: int):
        super().__init__(model)
        self.patience = patience
        self.idle = torch.full((len(self.quantizers), model.config.codebook_size), _NEVER, device=model.device)

    @torch.no_grad()
    def refresh(self) -> int:
        """Moves the dead entries and returns their number."""
        moved = 0
        for idle, quantizer, seen in zip(self.idle, self.quantizers, self._seen):
            if seen is None:
                continue
            vectors, codes = seen
            is_dead = idle == _NEVER
            idle += 1
            idle[codes] = 0
            dead = (is_dead | (idle > self.patience)).nonzero().flatten()
            quantizer.codebook.weight[dead] = _sample(vectors, len(dead))
            idle[dead] = 0
            moved += len(dead)
        return moved

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"idle": self.idle}


class CodebookAverager(_CodebookObserver):
    """
    Makes every entry of a codebook the moving average of the vectors that chose it, which is online k-means (VQ-VAE, arXiv
    1711.00937, appendix A.1) and takes the place of the codebook loss: the codebooks get no gradient. Entries that hardly
    anything chooses any more are placed on vectors of the current batch.

    Use `observe()` around the forward pass and call `refresh()` after the optimizer's step.

    Args:
        model ([`MossAudioTokenizerModel`]): the codec.
        decay (`float`): share of the past that is kept at every step.
        reduce (`Callable`): sums a tensor over the processes.
    """

    def __init__(
        self,
        model: MossAudioTokenizerModel,
        decay: float,
        reduce: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
    ):
        super().__init__(model)
        self.decay = decay
        self.reduce = reduce
        weights = torch.stack([quantizer.codebook.weight.detach() for quantizer in self.quantizers])
        self.counts = torch.full(weights.shape[:2], _PLACED, device=model.device)
        self.sums = _PLACED * weights
        for quantizer in self.quantizers:
            quantizer.codebook.weight.requires_grad_(False)

    @torch.no_grad()
    def refresh(self) -> int:
        """Moves all entries and returns how many of them were dead."""
        moved = 0
        for counts, sums, quantizer, seen in zip(self.counts, self.sums, self.quantizers, self._seen):
            if seen is None:
                continue
            vectors, codes = seen
            chosen = nn.functional.one_hot(codes, len(counts)).to(vectors.dtype)
            counts.lerp_(self.reduce(chosen.sum(0)), 1 - self.decay)
            sums.lerp_(self.reduce(chosen.t() @ vectors), 1 - self.decay)
            dead = (counts < _DEAD).nonzero().flatten()
            counts[dead] = _PLACED
            sums[dead] = _PLACED * _sample(vectors, len(dead))
            quantizer.codebook.weight.copy_(sums / counts[:, None])
            moved += len(dead)
        return moved

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"counts": self.counts, "sums": self.sums}


def _sample(vectors: torch.Tensor, count: int) -> torch.Tensor:
    return vectors[torch.randint(len(vectors), (count,), device=vectors.device)]
