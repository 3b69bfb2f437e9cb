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
"""Tables of recordings and texts, from wherever they are."""

import os
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, concatenate_datasets, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError
from transformers.utils import logging

from ..utils.text_files import read_text
from .recording_encoding import column_names, undecoded
from .table_files import has_examples


logger = logging.get_logger(__name__)

_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")
# Columns that hold paths, ours and the reference's (finetuning/README.md of github.com/OpenMOSS/MOSS-TTS).
_PATHS = ("audio", "reference", "reference_audio", "ref_audio")


def load_table(
    source: str | os.PathLike | list[str | os.PathLike], split: str = "train", streaming: bool = False
) -> Dataset | IterableDataset:
    """
    Opens a table of recordings with `datasets`, for [`~transformers_moss_tts.training.encode_recordings`].

    Args:
        source (`str`, `os.PathLike` or a list of them):
            A jsonl, csv or parquet file, a pattern such as `prepared/*.jsonl`, or a list of files. A folder with such files
            called `metadata*`, or with recordings that have their texts beside them (`a.wav`, `a.txt`). What
            `Dataset.save_to_disk` wrote. Any other folder or name that `load_dataset` opens, also of the Hub. Paths in
            `audio` (or `file_name`), `reference`, `reference_audio` and `ref_audio` are relative to the table's folder; where
            there is no such file, to the working directory. Text is UTF-8.
        split (`str`, *optional*, defaults to `"train"`):
            Split of a dataset that has several.
        streaming (`bool`, *optional*, defaults to `False`):
            Whether examples are read when they are needed, so that the corpus need not fit the disk.

    Raises:
        ValueError: if there is no such file, nothing in the folder or the files, or a file is not what its name says; the error
            names the file and where it can the line.
        TypeError: for arguments of a wrong kind.
    """
    _check_arguments(source, split, streaming)
    sources = source if isinstance(source, list) else [source]
    files = [file for item in sources for file in _table_files(Path(item))]
    if files:
        return _load_files(files, streaming)
    if isinstance(source, list):
        raise ValueError(
            f"A list must hold tables ({', '.join(_BUILDERS)}), got {', '.join(map(str, source)) or 'none'}."
        )
    folder = Path(source).resolve()
    if folder == folder.parent:
        raise ValueError(f"`source` is {source!s}, the whole file system: name the folder of the recordings.")
    if Path(source, "state.json").exists():
        table = _load_saved(source)
        return table.to_iterable_dataset() if streaming else table
    if pairs := _recordings_with_texts(Path(source)):
        table = Dataset.from_list(pairs)
        return table.to_iterable_dataset() if streaming else table
    return _load(str(source), str(source), split=split, streaming=streaming)


def _check_arguments(source: Any, split: Any, streaming: Any) -> None:
    sources = source if isinstance(source, list) else [source]
    if not all(isinstance(item, str | os.PathLike) and str(item) for item in sources):
        raise TypeError(f"`source` must be a path or a list of paths, got {source!r:.80}.")
    for item in sources:
        try:
            os.fsencode(item)
        except UnicodeEncodeError as error:
            raise ValueError(f"`source` must be a path, got {item!r:.80}, which no file can be called.") from error
    if not isinstance(split, str) or not isinstance(streaming, bool):
        raise TypeError(
            f"`split` must be a string and `streaming` True or False, got {split!r:.80} and {streaming!r:.80}."
        )


def _load_saved(folder: str | os.PathLike) -> Dataset:
    try:
        return load_from_disk(folder)
    except Exception as error:
        # Its files may be damaged in any way.
        raise ValueError(f"The folder {folder!s} is not what `Dataset.save_to_disk` writes: {error!r}") from error


def _load_files(files: list[str], streaming: bool) -> Dataset | IterableDataset:
    suffixes = {Path(file).suffix for file in files}
    if len(suffixes) > 1:
        raise ValueError(f"The tables are of different kinds ({', '.join(sorted(suffixes))}): load them one by one.")
    filled = [file for file in files if has_examples(Path(file))]
    if not filled:
        raise ValueError(f"There are no examples in {', '.join(files)}.")
    builder = _BUILDERS[suffixes.pop()]
    table = _load(builder, ", ".join(filled), data_files=filled, split="train", streaming=streaming)
    return _with_paths(table, Path(files[0]).parent)


def _load(path: str, name: str, **options) -> Dataset | IterableDataset:
    try:
        return load_dataset(path, **options)
    except DatasetGenerationError as error:
        reason = error.__cause__ or error
        raise ValueError(f"{name} cannot be read as a table: {reason}") from error


def _table_files(source: Path) -> list[str]:
    """The tables that a path stands for; none if it is no table."""
    if source.is_dir():
        files = sorted(path for suffix in _BUILDERS for path in source.glob(f"metadata*{suffix}"))
    elif source.suffix not in _BUILDERS:
        return []
    else:
        files = sorted(source.parent.glob(source.name))
        if not files:
            raise ValueError(f"There is no table {str(source)!r}.")
    return [str(path.resolve()) for path in files]


def _recordings_with_texts(folder: Path) -> list[dict[str, str]]:
    recordings = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
    texts = {path: path.with_suffix(".txt") for path in recordings}
    pairs = [
        {"audio": str(path.resolve()), "text": read_text(text).strip()}
        for path, text in texts.items()
        if text.exists()
    ]
    if pairs and len(pairs) < len(recordings):
        logger.warning(f"{len(recordings) - len(pairs)} of {len(recordings)} recordings have no .txt: left out.")
    return pairs


def _with_paths(table: Dataset | IterableDataset, folder: Path) -> Dataset | IterableDataset:
    """The table with the paths of its files, in `audio` what an audio folder calls `file_name`."""
    table = undecoded(table)
    if "file_name" in column_names(table):
        table = table.rename_column("file_name", "audio")
    names = [name for name in column_names(table) if name in _PATHS]
    if not names:
        return table

    def resolve(example: dict[str, Any]) -> dict[str, Any]:
        return {name: _resolved(example[name], folder) for name in names}

    if isinstance(table, IterableDataset):
        return table.map(resolve)
    # Codes of a prepared table need not be written again. Whether files exist is no matter for a cache.
    paths = table.select_columns(names).map(resolve, load_from_cache_file=False)
    return concatenate_datasets([table.remove_columns(names), paths], axis=1)


def _resolved(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_resolved(item, folder) for item in value]
    # Codes, recordings in the table itself, URLs and nulls are no paths.
    if not isinstance(value, str) or not value or "://" in value or value[:5].lower() == "data:":
        return value
    return str(folder / value) if (folder / value).exists() else value
