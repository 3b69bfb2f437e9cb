"""Which phonemes a frame holds: a head that has to read them, and what generators pay for what it cannot read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn


# Each with `symbol`, `start` and `end` in seconds.
Phonemes = Sequence[Mapping[str, Any]]

SLOTS_A_FRAME = 8
UNKNOWN, SILENCE = -1, 0
# Seconds: a shorter gap between phonemes is transition, not silence.
_SHORTEST_PAUSE = 0.1
# How much the slots of a frame count for its two halves, which overlap so that the border is soft.
_HALVES = ((1, 1, 1, 1, 0.5, 0, 0, 0), (0, 0, 0, 0.5, 1, 1, 1, 1))


def phoneme_classes(recordings: Iterable[Phonemes | None]) -> dict[str, int]:
    """Numbers of all phonemes, from 1; 0 is silence."""
    symbols = {phoneme["symbol"] for phonemes in recordings for phoneme in phonemes or ()}
    return {symbol: number for number, symbol in enumerate(sorted(symbols), 1)}


def phoneme_track(
    phonemes: Phonemes | None, num_slots: int, slots_a_second: float, classes: dict[str, int]
) -> np.ndarray:
    """The class at each of `num_slots` slots, `UNKNOWN` everywhere without phonemes."""
    if phonemes is None:
        return np.full(num_slots, UNKNOWN, np.int16)
    track = np.full(num_slots, SILENCE, np.int16)
    following = [phoneme["start"] for phoneme in phonemes[1:]] + [float("inf")]
    for phoneme, next_start in zip(phonemes, following):
        end = next_start if next_start - phoneme["end"] < _SHORTEST_PAUSE else phoneme["end"]
        span = slice(round(phoneme["start"] * slots_a_second), round(end * slots_a_second))
        track[span] = classes[phoneme["symbol"]]
    return track


class PhonemeHead(nn.Module):
    """
    Reads from the state of a frame which phonemes its two halves hold.

    Args:
        width (`int`): of the states.
        num_classes (`int`): of phonemes, with silence.
    """

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, len(_HALVES) * num_classes)
        halves = torch.tensor(_HALVES)
        self.register_buffer("halves", halves / halves.sum(1, keepdim=True), persistent=False)

    def forward(self, states: torch.Tensor, slots: torch.LongTensor) -> torch.Tensor:
        """
        Kullback-Leibler divergence of the phonemes, by their shares of the time, from what is read; a mean over the frames
        that are known.

        Args:
            states (`torch.FloatTensor` of shape `(..., width)`)
            slots (`torch.LongTensor` of shape `(..., SLOTS_A_FRAME)`): class at each time, `UNKNOWN` where it is not known.
        """
        is_known = (slots != UNKNOWN).all(-1)
        shares = nn.functional.one_hot(slots.clamp(min=0), self.num_classes).float()
        shares = torch.einsum("...sc,hs->...hc", shares, self.halves)
        scores = self.linear(self.norm(states.float())).unflatten(-1, (len(_HALVES), -1))
        divergence = nn.functional.kl_div(scores.log_softmax(-1), shares, reduction="none").sum(-1).mean(-1)
        return (divergence * is_known).sum() / is_known.sum().clamp(min=1)
