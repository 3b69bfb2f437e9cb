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
"""Recordings of `datasets` tables as codes."""

import copy
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets import Array2D, Audio, Dataset, Features, IterableDataset, Value
from datasets.utils.file_utils import xopen
from transformers.utils import logging

from ..audio_io import AudioInput, AudioLimits, TooLongError, audio_digest, is_remote, load_audio, read_audio_file
from .code_cache import CodeCache
from .tts_collator import encode_sample, is_code_rows


logger = logging.get_logger(__name__)

# Columns of the reference's tables (finetuning/README.md of github.com/OpenMOSS/MOSS-TTS) beside ours. Of a row's references the
# first that is there counts, in the order of its dataset.py.
_CODES = ("codes", "audio_codes")
_REFERENCE_CODES = ("reference_audio_codes", "ref_audio_codes")
_REFERENCES = (*_REFERENCE_CODES, "reference", "reference_audio", "ref_audio")
# What is never louder than -60 dB of full scale is no speech.
_SILENCE = 1e-3
# How far a recording may be from its `duration`: in seconds, or as a share of it.
_TOLERANCE = (0.2, 0.05)
_MOST_LISTED = 20


def encode_codes(
    rows: Dataset | IterableDataset,
    processor,
    batch_size: int = 16,
    audio_column: str = "audio",
    num_proc: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset | IterableDataset:
    """
    Turns the recordings of a table into codes: `codes` `(frames, n_vq)`, `codec` (which one it was) and, where there are
    references, `reference` (their codes, `None` for speakers without one) take the place of the recordings. Recordings that
    cannot be decoded are listed in a warning and their rows left out.

    Codes are kept by what a recording contains and by the codec: a preparation that was interrupted goes on, and no recording
    is encoded twice. So processes or machines can share the work, each encoding `rows.shard(num_shards, index)` with one
    `cache_dir`.

    Args:
        rows (`Dataset` or `IterableDataset`): `audio_column` holds paths, URLs or what `datasets.Audio` takes; references stand
            in `reference` (one, or a list with nulls), `reference_audio` or `ref_audio`. Codes that are there already (`codes`,
            `audio_codes`; `reference_audio_codes`, `ref_audio_codes`) are checked and kept. A `duration` must be the
            recording's, in seconds. A table that streams is encoded while it is read; to train on it on several devices,
            `TrainingArguments` need `accelerator_config={"dispatch_batches": False}`.
        processor ([`MossTTSDelayProcessor`]): its codec encodes.
        batch_size (`int`): recordings a forward pass.
        audio_column (`str`): name of the column.
        num_proc (`int`, *optional*): processes, each with a copy of the codec, which must be on the CPU then.
        cache_dir (`str` or `os.PathLike`, *optional*): where codes are kept, by default in the cache of `datasets`.

    Raises:
        ValueError: if there are no recordings or no usable rows; and with their numbers, if rows have an empty text, a missing
            file, a silent recording, a wrong sampling rate or duration, a reference that is too long, or codes of another codec
            or number of codebooks. A table that streams raises it when such a row is read.
    """
    rows = undecoded(rows)
    names = column_names(rows)
    if audio_column not in names and not set(_CODES) & set(names):
        raise ValueError(f"There is no column {audio_column!r}; the columns are {', '.join(names)}.")
    codec = processor.audio_tokenizer
    if num_proc and codec is not None and codec.device.type != "cpu":
        raise ValueError("`num_proc` needs the codec on the CPU: leave it out, or move the codec with `.cpu()`.")
    encoder = _RowEncoder(processor, audio_column, batch_size, cache_dir, is_worker=bool(num_proc))
    if isinstance(rows, IterableDataset):
        return rows.map(
            encoder.encode_stream, batched=True, batch_size=batch_size, with_indices=True, remove_columns=names
        )
    files = _check_before_decoding(rows, encoder)
    fingerprint = (
        f"{rows._fingerprint} {encoder.name} {type(processor).__name__} {processor.max_reference_duration} {files}"
    )
    encoded = rows.map(
        encoder.encode_batch,
        batched=True,
        batch_size=batch_size,
        remove_columns=[name for name in names if name in encoder.consumed],
        features=_encoded_features(rows.features, encoder),
        num_proc=num_proc,
        new_fingerprint=hashlib.sha256(fingerprint.encode()).hexdigest()[:32],
        desc="codes",
    )
    _raise_if_any(enumerate(encoded["problem"]))
    broken = _warn_if_any(enumerate(encoded["broken"]))
    encoded = encoded.remove_columns(["broken", "problem"])
    if not broken:
        return encoded
    if len(broken) == len(encoded):
        raise ValueError(f"None of the {len(encoded)} rows can be trained on: no recording could be decoded.")
    return encoded.select([number for number in range(len(encoded)) if number not in broken])


def serialise_lengths(rows: IterableDataset) -> IterableDataset:
    """Rows that stream, each once with its number of frames as `tokens` and once without: [`TrainingSamples`] for streams."""

    def twice(batch: dict[str, list]) -> dict[str, list]:
        lengths = [len(codes) for codes in batch["codes"]]
        tokens = [given or length for given, length in zip(batch.get("tokens", [None] * len(lengths)), lengths)]
        doubled = {name: [value for value in values for _ in range(2)] for name, values in batch.items()}
        return doubled | {"tokens": [value for length in tokens for value in (length, None)]}

    return rows.map(twice, batched=True, batch_size=16)


def column_names(rows: Dataset | IterableDataset) -> list[str]:
    """Columns of a table; of one that streams and does not know them, of its first row."""
    if rows.column_names is not None:
        return rows.column_names
    for row in rows:
        return list(row)
    raise ValueError("There are no rows to train on.")


class _SilentError(ValueError):
    """A recording can be decoded, but holds nothing."""


class _RowEncoder:
    """The functions that `datasets` maps."""

    def __init__(self, processor, audio_column: str, batch_size: int, cache_dir, is_worker: bool):
        self.processor = processor
        self.audio_column = audio_column
        self.batch_size = batch_size
        self.is_worker = is_worker
        self.n_vq = processor.model_config.n_vq
        self.codec = None if processor.audio_tokenizer is None else _codec_fingerprint(processor)[:16]
        self.name = f"{self.codec}-{self.n_vq}"
        self.consumed = {audio_column, "codec", *_CODES, *_REFERENCES}
        self.cache = CodeCache(Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE, "moss_tts_codes"), self.name))

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: a module with weight normalization does not travel as it is."""
        processor = copy.copy(self.processor)
        codec, processor.audio_tokenizer = processor.audio_tokenizer, None
        parts = None if codec is None else (type(codec), codec.config, codec.state_dict())
        return self.__dict__ | {"processor": processor, "codec_parts": parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parts = state.pop("codec_parts")
        self.__dict__ |= state
        if parts is not None:
            codec_class, config, weights = parts
            self.processor.audio_tokenizer = codec_class(config).eval()
            self.processor.audio_tokenizer.load_state_dict(weights)

    def encode_batch(self, batch: dict[str, list]) -> dict[str, list]:
        """What takes the place of a batch's recordings, and what is wrong with its rows."""
        if self.is_worker:
            torch.set_num_threads(1)
        rows = [dict(zip(batch, values)) for values in zip(*batch.values())]
        waveforms: dict[str, np.ndarray] = {}
        plans = [self._plan(row, waveforms) for row in rows]
        fresh = self._encode(waveforms)
        outcomes = [self._finish(row, plan, fresh) for row, plan in zip(rows, plans)]
        names = ["codes", "codec", "broken", "problem"] + ["reference"] * bool(set(batch) & set(_REFERENCES))
        return {name: [outcome.get(name) for outcome in outcomes] for name in names}

    def encode_stream(self, batch: dict[str, list], numbers: list[int]) -> dict[str, list]:
        """The usable rows of a batch, with all their columns."""
        encoded = self.encode_batch(batch)
        _raise_if_any(zip(numbers, encoded.pop("problem")))
        broken = encoded.pop("broken")
        _warn_if_any(zip(numbers, broken))
        columns = {name: values for name, values in batch.items() if name not in self.consumed} | encoded
        return {name: [v for v, text in zip(values, broken) if not text] for name, values in columns.items()}

    def problem_of(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row, as far as it shows without decoding."""
        text = row.get("text")
        if text is None and row.get("sound_event") is None and row.get("ambient_sound") is None:
            return "there is no `text`."
        if text is not None and not isinstance(text, str):
            return f"`text` must be a string, got {text!r}."
        if text is not None and not self.processor.normalize_text(text).strip():
            return f"`text` is empty: {text!r}."
        if self.codec is not None and row.get("codec") not in (None, self.codec):
            return f"its codes are of the codec {row['codec']}, and the processor's is {self.codec}: encode its recording."
        recordings = self.recordings_of(row)
        if recordings and self.codec is None:
            return "its recordings need a codec, and the processor has none: set `processor.audio_tokenizer`."
        return next((problem for item in recordings if (problem := _problem_of_recording(item))), None)

    def recordings_of(self, row: dict[str, Any]) -> list[AudioInput]:
        """The recordings of a row that have to be encoded."""
        target = [] if _given_codes(row) is not None else [row.get(self.audio_column)]
        return [item for item in target + (_references_of(row) or []) if item is not None and not is_code_rows(item)]

    def _plan(self, row: dict[str, Any], waveforms: dict[str, np.ndarray]) -> dict[str, Any]:
        """Codes of a row, or the digests of the recordings that are to be encoded; or what is wrong with it."""
        if problem := self.problem_of(row):
            return {"problem": problem}
        given, audio, references = _given_codes(row), row.get(self.audio_column), _references_of(row)
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
        except (_SilentError, TooLongError, TypeError) as error:
            return {"problem": str(error)}
        except (ValueError, OSError) as error:
            return {"broken": str(error)}

    def _look_up(self, item: Any, waveforms: dict[str, np.ndarray], limits: AudioLimits) -> Any:
        if is_code_rows(item):
            return item
        content = _fetch(item, limits)
        digest = audio_digest(content)
        codes = self.cache.load(digest)
        if codes is None and digest not in waveforms:
            waveforms[digest] = self._decode(content, item, limits)
        return digest if codes is None else codes

    def _decode(self, content: AudioInput, item: AudioInput, limits: AudioLimits) -> np.ndarray:
        config = self.processor.audio_tokenizer.config
        try:
            waveform = load_audio(content, config.sampling_rate, num_channels=config.num_channels, limits=limits)
        except ValueError as error:
            kind = TooLongError if isinstance(error, TooLongError) else ValueError
            raise kind(f"{_name_of(item)}: {error}") from error
        if np.abs(waveform).max() < _SILENCE:
            raise _SilentError(f"{_name_of(item)} is silent: it is never louder than -60 dB of full scale.")
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

    def _finish(self, row: dict[str, Any], plan: dict[str, Any], fresh: dict[str, np.ndarray]) -> dict[str, Any]:
        """Codes of a row, checked as training will use them; or what is wrong with it."""
        if "codes" not in plan:
            return plan
        try:
            codes = _resolved(plan["codes"], fresh)
            references = plan["reference"] and [_resolved(item, fresh) for item in plan["reference"]]
            encode_sample(self.processor, row | {"codes": codes, "reference": references})
        except ValueError as error:
            return {"problem": str(error)}
        if problem := self._problem_of_duration(row.get("duration"), len(codes)):
            return {"problem": problem}
        codec = row.get("codec") if _given_codes(row) is not None else self.codec
        return {"codes": codes, "codec": codec, "reference": references}

    def _problem_of_duration(self, duration: float | None, num_frames: int) -> str | None:
        seconds = num_frames / self.processor.frame_rate
        if duration is None or abs(seconds - duration) <= max(_TOLERANCE[0], _TOLERANCE[1] * duration):
            return None
        return f"the recording lasts {seconds:.2f} s and its `duration` is {duration:g} s: is its sampling rate wrong?"


def _given_codes(row: dict[str, Any]) -> Any:
    return next((row[name] for name in _CODES if row.get(name) is not None), None)


def _references_of(row: dict[str, Any]) -> list | None:
    for name in _REFERENCES:
        value = row.get(name)
        if value is not None and len(value) > 0:
            return value if isinstance(value, list) and not is_code_rows(value) else [value]
    return None


def _resolved(item: Any, fresh: dict[str, np.ndarray]) -> np.ndarray | None:
    if item is None:
        return None
    return fresh[item] if isinstance(item, str) else np.asarray(item)


def _path_of(item: Any) -> str | None:
    """Path or URL of a recording that the table does not hold itself."""
    if isinstance(item, dict):
        item = item.get("path") if all(item.get(name) is None for name in ("bytes", "array", "audio")) else None
    return str(item) if isinstance(item, str | os.PathLike) else None


def _local_path(item: Any) -> str | None:
    path = _path_of(item)
    return None if path is None or "://" in path or is_remote(path) else path


def _problem_of_recording(item: Any) -> str | None:
    path = _local_path(item)
    if path is not None and not os.path.isfile(path):
        return f"there is no file {path!r}."
    if isinstance(item, dict) and "sampling_rate" in item and not (item["sampling_rate"] or 0) > 0:
        return f"the sampling rate of its recording is {item['sampling_rate']}: it must be a positive number of Hz."
    return None


def _fetch(item: AudioInput, limits: AudioLimits) -> AudioInput:
    """The recording in memory."""
    path = _path_of(item)
    is_web = path is not None and path.lower().startswith(("http://", "https://")) and "::" not in path
    if path is not None and "://" in path and not is_web:
        # Tables that stream name files of their repository and of archives so.
        with xopen(path, "rb") as file:
            return file.read()
    return read_audio_file(item, limits)


def _name_of(item: AudioInput) -> str:
    path = item.get("path") if isinstance(item, dict) else item
    return repr(str(path)) if isinstance(path, str | os.PathLike) else "its recording"


def undecoded(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """A table whose recordings stay as they are stored: `load_audio` decodes them."""
    for name, feature in (rows.features or {}).items():
        if _holds_audio(feature):
            rows = rows.cast_column(name, _without_decoding(feature))
    return rows


def _holds_audio(feature: Any) -> bool:
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return isinstance(feature, Audio) or (inner is not None and _holds_audio(inner))


def _without_decoding(feature: Any) -> Any:
    if isinstance(feature, Audio):
        return Audio(decode=False)
    if isinstance(feature, list):
        return [_without_decoding(feature[0])]
    feature = copy.copy(feature)
    feature.feature = _without_decoding(feature.feature)
    return feature


def _check_before_decoding(rows: Dataset, encoder: _RowEncoder) -> str:
    """Raises what shows without decoding; returns a digest of the sizes and times of all files."""
    digest = hashlib.sha256()
    problems = []
    if {*_CODES, *_REFERENCE_CODES} & set(rows.column_names):
        # Codes may make files needless; looking at them takes as long as the whole check.
        return digest.hexdigest()
    for row in rows.remove_columns([name for name, feature in rows.features.items() if _holds_audio(feature)]):
        problems.append(encoder.problem_of(row))
        for path in filter(None, map(_local_path, encoder.recordings_of(row))):
            if os.path.isfile(path):
                state = os.stat(path)
                digest.update(f"{path} {state.st_size} {state.st_mtime_ns} ".encode())
    _raise_if_any(enumerate(problems))
    return digest.hexdigest()


def _encoded_features(features: Features, encoder: _RowEncoder) -> Features:
    kept = {name: feature for name, feature in features.items() if name not in encoder.consumed}
    kept |= {"codes": Array2D((None, encoder.n_vq), "int16")}
    kept |= {name: Value("string") for name in ("codec", "broken", "problem")}
    if set(features) & set(_REFERENCES):
        kept["reference"] = [[[Value("int16")]]]
    return Features(kept)


def _raise_if_any(problems: Iterable[tuple[int, str | None]]) -> None:
    if listed := {number: text for number, text in problems if text}:
        raise ValueError(f"Rows cannot be trained on ({len(listed)}); mend or remove them:\n{_list_of(listed)}")


def _warn_if_any(broken: Iterable[tuple[int, str | None]]) -> dict[int, str]:
    listed = {number: text for number, text in broken if text}
    if listed:
        logger.warning(f"Rows are left out, as recordings cannot be decoded ({len(listed)}):\n{_list_of(listed)}")
    return listed


def _list_of(listed: dict[int, str]) -> str:
    lines = [f"row {number}: {text}" for number, text in list(listed.items())[:_MOST_LISTED]]
    return "\n".join(lines + ["..."] * (len(listed) > _MOST_LISTED))


def _codec_fingerprint(processor) -> str:
    """Changes with every weight that the codes depend on."""
    digest = hashlib.sha256()
    for name, tensor in processor.audio_tokenizer.state_dict().items():
        if not name.startswith(("decoder.", "quantizer.output_proj.")):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
