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
"""Sampling of many channels at once: repetition penalty, temperature, top-k, top-p, multinomial, in this order."""

import torch


def sample_tokens(
    logits: torch.Tensor,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> torch.LongTensor:
    """
    Draws one token from each row of `logits`, shape `(..., num_tokens)`, returned with shape `(...)`.

    Args:
        temperature (`float`): 0 takes the best token.
        top_k (`int`, *optional*): keep the best `top_k` tokens; `None` or 0 keeps all.
        top_p (`float`, *optional*): of those, keep the best until their probabilities exceed `top_p`, the one that
            crosses it included; `None` or 1 keeps all.
        generator (`torch.Generator`, *optional*): source of randomness.
    """
    if temperature == 0:
        return logits.argmax(-1)
    num_kept = min(top_k or logits.shape[-1], logits.shape[-1])
    scores, tokens = (logits.float() / temperature).topk(num_kept)
    probabilities = scores.softmax(-1)
    if top_p is not None and top_p < 1:
        before = probabilities.cumsum(-1)[..., :-1]
        scores = torch.cat([scores[..., :1], scores[..., 1:].masked_fill(before > top_p, float("-inf"))], dim=-1)
        probabilities = scores.softmax(-1)
    choice = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)
    return tokens.gather(-1, choice.view(*logits.shape[:-1], 1)).squeeze(-1)


class CodeHistory:
    """
    Which codes each row has seen, for the repetition penalty. Codebooks of one group share what they have seen.

    Args:
        codes (`torch.LongTensor` of shape `(batch_size, length, n_vq)`): the history so far.
        num_codes (`int`): rows of a codebook, the pad code included.
        groups (`list[int]` of length `n_vq`): the group of each codebook.
    """

    def __init__(self, codes: torch.LongTensor, num_codes: int, groups: list[int]):
        self.groups = torch.tensor(groups, device=codes.device)
        self.num_codes = num_codes
        self.seen = torch.zeros(codes.shape[0], (max(groups) + 1) * num_codes, dtype=torch.bool, device=codes.device)
        self.add(codes.flatten(1), self.groups.repeat(codes.shape[1]))

    def add(self, codes: torch.LongTensor, groups: torch.LongTensor | None = None) -> None:
        """Remembers codes of shape `(batch_size, n_vq)`."""
        groups = self.groups if groups is None else groups
        self.seen.scatter_(1, groups * self.num_codes + codes, True)

    def penalize(self, logits: torch.Tensor, penalty: float, codebooks: slice = slice(None)) -> torch.Tensor:
        """
        Divides positive and multiplies negative scores `(batch_size, codebooks, num_codes)` of seen codes by `penalty`.
        """
        seen = self.seen.unflatten(1, (-1, self.num_codes))[:, self.groups[codebooks], : logits.shape[-1]]
        return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
