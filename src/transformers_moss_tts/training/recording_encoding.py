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
import hashlib
import os
from collections.abc import Iterable
from typing import Any

from datasets import Array2D, Audio, Dataset, Features, IterableDataset, Value
from transformers.utils import logging

from ..utils.checks import check_number
from .collator import value_of_table
from .example_encoding import CODES, REFERENCE_CODES, REFERENCES, ExampleEncoder, local_path


logger = logging.get_logger(__name__)

# Problems that an error lists.
_MOST_LISTED = 20
_MOST_PROCESSES = 1024


def encode_recordings(
    table: Dataset | IterableDataset,
    processor,
    batch_size: int = 16,
    audio_column: str = "audio",
    num_proc: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset | IterableDataset:
    """
    Turns the recordings of a table into codes: `codes` `(frames, n_vq)`, `codec` (which one it was) and, where there are
    references, `reference` (their codes, `None` for speakers without one) take the place of the recordings. Recordings that
    cannot be decoded are listed in a warning and their examples left out.

    Codes are kept by what a recording contains and by the codec: a preparation that was interrupted goes on, and no recording
    is encoded twice. So processes or machines can share the work, each encoding `table.shard(num_shards, index)` with one
    `cache_dir`.

    Args:
        table (`Dataset` or `IterableDataset`):
            Table whose `audio_column` holds paths, URLs, data URIs or what `datasets.Audio` takes; references stand in
            `reference` (one, or a list with nulls), `reference_audio` or `ref_audio`. Codes that are there already (`codes`,
            `audio_codes`; `reference_audio_codes`, `ref_audio_codes`) are checked and kept. A `duration` must be the
            recording's, in seconds. A table that streams is encoded while it is read; to train on it on several devices,
            `TrainingArguments` need `accelerator_config={"dispatch_batches": False}`.
        processor ([`MossTTSProcessor`]):
            Processor whose codec encodes.
        batch_size (`int`, *optional*, defaults to 16):
            Recordings a forward pass.
        audio_column (`str`, *optional*, defaults to `"audio"`):
            Name of the column of recordings.
        num_proc (`int`, *optional*):
            Number of processes, each with a copy of the codec, which must be on the CPU then.
        cache_dir (`str` or `os.PathLike`, *optional*):
            Folder of the codes, by default in the cache of `datasets`.

    Returns:
        The table with codes, of the kind that was given.

    Raises:
        ValueError: if there are no recordings or no usable examples; and with their numbers, if examples have an empty text, a
            missing file, a silent recording, a wrong sampling rate or duration, a reference that is too long, or codes of
            another codec or number of codebooks. A table that streams raises it when such an example is read.
        OSError: if codes cannot be kept, as on a full disk.
    """
    check_number("batch_size", batch_size, 1, is_whole=True)
    if num_proc is not None:
        check_number("num_proc", num_proc, 1, _MOST_PROCESSES, is_whole=True)
    if not isinstance(audio_column, str):
        raise TypeError(f"`audio_column` must be a string, got {audio_column!r:.80}.")
    if not isinstance(cache_dir, str | os.PathLike | None) or "\0" in str(cache_dir):
        raise TypeError(f"`cache_dir` must be a path, got {cache_dir!r:.80}.")
    table = undecoded(table)
    names = column_names(table)
    if audio_column not in names and not set(CODES) & set(names):
        raise ValueError(f"There is no column {audio_column!r}; the columns are {', '.join(names)}.")
    codec = processor.audio_tokenizer
    if num_proc and codec is not None and codec.device.type != "cpu":
        raise ValueError("`num_proc` needs the codec on the CPU: leave it out, or move the codec with `.cpu()`.")
    encoder = ExampleEncoder(processor, audio_column, batch_size, cache_dir, is_worker=bool(num_proc))
    if isinstance(table, IterableDataset):
        return table.map(
            _UsableExamples(encoder), batched=True, batch_size=batch_size, with_indices=True, remove_columns=names
        )
    files = _check_before_decoding(table, encoder)
    fingerprint = (
        f"{table._fingerprint} {encoder.name} {type(processor).__name__} {processor.max_reference_duration} {files}"
    )
    encoded = table.map(
        encoder.encode_batch,
        batched=True,
        batch_size=batch_size,
        remove_columns=[name for name in names if name in encoder.consumed],
        features=encoded_features(table.features, encoder),
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
        raise ValueError(f"None of the {len(encoded)} examples can be trained on: no recording could be decoded.")
    return encoded.select([number for number in range(len(encoded)) if number not in broken])


def condition_on_duration(table: IterableDataset) -> IterableDataset:
    """
    A table that streams with each example twice: with its number of frames as `tokens`, and without, as [`TrainingSamples`] does
    it for other tables.

    Args:
        table (`IterableDataset`): table with `codes`, from [`encode_recordings`].
    """

    def twice(batch: dict[str, list]) -> dict[str, list]:
        lengths = [len(codes) for codes in batch["codes"]]
        tokens = [
            value_of_table(given) or length
            for given, length in zip(batch.get("tokens", [None] * len(lengths)), lengths)
        ]
        doubled = {name: [value for value in values for _ in range(2)] for name, values in batch.items()}
        return doubled | {"tokens": [value for length in tokens for value in (length, None)]}

    return table.map(twice, batched=True, batch_size=16)


def column_names(table: Dataset | IterableDataset) -> list[str]:
    """Columns of a table; of one that streams and does not know them, of its first example."""
    if table.column_names is not None:
        return table.column_names
    for example in table:
        return list(example)
    raise ValueError("There are no examples to train on.")


def undecoded(table: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """A table whose recordings stay as they are stored: `load_audio` decodes them."""
    for name, feature in (table.features or {}).items():
        if _holds_audio(feature):
            table = table.cast_column(name, _without_decoding(feature))
    return table


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


def _check_before_decoding(table: Dataset, encoder: ExampleEncoder) -> str:
    """Raises what shows without decoding; returns a digest of the sizes and times of all files."""
    digest = hashlib.sha256()
    problems = []
    if {*CODES, *REFERENCE_CODES} & set(table.column_names):
        # Codes may make files needless; looking at them takes as long as the whole check.
        return digest.hexdigest()
    for example in table.remove_columns([name for name, feature in table.features.items() if _holds_audio(feature)]):
        problems.append(encoder.problem_of(example))
        for path in filter(None, map(local_path, encoder.recordings_of(example))):
            if os.path.isfile(path):
                state = os.stat(path)
                digest.update(f"{path} {state.st_size} {state.st_mtime_ns} ".encode())
    _raise_if_any(enumerate(problems))
    return digest.hexdigest()


def encoded_features(features: Features, encoder: ExampleEncoder) -> Features:
    kept = {name: feature for name, feature in features.items() if name not in encoder.consumed}
    kept |= {"codes": Array2D((None, encoder.n_vq), "int16")}
    kept |= {name: Value("string") for name in ("codec", "broken", "problem")}
    if set(features) & set(REFERENCES):
        kept["reference"] = [[[Value("int16")]]]
    return Features(kept)


class _UsableExamples:
    """Function that `datasets` maps over a table that streams: the usable examples of a batch, with all their columns."""

    def __init__(self, encoder: ExampleEncoder):
        self.encoder = encoder

    def __call__(self, batch: dict[str, list], numbers: list[int]) -> dict[str, list]:
        encoded = self.encoder.encode_batch(batch)
        _raise_if_any(zip(numbers, encoded.pop("problem")))
        broken = encoded.pop("broken")
        _warn_if_any(zip(numbers, broken))
        columns = {name: values for name, values in batch.items() if name not in self.encoder.consumed} | encoded
        return {name: [v for v, text in zip(values, broken) if not text] for name, values in columns.items()}


def _raise_if_any(problems: Iterable[tuple[int, str | None]]) -> None:
    if listed := {number: text for number, text in problems if text}:
        raise ValueError(f"Examples cannot be trained on ({len(listed)}); mend or remove them:\n{_list_of(listed)}")


def _warn_if_any(broken: Iterable[tuple[int, str | None]]) -> dict[int, str]:
    listed = {number: text for number, text in broken if text}
    if listed:
        logger.warning(f"Examples are left out, as recordings cannot be decoded ({len(listed)}):\n{_list_of(listed)}")
    return listed


def _list_of(listed: dict[int, str]) -> str:
    lines = [f"example {number}: {text}" for number, text in list(listed.items())[:_MOST_LISTED]]
    return "\n".join(lines + ["..."] * (len(listed) > _MOST_LISTED))
