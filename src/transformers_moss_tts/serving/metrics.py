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
"""Figures of a server in the format of Prometheus."""

from typing import Any

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..speech.engine import SpeechEngine, SpeechJob


_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """
    Figures of one engine: how many utterances there were and how they ended, how long they took, and how many wait.

    Args:
        engine ([`SpeechEngine`]): the engine.
    """

    def __init__(self, engine: SpeechEngine):
        self.registry = CollectorRegistry()
        registry: Any = {"registry": self.registry}
        self._ended = Counter("moss_tts_utterances", "Utterances by how they ended", ["finish_reason"], **registry)
        self._frames = Counter("moss_tts_frames", "Frames of speech that were made", **registry)
        self._first = Histogram(
            "moss_tts_first_audio_seconds", "Time to the first audio", buckets=_SECONDS, **registry
        )
        self._whole = Histogram("moss_tts_utterance_seconds", "Time to the last audio", buckets=_SECONDS, **registry)
        Gauge("moss_tts_waiting", "Utterances that wait", **registry).set_function(lambda: engine.num_waiting)
        Gauge("moss_tts_speaking", "Utterances that are spoken", **registry).set_function(lambda: engine.num_speaking)

    def count(self, job: SpeechJob) -> None:
        """Counts an utterance that has ended."""
        self._ended.labels(job.finish_reason).inc()
        self._frames.inc(job.num_frames)
        if job.first_audio is not None:
            self._first.observe(job.first_audio - job.arrived)
        if job.finish_reason != "cancelled":
            self._whole.observe(job.ended - job.arrived)

    def response(self) -> Response:
        """All figures."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


__all__ = ["Metrics"]
