"""Training of a generator in phases, as one run with one schedule."""

import random
import time
from bisect import bisect_right
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import Dataset
from transformers import TrainerCallback

from .guided_training import TimedSamples


# Batches that are drawn together and cut by length, so that a batch has samples of similar lengths.
_BATCHES_A_POOL = 32
MOST_STEPS = 10**6  # of a training that ends by the time
_SHAPES = [[*rise, "hold", *fall] for rise in ([], ["rise"]) for fall in ([], ["fall"], ["fall", "hold"])]


@dataclass(frozen=True)
class TrainingPhase:
    """
    Args:
        name (`str`): what the phase is called.
        steps (`int`): optimizer steps.
        max_length (`int`): context length in positions; longer samples are left out.
        learning_rate (`float` or `list[float]`): held over the phase, or its first and last value, linear between.
        mix (`dict[str, float]`): weight of each source of samples.
    """

    name: str
    steps: int
    max_length: int
    learning_rate: tuple[float, float]
    mix: dict[str, float]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingPhase":
        names = [field.name for field in fields(cls)]
        if set(values) != set(names):
            raise ValueError(f"A phase has {', '.join(names)}; got {', '.join(values)}.")
        rate = values["learning_rate"]
        first, last = rate if isinstance(rate, list) else (rate, rate)
        # YAML reads 2e-4 as text.
        phase = cls(**values | {"learning_rate": (float(first), float(last))})
        if phase.steps < 1 or phase.max_length < 1 or min(phase.learning_rate) < 0:
            raise ValueError(f"Phase {phase.name!r}: `steps` and `max_length` must be at least 1, rates not below 0.")
        if not phase.mix or min(phase.mix.values()) < 0 or sum(phase.mix.values()) <= 0:
            raise ValueError(f"Phase {phase.name!r}: `mix` needs weights of sources, not below 0, got {phase.mix}.")
        return phase


@dataclass
class Clock:
    """How much of a training is done, for one that ends after so many minutes instead of after its steps."""

    minutes: float
    begin: float | None = None  # on a clock that all processes of the machine share

    def share_done(self) -> float:
        if self.begin is None:
            return 0.0
        return min(1.0, (time.monotonic() - self.begin) / (60 * self.minutes))


