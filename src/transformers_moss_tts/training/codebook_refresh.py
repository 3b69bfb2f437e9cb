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
from collections.abc import Iterator

import torch

from ..moss_audio_tokenizer import MossAudioTokenizerModel


# Steps without being chosen of a row that has not met the data yet.
_NEVER = -1


class CodebookRefresher:
    """
    Moves rows of the codebooks that nothing has chosen for a while to vectors of the current batch. Without it the first
    codebooks of a fresh codec use a handful of their rows (random restarts, arXiv 2005.00341). The very first batch fills all
    rows, so that codebooks begin where the data is.

    Use `observe()` around the forward pass and call `refresh()` after the optimizer's step.

    Args:
        model ([`MossAudioTokenizerModel`]): the codec.
        patience (`int`): steps without being chosen after which a row is dead.
    """

    def __init__(self, model: MossAudioTokenizerModel, patience: int):
        self.quantizers = model.quantizer.quantizers
        self.patience = patience
        device = model.device
        size = model.config.codebook_size
        self.idle = torch.full((len(self.quantizers), size), _NEVER, device=device)
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
    def _keep(self, index: int, module, args, output) -> None:
        vectors = module.in_proj(args[0].detach()).transpose(1, 2).flatten(0, 1)
        self._seen[index] = (vectors, output[1].flatten())

    @torch.no_grad()
    def refresh(self) -> int:
        """Moves the dead rows and returns how many they were."""
        moved = 0
        for index, (quantizer, seen) in enumerate(zip(self.quantizers, self._seen)):
            if seen is None:
                continue
            vectors, codes = seen
            is_dead = self.idle[index] == _NEVER
            self.idle[index] += 1
            self.idle[index, codes] = 0
            dead = (is_dead | (self.idle[index] > self.patience)).nonzero().flatten()
            if len(dead) == 0:
                continue
            chosen = torch.randint(len(vectors), (len(dead),), device=vectors.device)
            quantizer.codebook.weight[dead] = vectors[chosen]
            self.idle[index, dead] = 0
            moved += len(dead)
        return moved

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"idle": self.idle}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.idle.copy_(state["idle"])
