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
"""Quality of the recordings that a codec gives back, by number of codebooks."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ...audio_io import load_audio
from ...loading.checkpoints import load_codec
from ...utils.spectrograms import draw_spectrograms
from ..harness import published
from ..harness.metrics import NONE, Metric, Record, Table, grouped, metric_table
from ..harness.plots import draw_codec
from ..harness.scoring import Scorers
from ..harness.synthesis import Codec, Speech, Task
from ..harness.utterances import read_utterances
from ..measures.kmeans_codec import KMeansCodec
from ..measures.signals import compare_signals
from ..measures.text_errors import rate_name
from ..scorers import SpeakerBaselines
from .base import MOS, SIM, Suite, published_rows, save_speech


# Numbers of codebooks in Table 2 of the paper (arXiv 2603.18090).
CODEBOOKS = (6, 8, 12, 16, 24, 32)
ORIGINAL = "recording"
FLOOR = "k-means"


@dataclass
class CodecReconstruction(Suite):
    """
    Recordings through a codec: STOI, PESQ, mel distance and likeness of the voice to the recording's, and errors of the words
    where the text is known.

    Args:
        codebooks (`list[int]`, *optional*):
            Numbers of codebooks to decode with; those of Table 2 of the paper (arXiv 2603.18090) that the codec has, and all it has, by default.
        floor_recordings (`str`, *optional*):
            Recordings of other speakers, as `data` is given, of which a k-means codec of the same bit rates is learned
            ([`KMeansCodec`]). A trained codec should be better than it on every measure.
    """

    codebooks: list[int] | None = None
    floor_recordings: str | None = None

    name: ClassVar[str] = "codec"
    scorer_kinds: ClassVar[tuple[str, ...]] = ("asr", "speaker", "mos")
    needs_text: ClassVar[bool] = False
    max_batch_size: ClassVar[int | None] = 1

    def tasks(self) -> list[Task]:
        if self.codebooks is not None and min(self.codebooks, default=0) < 1:
            raise ValueError(f"`codebooks` must be 1 or more, got {self.codebooks}.")
        utterances = self.utterances()
        if silent := [item.id for item in utterances if item.recording is None]:
            raise ValueError(
                f"A codec needs recordings, {silent[0]!r} has none: give audio files, a folder of them, or `audio` in jsonl."
            )
        return [Task(item.id, ORIGINAL, item) for item in utterances]

    def load_source(
        self, model: str, device: str | None = None, dtype: str | None = None, generate_kwargs: dict | None = None
    ) -> Codec:
        if generate_kwargs:
            raise ValueError(f"A codec generates nothing: it does not take {', '.join(generate_kwargs)}.")
        codec = Codec(load_codec(model, device, dtype))
        counts = self.codebook_counts(codec.model.config)
        self._floor = (
            None
            if self.floor_recordings is None
            else self._learn_floor(self.floor_recordings, codec.model.config, max(counts))
        )
        return codec

    def _learn_floor(self, data: str, config, num_codebooks: int) -> KMeansCodec:
        paths = [item.recording for item in read_utterances(data)]
        waveforms = (load_audio(path, config.sampling_rate) for path in paths if path is not None)
        floor = KMeansCodec(config.sampling_rate, config.frame_rate, num_codebooks, config.codebook_size)
        return floor.fit(waveforms)

    def codebook_counts(self, config) -> list[int]:
        """
        Numbers of codebooks to decode with.

        Raises:
            ValueError: if the codec has not so many.
        """
        most = config.num_quantizers
        if self.codebooks is None:
            return sorted({count for count in CODEBOOKS if count < most} | {most})
        if max(self.codebooks) > most:
            raise ValueError(f"The codec has {most} codebooks, {max(self.codebooks)} were asked for.")
        return sorted(set(self.codebooks))

    def produce(self, tasks: list[Task], source: Codec) -> list[dict[str, Any]]:
        codec, config = source.model, source.model.config
        products = []
        for task in tasks:
            waveform = load_audio(
                str(task.utterance.recording), config.sampling_rate, num_channels=config.num_channels
            )
            values = torch.from_numpy(np.atleast_2d(waveform))[None].to(codec.device)
            decoded, floor = {}, {}
            with torch.inference_mode():
                encoded = codec.encode(values)
                codes = encoded.audio_codes[..., : encoded.audio_codes_lengths.max()]
                for count in self.codebook_counts(config):
                    audio = codec.decode(codes, num_quantizers=count).audio[0, :, : values.shape[-1]].float().cpu()
                    rate = config.frame_rate * count * math.log2(config.codebook_size)
                    decoded[count] = (rate, Speech(_squeezed(audio.numpy()), config.sampling_rate))
                    if self._floor is not None:
                        heard = self._floor.reconstruct(_mono(waveform), count)
                        floor[count] = (rate, Speech(heard, config.sampling_rate))
            products.append({"recording": Speech(waveform, config.sampling_rate), "decoded": decoded, "floor": floor})
        return products

    def score(self, task: Task, product: dict[str, Any], scorers: Scorers, folder: Path) -> list[Record]:
        recording: Speech = product["recording"]
        text = task.utterance.text
        common = {"task": task.id, "text": text, "recording": str(task.utterance.recording)}
        original = recording.for_scorers()
        words = scorers.words(original, text) if text else {}
        measured = {"id": f"{task.id}-{ORIGINAL}", "group": ORIGINAL, "seconds": round(recording.seconds, 4)}
        records = [common | measured | words | scorers.quality(original)]
        for kind, prefix in (("decoded", ""), ("floor", f"{FLOOR}, ")):
            for count, (bit_rate, speech) in product[kind].items():
                name = f"{task.id}-{'floor-' * bool(prefix)}{count:02d}"
                waveform = speech.for_scorers()
                measured = {
                    "id": name,
                    "group": f"{prefix}{count} codebooks",
                    "codebooks": count,
                    "bit_rate": bit_rate,
                }
                measured |= {"audio": save_speech(speech, name, folder), "seconds": round(speech.seconds, 4)}
                measured |= compare_signals(_mono(recording.waveform), _mono(speech.waveform), speech.sampling_rate)
                measured |= scorers.words(waveform, text) if text else {}
                measured |= scorers.voice(waveform, task.utterance.recording) | scorers.quality(waveform)
                records.append(common | measured)
        return records

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("bit_rate", "bit/s", digits=0),
            SIM,
            Metric("stoi", "STOI", digits=3, lower_is_better=False),
            Metric("pesq_nb", "PESQ-NB", lower_is_better=False),
            Metric("pesq_wb", "PESQ-WB", lower_is_better=False),
            Metric("mel", "mel distance", digits=3, lower_is_better=True),
            Metric("mel_rmse", "mel rmse dB", lower_is_better=True),
            Metric("f0_accuracy", "F0 right %", scale=100, lower_is_better=False),
            Metric("gross_pitch_error", "gross F0 errors %", scale=100, lower_is_better=True),
            Metric("wer", f"{rate_name(self.language)} %", scale=100, lower_is_better=True),
            MOS,
        )

    def tables(self, records: list[Record]) -> list[Table]:
        others = [item for item in published.CODEC if item.key[0] == self.language]
        notes = [
            "SIM: cosine to the recording. Mel distance: sum over seven resolutions of the mean absolute difference of log10 "
            "mel magnitudes, as DAC (arXiv 2306.06546) has it. Mel rmse: root mean square error of the levels of 40 mel bands where "
            "there is speech. F0 right: share of the recording's voiced frames whose F0 is within 5 %; gross F0 errors: off by more "
            "than 20 %."
        ]
        if self.floor_recordings is not None:
            notes.append(
                "k-means: residual k-means of mel spectrograms at the same bit rate, heard through Griffin-Lim; the floor."
            )
        if others:
            notes.append(f"In italics: {published.CODEC_SOURCE}.")
        table = metric_table(
            "Reconstruction", self.metrics(), grouped(records), published_rows(others, self.metrics()), notes
        )
        rate = table.columns.index("bit/s")
        for row in table.rows:
            # It is the same for every recording.
            row[rate] = row[rate].split(" ")[0]
            row[rate] = NONE if row[0] == ORIGINAL else row[rate]
        return [table]

    def draw(self, records: list[Record], baselines: SpeakerBaselines | None, folder: Path) -> list[tuple[str, str]]:
        others = [item for item in published.CODEC if item.key[0] == self.language]
        floor = [record for record in records if record["group"].startswith(FLOOR)]
        decoded = [record for record in records if record["group"] != ORIGINAL and record not in floor]
        originals = [record for record in records if record["group"] == ORIGINAL]
        draw_codec(decoded, originals, floor, self.metrics()[1:], others, baselines, folder / "codec.png")
        first = [record for record in decoded if record["task"] == decoded[0]["task"] and record.get("audio")]
        # A run that is kept without its audio has no spectrograms.
        if not first or not all((folder / record["audio"]).is_file() for record in first):
            return [("codec.png", "Quality by bit rate")]
        shown = [first[0], first[-1]] if len(first) > 1 else first
        waves = [
            load_audio(first[0]["recording"], 24000),
            *(load_audio(folder / record["audio"], 24000) for record in shown),
        ]
        titles = [ORIGINAL, *(record["group"] for record in shown)]
        draw_spectrograms(tuple(waves), tuple(titles), 24000, folder / "spectrograms.png")
        return [("codec.png", "Quality by bit rate"), ("spectrograms.png", f"Spectrograms of {first[0]['task']}")]


def _squeezed(waveform: np.ndarray) -> np.ndarray:
    return waveform[0] if waveform.shape[0] == 1 else waveform


def _mono(waveform: np.ndarray) -> np.ndarray:
    return waveform if waveform.ndim == 1 else waveform.mean(axis=0)


__all__ = ["CodecReconstruction"]
