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
"""Speed of a generator, and its memory-bandwidth utilisation."""

import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ... import MossTTSFrameStreamer
from ..harness import published
from ..harness.metrics import Metric, Record, Table, grouped, metric_table
from ..harness.plots import draw_speed
from ..harness.scoring import Scorers
from ..harness.synthesis import Speech, Synthesizer, Task
from ..measures.memory_bandwidth import read_rate_in_own_process, weights_read_a_step
from ..scorers import SpeakerBaselines
from .base import SpokenSuite, save_speech


@dataclass
class Speed(SpokenSuite):
    """
    Texts, one at a time: real-time factor (seconds of work over seconds of audio, codec included), time to the first audio,
    steps a second, peak memory, and the memory-bandwidth utilisation: how long reading the weights of a step takes at the
    rate of a large matrix-vector product, over how long the step took. The first text is spoken once before, to warm up.
    """

    name: ClassVar[str] = "speed"
    max_batch_size: ClassVar[int | None] = 1

    def tasks(self) -> list[Task]:
        return [
            self.task(item, "plain" if item.reference is None else "clone", "batch 1", seed=self.seed + number)
            for number, item in enumerate(self.utterances())
        ]

    def load_source(
        self, model: str, device: str | None = None, dtype: str | None = None, generate_kwargs: dict | None = None
    ) -> "_TimedSynthesizer":
        synthesizer = super().load_source(model, device, dtype, generate_kwargs)
        generator = synthesizer.model
        rate = read_rate_in_own_process(generator.device, generator.dtype)
        return _TimedSynthesizer(synthesizer, weights_read_a_step(generator) / rate)

    def produce(self, tasks: list[Task], source: "_TimedSynthesizer") -> list[dict[str, Any]]:
        return [source.speak(task) for task in tasks]

    def score(self, task: Task, product: dict[str, Any], scorers: Scorers, folder: Path) -> list[Record]:
        speech, step = product["speech"], product["step"]
        return [
            {
                "id": task.id,
                "task": task.id,
                "group": task.group,
                "text": task.utterance.text,
                "audio": save_speech(speech, task.id, folder),
                "seconds": round(speech.seconds, 4),
                "frames": speech.frames,
                "reached_limit": speech.reached_limit,
                "took": product["seconds"],
                "real_time_factor": product["seconds"] / speech.seconds if speech.seconds else None,
                "first_audio": product["first_audio"],
                "steps_per_second": 1 / step if step else None,
                "share_of_limit": product["limit"] / step if step else None,
                "peak_memory": product["peak"],
            }
        ]

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("took", "real-time factor", per="seconds", digits=3, lower_is_better=True),
            Metric("first_audio", "first audio, ms", scale=1000, digits=0, lower_is_better=True),
            Metric("steps_per_second", "steps/s", digits=1, lower_is_better=False),
            Metric("share_of_limit", "memory-bandwidth utilisation %", scale=100, digits=0, lower_is_better=False),
            Metric("peak_memory", "peak memory, MiB", scale=2**-20, digits=0, lower_is_better=True),
        )

    def tables(self, records: list[Record]) -> list[Table]:
        notes = [
            "Real-time factor: all work over all audio. First audio: from the text to the samples of the first frame. Peak memory: of the card on a GPU, else the process's.",
        ]
        ours = metric_table("Speed", self.metrics(), grouped(records), notes=notes)
        rows = [list(item) for item in published.SPEED]
        return [
            ours,
            Table("Published", ["project", "hardware", "figure"], rows, [f"Source: {published.SPEED_SOURCE}."]),
        ]

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        draw_speed(records, folder / "speed.png")
        return [("speed.png", "Work and first audio by length")]


@dataclass
class _TimedSynthesizer:
    """Speaks one task at a time and looks at the clock; `limit` is how many seconds reading the weights of a step takes."""

    synthesizer: Synthesizer
    limit: float
    is_warm: bool = False

    def describe(self) -> str:
        return self.synthesizer.describe()

    def speak(self, task: Task) -> dict[str, Any]:
        """The speech of a task and the times it took."""
        if not self.is_warm:
            self._speak(task)
            self.is_warm = True
        return self._speak(task)

    def _speak(self, task: Task) -> dict[str, Any]:
        source, model = self.synthesizer, self.synthesizer.model
        start = time.perf_counter()
        inputs = source.inputs([task])
        streamer = _TimedStreamer(model.config)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(_decode_first_frame, source.processor.audio_tokenizer, streamer)
            try:
                outputs = source.generate(inputs, task.seed, streamer=streamer)
            finally:
                # Ended by `generate`; once more for one that failed.
                streamer.end()
            waveform = source.processor.decode(outputs)[0].numpy()
            seconds = time.perf_counter() - start
            first_audio = first.result()
        frames, reached_limit = len(outputs.audio_codes[0]), bool(outputs.reached_limit[0])
        return {
            "speech": Speech(waveform, source.sampling_rate, frames, reached_limit),
            "seconds": seconds,
            "first_audio": None if first_audio is None else first_audio - start,
            "step": streamer.seconds_a_step(),
            "limit": self.limit,
            "peak": _peak_bytes(model.device),
        }


class _TimedStreamer(MossTTSFrameStreamer):
    """Streamer that notes when each step ended."""

    def __init__(self, config):
        super().__init__(config)
        self.times = []

    def put(self, value: torch.LongTensor) -> None:
        if not self.is_prompt:
            self.times.append(time.perf_counter())
        super().put(value)

    def seconds_a_step(self) -> float | None:
        """Mean time from step to step; the first one has the prompt's time too."""
        if len(self.times) < 2:
            return None
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


@torch.inference_mode()
def _decode_first_frame(codec, streamer: MossTTSFrameStreamer) -> float | None:
    """When the first frame was decoded; `None` if none came."""
    codes = next(iter(streamer), None)
    if codes is None:
        return None
    codec.decode(codes.T[:, None].to(codec.device), cache=codec.init_cache("decoder")).audio.cpu()
    return time.perf_counter()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # In bytes on macOS, else in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


__all__ = ["Speed"]