def load_phases(path: str | Path) -> list[TrainingPhase]:
    """
    Reads a YAML file whose `phases` is a list of phases.

    Raises:
        ValueError: if the file is none, or a phase has other fields or values out of range.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    if not isinstance(content, dict) or not content.get("phases"):
        raise ValueError(f"{path} has no list `phases`.")
    return [TrainingPhase.from_dict(values) for values in content["phases"]]


def schedule_arguments(phases: list[TrainingPhase]) -> dict[str, Any]:
    """
    The phases' learning rates as arguments of `TrainingArguments`: transformers' warmup-stable-decay schedule over all of
    them. Phases may rise at the beginning (from the lowest rate of the run, as transformers does it), hold, fall once, and
    hold what they fell to.

    Raises:
        ValueError: if the rates make no such schedule.
    """
    kinds = [_kind_of(phase) for phase in phases]
    shape = [kind for kind, before in zip(kinds, [None, *kinds]) if kind != before]
    if shape not in _SHAPES:
        raise ValueError(f"Learning rates must rise, hold, fall and hold, in this order; got {', '.join(kinds)}.")
    rates = [rate for phase in phases for rate in phase.learning_rate]
    if any(a != b for a, b in zip(rates[1:-1:2], rates[2::2])):
        raise ValueError(f"A phase must begin with the learning rate that the one before ended with; got {rates}.")
    peak = max(rates)
    fall = kinds.index("fall") if "fall" in kinds else len(kinds)
    steps = {kind: sum(p.steps for p, k in zip(phases, kinds) if k == kind) for kind in ("rise", "fall")}
    return {
        "max_steps": sum(phase.steps for phase in phases),
        "learning_rate": peak,
        "lr_scheduler_type": "warmup_stable_decay",
        "warmup_steps": steps["rise"],
        "lr_scheduler_kwargs": {
            "num_stable_steps": sum(phase.steps for phase in phases[:fall]) - steps["rise"],
            "num_decay_steps": steps["fall"],
            "decay_type": "linear",
            "min_lr_ratio": rates[-1] / peak if "fall" in kinds else 0.0,
        },
    }


class ClockedPhases(TrainerCallback):
    """Learning rates of phases whose steps are their shares of the time, and the end of the training."""

    def __init__(self, phases: list[TrainingPhase], clock: Clock):
        self.phases = phases
        self.clock = clock
        self.ends = list(accumulate(phase.steps for phase in phases))

    def on_train_begin(self, args, state, control, **kwargs):
        self.clock.begin = time.monotonic()

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        number, place = _find(self.ends, self.clock.share_done() * self.ends[-1])
        first, last = self.phases[number].learning_rate
        for group in optimizer.param_groups:
            group["lr"] = first + (last - first) * place / self.phases[number].steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = self.clock.share_done() >= 1


def _find(ends: list[int], place: float) -> tuple[int, float]:
    """The phase that a place is in, the last one at the very end, and how far behind its beginning."""
    phase = min(bisect_right(ends, place), len(ends) - 1)
    return phase, place - (ends[phase - 1] if phase else 0)


def _kind_of(phase: TrainingPhase) -> str:
    first, last = phase.learning_rate
    return "hold" if first == last else "rise" if first < last else "fall"


class PhasedSamples(Dataset):
    """
    The samples of all phases in the order of training, for `Trainer` with `train_sampling_strategy="sequential"`. What sample
    `n` is follows from the seed and `n` alone, so that a run can go on where it stopped. Batches hold samples of similar
    lengths.

    Args:
        phases (`list[TrainingPhase]`): the phases.
        sources (`dict[str, dict]`): arguments of [`TimedSamples`] by the names that the phases' mixes use.
        batch_size (`int`): samples of an optimizer step, over all processes and accumulated batches.
        seed (`int`): of the draws.
        clock ([`Clock`], *optional*): of a training by the time, where the phase of a sample follows from when it is drawn.

    Raises:
        ValueError: if a mix names an unknown source.
    """

    def __init__(
        self,
        phases: list[TrainingPhase],
        sources: dict[str, dict],
        batch_size: int,
        seed: int = 0,
        clock: Clock | None = None,
    ):
        if unknown := {name for phase in phases for name in phase.mix} - set(sources):
            raise ValueError(f"There are no sources {', '.join(sorted(unknown))}; there are {', '.join(sources)}.")
        self.batch_size = batch_size
        self.seed = seed
        self.clock = clock
        self.phases = phases
        self.ends = list(accumulate(phase.steps * batch_size for phase in phases))
        # Phases of the same context length share their samples, whose lengths take a pass over all texts.
        wanted = {(name, phase.max_length) for phase in phases for name in phase.mix}
        samples = {
            (name, length): TimedSamples(**sources[name], max_length=length, seed=seed) for name, length in wanted
        }
        self.samples = [{name: samples[name, phase.max_length] for name in phase.mix} for phase in phases]
        self._pools: dict[tuple[int, int], list[tuple[str, int]]] = {}

    def __len__(self) -> int:
        return self.ends[-1] if self.clock is None else MOST_STEPS * self.batch_size

    def __getitem__(self, index: int) -> dict[str, torch.LongTensor]:
        if self.clock is None:
            phase, place = _find(self.ends, index)
        else:
            phase, place = _find(self.ends, self.clock.share_done() * self.ends[-1])[0], index
        pool, offset = divmod(place, self.batch_size * _BATCHES_A_POOL)
        name, sample = self._pool(phase, pool)[offset]
        return self.samples[phase][name].encode(sample, index)

    def _pool(self, phase: int, number: int) -> list[tuple[str, int]]:
        if (phase, number) not in self._pools:
            self._pools = {(phase, number): self._draw_pool(phase, number)}
        return self._pools[phase, number]

    def _draw_pool(self, phase: int, number: int) -> list[tuple[str, int]]:
        draw = random.Random(f"{self.seed} {phase} {number}")
        mix, samples = self.phases[phase].mix, self.samples[phase]
        names = draw.choices(list(mix), weights=list(mix.values()), k=self.batch_size * _BATCHES_A_POOL)
        chosen = [(name, draw.randrange(len(samples[name]))) for name in names]
        chosen.sort(key=lambda pair: samples[pair[0]].lengths[pair[1]])
        batches = [chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size)]
        draw.shuffle(batches)
        return [pair for batch in batches for pair in batch]
