"""What keeps an eye on a training that runs beside other work: a line a minute, a state every ten, files that pause and end it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import get_wsd_schedule


LINE_SECONDS, STATE_SECONDS = 60, 600


class Progress:
    """
    Watches a training from its loop.

    Args:
        folder (`Path`):
            Folder of the stage. A file `STOP` in it ends the stage; lines go to `log.jsonl`.
        measure (`Callable`):
            Gives more values for a line.
        pause (`Path`, *optional*):
            While this file exists nothing is computed; the file that the environment variable `TINY_FAMILY_PAUSE` names by default.
    """

    def __init__(self, folder: Path, measure: Callable[[], dict[str, float]], pause: Path | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.measure = folder, measure
        named = os.environ.get("TINY_FAMILY_PAUSE")
        self.pause = pause or (Path(named) if named else None)
        self.last_line = self.last_state = time.monotonic()
        self.sums: dict[str, float] = {}
        self.count = 0

    def step(self, number: int, losses: dict[str, float], save: Callable[[], object]) -> bool:
        """Takes note of a step; returns whether the stage is to end. `save` writes the state."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1
        now = time.monotonic()
        if now - self.last_line >= LINE_SECONDS:
            self.write_line(number)
            self.last_line = now
        if now - self.last_state >= STATE_SECONDS:
            save()
            self.last_state = now
        while self.pause is not None and self.pause.exists() and not self._is_stopped():
            time.sleep(1)
        return self._is_stopped()

    def write_line(self, number: int) -> None:
        """One line of the means of the losses since the line before, and of what is measured."""
        means = {name: round(total / max(1, self.count), 4) for name, total in self.sums.items()}
        cpu = round(time.process_time())
        line = {"time": time.strftime("%H:%M:%S"), "step": number, "cpu_seconds": cpu} | means | self.measure()
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        self.sums, self.count = {}, 0

    def _is_stopped(self) -> bool:
        return (self.folder / "STOP").exists()

    def close(self) -> None:
        """Takes the file that ended the stage away, so that the next start goes on."""
        (self.folder / "STOP").unlink(missing_ok=True)


def train_steps(
    folder: Path,
    module: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    measure: Callable[[], dict[str, float]],
    steps: int,
    learning_rate: float,
    warmup_steps: int = 200,
) -> None:
    """
    Trains a module to its end, or until its folder has a file `STOP`; goes on from `folder/state.pt`. The learning rate falls over the
    last third.

    Args:
        loss_of (`Callable`): the loss of a step, by its number.
        measure (`Callable`): gives more values for a line of the log.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, fused=True)
    schedule = get_wsd_schedule(optimizer, min(warmup_steps, steps), steps // 3, num_training_steps=steps)
    state, step = folder / "state.pt", 0
    parts = {"module": module, "optimizer": optimizer, "schedule": schedule}
    if state.exists():
        saved = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step = saved["step"]
    progress = Progress(folder, measure)

    def save() -> None:
        scratch = state.with_name("tmp-state.pt")
        torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step}, scratch)
        scratch.replace(state)

    is_stopped = False
    while step < steps and not is_stopped:
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        is_stopped = progress.step(step, {"loss": loss.item()}, save)
    progress.write_line(step)
    save()
    progress.close()
