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
"""Encoding of batches of a table: what takes the place of recordings, and what is wrong with an example."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets.utils.file_utils import xopen

from ..audio_io import AudioInput, AudioLimits, TooLongError, audio_digest, is_remote, load_audio, read_audio_file
from ..moss_tts.voice import as_voice
from .code_cache import CodeCache
from .collator import encode_sample, is_code_table


# Columns of the reference's tables (finetuning/README.md of github.com/OpenMOSS/MOSS-TTS) beside ours. Of an example's references
# the first that is there counts, in the order of its dataset.py.
CODES = ("codes", "audio_codes")
REFERENCE_CODES = ("reference_audio_codes", "ref_audio_codes")
REFERENCES = (*REFERENCE_CODES, "reference", "reference_audio", "ref_audio")
# What is never louder than -60 dB of full scale is no speech.
_SILENCE = 1e-3
# How far a recording may be from its `duration`: in seconds, or as a share of it.
_TOLERANCE = (0.2, 0.05)


class _UnusableError(ValueError):
    """A recording holds nothing, or a voice is of another codec."""


class ExampleEncoder:
    """Functions that `datasets` maps over a table."""

    def __init__(self, processor, audio_column: str, batch_size: int, cache_dir, is_worker: bool):
        self.processor = processor
        self.audio_column = audio_column
        self.batch_size = batch_size
        self.is_worker = is_worker
        self.n_vq = processor.model_config.n_vq
        self.codec = None if processor.audio_tokenizer is None else codec_fingerprint(processor)[:16]
        self.name = f"{self.codec}-{self.n_vq}"
        self.consumed = {audio_column, "codec", *CODES, *REFERENCES}
        self.cache = CodeCache(Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE, "moss_tts_codes"), self.name))

    def encode_batch(self, batch: dict[str, list]) -> dict[str, list]:
        """Columns that take the place of a batch's recordings, and the faults of its examples."""
        if self.is_worker:
            torch.set_num_threads(1)
        examples = [dict(zip(batch, values)) for values in zip(*batch.values())]
        waveforms: dict[str, np.ndarray] = {}
        plans = [self._plan(example, waveforms) for example in examples]
        fresh = self._encode(waveforms)
        outcomes = [self._finish(example, plan, fresh) for example, plan in zip(examples, plans)]
        names = ["codes", "codec", "broken", "problem"] + ["reference"] * bool(set(batch) & set(REFERENCES))
        return {name: [outcome.get(name) for outcome in outcomes] for name in names}

    def problem_of(self, example: dict[str, Any]) -> str | None:
        """Fault of an example, as far as it shows without decoding."""
        if problem := problem_of_text(example, self.processor.normalize_text):
            return problem
        if self.codec is not None and example.get("codec") not in (None, self.codec):
            return f"its codes are of the codec {example['codec']}, and the processor's is {self.codec}: encode its recording."
        recordings = self.recordings_of(example)
        if recordings and self.codec is None:
            return "its recordings need a codec, and the processor has none: set `processor.audio_tokenizer`."
        return problem_of_recordings(recordings)

    def recordings_of(self, example: dict[str, Any]) -> list[AudioInput]:
        """The recordings of an example that have to be encoded."""
        return recordings_of(example, self.audio_column)

    def _plan(self, example: dict[str, Any], waveforms: dict[str, np.ndarray]) -> dict[str, Any]:
        """Codes of an example, or the digests of the recordings that are to be encoded; or what is wrong with it."""
        if problem := self.problem_of(example):
            return {"problem": problem}
        if isinstance(_given_codes(example), str | dict | int | float):
            return {"problem": f"its codes must be a list (frames, {self.n_vq}), got {_given_codes(example)!r:.80}."}
        given, audio, references = _given_codes(example), example.get(self.audio_column), _references_of(example)
        if given is None and audio is None:
            return {"problem": f"there is nothing in {self.audio_column!r}, and there are no codes."}
        limits = self.processor.audio_limits
        longest = min(limits.max_duration, self.processor.max_reference_duration)
        of_references = dataclasses.replace(limits, max_duration=longest)
        try:
            return {
                "codes": self._look_up(audio, waveforms, limits) if given is None else given,
                "reference": references
                and [r if r is None else self._look_up(r, waveforms, of_references) for r in references],
            }
        except (_UnusableError, TooLongError, TypeError) as error:
            return {"problem": str(error)}
        except (ValueError, OSError) as error:
            return {"broken": str(error)}

    def _look_up(self, item: Any, waveforms: dict[str, np.ndarray], limits: AudioLimits) -> Any:
        if is_code_table(item):
            return item
        if (voice := self._voice_codes(item, limits)) is not None:
            return voice
        content = _fetch(item, limits)
        digest = audio_digest(content)
        codes = self._cached(digest)
        if codes is None and digest not in waveforms:
            waveforms[digest] = self._decode(content, item, limits)
        return digest if codes is None else codes

    def _voice_codes(self, item: Any, limits: AudioLimits) -> np.ndarray | None:
        """Codes of a voice that is kept, `None` for a recording."""
        try:
            if (voice := as_voice(_location_of(item))) is None:
                return None
            voice.check_codec(self.processor.audio_tokenizer, self.processor.model_config)
        except ValueError as error:
            raise _UnusableError(str(error)) from error
        codes = voice.reference_codes(int(limits.max_duration * self.processor.frame_rate))
        return codes[:, : self.n_vq].numpy().astype(np.int16)

    def _cached(self, digest: str) -> np.ndarray | None:
        codes = self.cache.load(digest)
        size = self.processor.model_config.audio_vocab_size
        is_usable = codes is not None and codes.shape[1] == self.n_vq and 0 <= codes.min() <= codes.max() < size
        return codes if is_usable else None

    def _decode(self, content: AudioInput, item: AudioInput, limits: AudioLimits) -> np.ndarray:
        config = self.processor.audio_tokenizer.config
        try:
            waveform = load_audio(content, config.sampling_rate, num_channels=config.num_channels, limits=limits)
        except ValueError as error:
            kind = TooLongError if isinstance(error, TooLongError) else ValueError
            raise kind(f"{_name_of(item)}: {error}") from error
        if np.abs(waveform).max() < _SILENCE:
            raise _UnusableError(f"{_name_of(item)} is silent: it is never louder than -60 dB of full scale.")
        return waveform

    def _encode(self, waveforms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Encodes waveforms and keeps their codes."""
        digests, codes = list(waveforms), {}
        for start in range(0, len(digests), self.batch_size):
            chosen = digests[start : start + self.batch_size]
            rate = self.processor.audio_tokenizer.config.sampling_rate
            audio = [{"array": waveforms[digest], "sampling_rate": rate} for digest in chosen]
            for digest, item in zip(chosen, self.processor.encode_audio(audio)):
                codes[digest] = item.numpy().astype(np.int16)
                self.cache.store(digest, codes[digest])
        return codes

    def _finish(self, example: dict[str, Any], plan: dict[str, Any], fresh: dict[str, np.ndarray]) -> dict[str, Any]:
        """Codes of an example, checked as training will use them; or what is wrong with it."""
        if "codes" not in plan:
            return plan
        try:
            codes: Any = _resolved(plan["codes"], fresh)
            references = plan["reference"] and [_resolved(item, fresh) for item in plan["reference"]]
            encode_sample(self.processor, example | {"codes": codes, "reference": references})
        except (ValueError, TypeError) as error:
            return {"problem": str(error)}
        if problem := self._problem_of_duration(example.get("duration"), len(codes)):
            return {"problem": problem}
        codec = example.get("codec") if _given_codes(example) is not None else self.codec
        return {"codes": codes, "codec": codec, "reference": references}

    def _problem_of_duration(self, duration: float | None, num_frames: int) -> str | None:
        seconds = num_frames / self.processor.frame_rate
        if duration is not None and not isinstance(duration, int | float):
            return f"`duration` must be a number of seconds, got {duration!r}."
        if duration is None or abs(seconds - duration) <= max(_TOLERANCE[0], _TOLERANCE[1] * duration):
            return None
        return f"the recording lasts {seconds:.2f} s and its `duration` is {duration:g} s: is its sampling rate wrong?"


def problem_of_text(example: dict[str, Any], normalize: Callable[[str], str] = str) -> str | None:
    """Fault of an example's text, once it is normalized."""
    text = example.get("text")
    if text is None and example.get("sound_event") is None and example.get("ambient_sound") is None:
        return "there is no `text`."
    if text is not None and not isinstance(text, str):
        return f"`text` must be a string, got {text!r}."
    return f"`text` is empty: {text!r}." if text is not None and not normalize(text).strip() else None


def recordings_of(example: dict[str, Any], audio_column: str) -> list[AudioInput]:
    """The recordings of an example that have no codes."""
    target = [] if _given_codes(example) is not None else [example.get(audio_column)]
    return [item for item in target + (_references_of(example) or []) if item is not None and not is_code_table(item)]


def problem_of_recordings(recordings: list[AudioInput]) -> str | None:
    """Fault of recordings, as far as it shows without decoding."""
    return next((problem for item in recordings if (problem := _problem_of_recording(item))), None)


def _given_codes(example: dict[str, Any]) -> Any:
    return next((example[name] for name in CODES if example.get(name) is not None), None)


def _references_of(example: dict[str, Any]) -> list | None:
    for name in REFERENCES:
        value = example.get(name)
        if value is None or (isinstance(value, list | str) and not value):
            continue
        return value if isinstance(value, list) and not is_code_table(value) else [value]
    return None


def _resolved(item: Any, fresh: dict[str, np.ndarray]) -> np.ndarray | None:
    if item is None:
        return None
    return fresh[item] if isinstance(item, str) else np.asarray(item)


def _location_of(item: Any) -> str | None:
    """Path, URL or data URI of a recording that the table does not hold itself."""
    if isinstance(item, dict):
        item = item.get("path") if all(item.get(name) is None for name in ("bytes", "array", "audio")) else None
    return str(item) if isinstance(item, str | os.PathLike) else None


def local_path(item: Any) -> str | None:
    """Path of a recording on this machine."""
    location = _location_of(item)
    return None if location is None or "://" in location or is_remote(location) else location


def _problem_of_recording(item: Any) -> str | None:
    path = local_path(item)
    if path is not None and not os.path.isfile(path):
        return f"there is no file {path!r}."
    rate = item.get("sampling_rate", 1) if isinstance(item, dict) else 1
    if not isinstance(rate, int | float) or not rate > 0:
        return f"the sampling rate of its recording is {rate!r}: it must be a positive number of Hz."
    return None


def _fetch(item: AudioInput, limits: AudioLimits) -> AudioInput:
    """The recording in memory."""
    location = _location_of(item)
    is_web = location is not None and location.lower().startswith(("http://", "https://")) and "::" not in location
    if location is None or "://" not in location or is_web:
        return read_audio_file(item, limits)
    # Tables that stream name files of their repository and of archives by other protocols.
    try:
        with xopen(location, "rb") as file:
            content = file.read(limits.max_bytes + 1)
    except (ImportError, ValueError) as error:
        raise TypeError(f"{location!r} cannot be opened: {error}.") from error
    limits.check_size(len(content), repr(location))
    return content


def _name_of(item: AudioInput) -> str:
    location = _location_of(item)
    return "its recording" if location is None else repr(location[:200])


def codec_fingerprint(processor) -> str:
    """Changes with every weight that the codes depend on."""
    digest = hashlib.sha256()
    for name, tensor in processor.audio_tokenizer.state_dict().items():
        if not name.startswith(("decoder.", "quantizer.output_proj.")):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
