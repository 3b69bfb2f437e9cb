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
"""Says stretches one after the other into a file, and goes on where a run was killed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..audio_io import load_audio
from ..moss_tts.voice import Voice, language_of, settings_of
from .durations import expected_duration
from .edges import fade_ends, find_sound
from .growing_audio import GrowingAudio, spool_path
from .guards import Guards
from .journal import Journal, Record, pack_codes, unpack_codes
from .modes import GivenVoice, Memory, Prompt, Said, build_prompt, build_script_prompt
from .passages import Passage, PassageDecoder, derive_seed, generate_passage
from .stretches import Stretch
from .timings import find_cues


# Takes of a stretch have seeds of their own, so that a later stretch has the same one whatever happened before.
_MOST_TAKES = 64
_CHUNK_SECONDS = 2.0  # that are decoded at once
_MARGIN = 0.05  # seconds of silence that stay at the ends of a stretch
_ENCODER_RATE = 16000  # Hz
_SHORTEST = 0.5  # seconds in which a voice can be heard


@dataclass(frozen=True)
class Take:
    """
    One generation of a stretch.

    Args:
        audio (`np.ndarray` of shape `(channels, samples)`): what was said, without the silence at its ends.
        codes (`torch.LongTensor` of shape `(frames, n_vq)`): its codes, without the silence at its end: a reply that begins with
            one has often ended for the model.
        number (`int`): number of the take.
        fault (`str`, *optional*): guard that acted.
        is_anchor (`bool`): whether it went on from the voice alone.
        similarity (`float`, *optional*): cosine of its voice to the one that was given.
    """

    audio: np.ndarray
    codes: torch.Tensor
    number: int
    fault: str | None
    is_anchor: bool
    similarity: float | None = None


@dataclass
class Reader:
    """
    Says stretches.

    Args:
        model, processor: generator and its processor, with a codec.
        stretches (`Sequence[Stretch]`): what to say.
        voices (`dict[str | None, GivenVoice]`): voices by speaker; that of a text without speakers is at `None`.
        mode (`str`): `"clone"`, `"continuation"`, `"anchored"`, or `"script"` for turns that are said at once.
        language (`str`, *optional*): name of the language.
        seed (`int`): seed of the sampling.
        guards ([`Guards`], *optional*): what ends a generation that is no speech any more.
        retries (`int`): further takes of a stretch at which a guard acted.
        best_of (`int`): number of takes without a fault, of which the one with the likest voice is kept.
        speaker_encoder: with a method `embed(waveform)`, the embedding of length 1 of a waveform `(samples,)` at 16 kHz.
        generate_kwargs (`Mapping[str, Any]`): further arguments of `generate`.
    """

    model: Any
    processor: Any
    stretches: Sequence[Stretch]
    voices: dict[str | None, GivenVoice]
    mode: str
    language: str | None
    seed: int
    guards: Guards | None
    retries: int
    best_of: int
    speaker_encoder: Any
    generate_kwargs: Mapping[str, Any]

    def __post_init__(self):
        config = self.processor.audio_tokenizer.config
        self.sampling_rate, self.num_channels = config.sampling_rate, config.num_channels
        self._memories: dict[str | None, Memory] = {}
        self._embeddings: dict[str | None, np.ndarray] = {}

    def read(self, path: Path, journal: Journal, progress: bool) -> None:
        """
        Says what the journal does not have yet, and adds it to the file and to the journal.

        Raises:
            OSError: if the file or the journal cannot be written; what was said before is in both.
        """
        records = journal.records
        if len(records) > len(self.stretches):
            raise ValueError(f"The state of {str(path)!r} has more stretches than the text.")
        for stretch, record in zip(self.stretches, records):
            self._remember(stretch, record)
        journal.records = [replace(record, codes="") for record in records]
        is_whole = len(records) == len(self.stretches) and path.is_file() and not spool_path(path).exists()
        if is_whole and path.suffix.lower() != ".wav":
            return
        total = sum(len(stretch.text) for stretch in self.stretches)
        done = sum(len(stretch.text) for stretch in self.stretches[: len(records)])
        audio = None
        try:
            with tqdm(total=total, initial=done, unit=" characters", desc="speaking", disable=not progress) as bar:
                for number in range(len(records), len(self.stretches)):
                    stretch = self.stretches[number]
                    take = self._say(number, stretch)
                    # Not before there is something to write: a file of the same name stays until then.
                    audio = audio or self._open(path, journal)
                    record = self._write(audio, stretch, take)
                    journal.append(record)
                    self._remember(stretch, record)
                    bar.update(len(stretch.text))
            audio = audio or self._open(path, journal)
            audio.finish()
        finally:
            if audio is not None:
                audio.close()

    def _open(self, path: Path, journal: Journal) -> GrowingAudio:
        num_samples = journal.records[-1].num_samples if journal.records else 0
        return GrowingAudio(path, self.sampling_rate, self.num_channels, num_samples)

    def _say(self, number: int, stretch: Stretch) -> Take:
        """The take that is kept of a stretch."""
        if not stretch.sentences:
            nothing = torch.zeros(0, self.processor.model_config.n_vq, dtype=torch.long)
            return Take(np.zeros((self.num_channels, 0), np.float32), nothing, 0, None, False)
        prompt = self._prompt(stretch, self.mode)
        duration = expected_duration(stretch.text, self._language(stretch))
        takes: list[Take] = []
        while len(takes) < self.best_of + self.retries and sum(take.fault is None for take in takes) < self.best_of:
            if len(takes) == self.best_of + self.retries - 1 > 0 and prompt.goes_on and takes[-1].fault is not None:
                # What the reply begins with may be the fault.
                prompt = self._prompt(stretch, "clone")
            seed = derive_seed(self.seed, _MOST_TAKES * number + len(takes))
            takes.append(self._generate(prompt, stretch, duration, seed, len(takes)))
        return min(takes, key=lambda take: self._badness(take, duration))

    def _badness(self, take: Take, duration: float) -> tuple[bool, float, float]:
        """Takes without a fault are better, and of these those whose voice is liker, else those that are as long as the text takes."""
        seconds = max(take.audio.shape[1] / self.sampling_rate, 0.01)
        return take.fault is not None, -(take.similarity or 0.0), abs(math.log(seconds / duration))

    def _prompt(self, stretch: Stretch, mode: str) -> Prompt:
        if self.mode == "script":
            voices = {speaker: voice for speaker, voice in self.voices.items() if speaker is not None}
            return build_script_prompt(self.processor, stretch, voices, self._language(stretch))
        speaker = stretch.speaker
        voice, memory = self.voices.get(speaker), self._memories.get(speaker, Memory())
        return build_prompt(self.processor, mode, stretch.text, voice, memory, self._language(stretch))

    def _kept_voices(self, stretch: Stretch) -> list[Voice | None]:
        """The voices that are kept, of all who speak at once."""
        given = self.voices.values() if self.mode == "script" else [self.voices.get(stretch.speaker)]
        return [voice.kept for voice in given if voice is not None]

    def _language(self, stretch: Stretch) -> str | None:
        return self.language or language_of(self._kept_voices(stretch))

    def _generate(self, prompt: Prompt, stretch: Stretch, duration: float, seed: int, number: int) -> Take:
        passage = Passage(prompt.inputs, duration)
        watch = passage.watch(self.guards, self.processor.frame_rate)
        chunks: list[np.ndarray] = []
        num_frames = max(1, round(_CHUNK_SECONDS * self.processor.frame_rate))
        decoder = PassageDecoder(self.model, self.processor, watch, chunks.append, lambda: num_frames)
        options = settings_of(self._kept_voices(stretch), self.generate_kwargs) | {"seed": seed}
        generate_passage(self.model, passage, decoder, options)
        codes = torch.cat(decoder.codes) if decoder.codes else torch.zeros(0, self.processor.model_config.n_vq).long()
        audio = np.concatenate(chunks, 1) if chunks else np.zeros((self.num_channels, 0), np.float32)
        frame = self.processor.audio_tokenizer.config.downsample_rate
        first, last = find_sound(audio[:, : watch.num_good_frames * frame], self.sampling_rate)
        codes = codes[: last // frame]
        margin = round(_MARGIN * self.sampling_rate)
        audio = audio[:, max(0, first - margin) : last + margin] if last else audio[:, :0]
        fault = None if self.guards is None and audio.size else watch.fault
        return Take(audio, codes, number, fault, prompt.is_anchor, self._similarity(audio, stretch.speaker))

    def _similarity(self, audio: np.ndarray, speaker: str | None) -> float | None:
        if (
            self.speaker_encoder is None
            or audio.shape[1] < _SHORTEST * self.sampling_rate
            or speaker not in self.voices
        ):
            return None
        if speaker not in self._embeddings:
            (reference,) = self.processor.batch_decode([self.voices[speaker].codes])
            self._embeddings[speaker] = self._embed(reference.numpy())
        return float(self._embed(audio) @ self._embeddings[speaker])

    def _embed(self, audio: np.ndarray) -> np.ndarray:
        return self.speaker_encoder.embed(load_audio(audio, _ENCODER_RATE, array_sampling_rate=self.sampling_rate))

    def _write(self, audio: GrowingAudio, stretch: Stretch, take: Take) -> Record:
        start = audio.num_samples
        cues = (
            find_cues(stretch.sentences, take.audio, self.sampling_rate, self._language(stretch))
            if take.audio.size
            else []
        )
        audio.append(fade_ends(take.audio, self.sampling_rate))
        end = audio.num_samples
        audio.append_silence(round(stretch.pause * self.sampling_rate))
        offset = start / self.sampling_rate
        return Record(
            start=start,
            end=end,
            num_samples=audio.num_samples,
            cues=[[round(offset + first, 3), round(offset + last, 3)] for first, last in cues],
            take=take.number,
            fault=take.fault,
            similarity=take.similarity,
            is_anchor=take.is_anchor,
            codes=pack_codes(take.codes),
        )

    def _remember(self, stretch: Stretch, record: Record) -> None:
        if not stretch.sentences or self.mode == "script":
            return
        codes = unpack_codes(record.codes, self.processor.model_config.audio_vocab_size)
        said = Said(stretch.text, codes)
        memory = self._memories.setdefault(stretch.speaker, Memory())
        memory.add(said, record.fault, record.similarity, record.is_anchor)
        if stretch.speaker not in self.voices and len(codes) and record.fault is None:
            # Nobody gave a voice: that of the first stretch is kept.
            longest = int(self.processor.max_reference_duration * self.processor.frame_rate)
            self.voices[stretch.speaker] = GivenVoice(codes[:longest], said if len(codes) <= longest else None)


__all__ = ["Reader", "Take"]
