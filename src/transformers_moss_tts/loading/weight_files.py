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
"""
Which files of a checkpoint are read: safetensors inside of its folder, as large as its model, and nothing else. The one exception
are the weights of classes whose release has them as `pytorch_model.bin` alone.
"""

import json
import math
import os
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_SAFE_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_NAME,
    cached_file,
)

from ..utils.text_files import read_text


HOW_TO_CONVERT = (
    "Only safetensors are read, for a pickle can run code. Convert the file where you trust it: "
    "`safetensors.torch.save_file(torch.load(file, weights_only=True), 'model.safetensors')`."
)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
_FLOATING = ("F64", "F32", "F16", "BF16")
# A model that needs so many times more weights than its files have is not built: its sizes are wrong.
_MOST_MISSING = 2


def check_index(checkpoint: str | os.PathLike, options: dict[str, Any]) -> None:
    """
    Checks the index of a sharded checkpoint, where it has one, before any of its files is opened.

    Args:
        checkpoint (`str` or `os.PathLike`): folder or Hub id.
        options (`dict[str, Any]`): those of `from_pretrained`; the Hub's and `variant` are looked at.

    Raises:
        ValueError: if the index is no index, or names a file that is no safetensors file or not in the folder.
    """
    variant = options.get("variant")
    name = SAFE_WEIGHTS_INDEX_NAME if variant is None else SAFE_WEIGHTS_INDEX_NAME.replace(".json", f".{variant}.json")
    path = _find(checkpoint, name, options)
    if path is None:
        return
    try:
        index = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The index {name!r} of {checkpoint!s} is no JSON: {error}") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not isinstance(index.get("metadata"), dict):
        raise ValueError(f"The index {name!r} of {checkpoint!s} needs a `metadata` and a `weight_map` of names.")
    for file in dict.fromkeys(map(str, weight_map.values())):
        parts = PurePosixPath(file.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in file:
            raise ValueError(
                f"The index {name!r} of {checkpoint!s} names {file!r}, which is not in its folder: it was refused. Put all "
                "files of a checkpoint into its folder."
            )
        _check_suffix(file)


def has_only_pickle(checkpoint: str | os.PathLike, options: dict[str, Any]) -> bool:
    """Whether a checkpoint (folder or Hub id) has its weights as `pytorch_model.bin` and no safetensors beside it."""
    if options.get("variant") is not None:
        return False
    safe = any(_find(checkpoint, name, options) for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    return not safe and _find(checkpoint, WEIGHTS_NAME, options) is not None


def read_pickle(file: str | os.PathLike) -> dict[str, torch.Tensor]:
    """
    The weights of a file that `torch.save` wrote, by a reader that makes tensors and runs nothing.

    Raises:
        ValueError: if the file is none, is compressed, or holds anything but whole floating point tensors by their names.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # A small file could else become any amount of memory.
            is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        weights: Any = None if is_compressed else torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, LookupError) as error:
        raise ValueError(f"The file {file!s} was refused: it is damaged, or holds more than weights.") from error
    are_weights = isinstance(weights, dict) and all(
        isinstance(name, str)
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.is_floating_point()
        and tensor.is_contiguous()
        for name, tensor in weights.items()
    )
    if not are_weights:
        raise ValueError(f"The file {file!s} was refused: it must hold floating point tensors by their names.")
    return dict(weights)


def check_weight_files(files: Iterable[str | os.PathLike]) -> int:
    """
    Checks files of weights by their headers; returns the number of weights in them.

    Raises:
        OSError: if a file is missing.
        ValueError: for a file that is no safetensors file, is damaged, or has weights that are no floating point numbers.
    """
    count = 0
    for file in files:
        _check_suffix(str(file))
        if not Path(file).exists():
            raise FileNotFoundError(f"The checkpoint has no file {file!s}: check that every shard is there.")
        try:
            with safe_open(file, framework="pt") as weights:
                slices = {name: weights.get_slice(name) for name in weights.keys()}
        except SafetensorError as error:
            raise ValueError(f"The file {file!s} is damaged ({error}): copy or download it again.") from error
        for name, part in slices.items():
            if part.get_dtype() not in _FLOATING:
                raise ValueError(
                    f"The weight {name!r} in {file!s} is {part.get_dtype()}, not a floating point number."
                )
            count += math.prod(part.get_shape())
    return count


def check_size(model: torch.nn.Module, num_weights: int) -> None:
    """Raises a `ValueError` if a model would need far more weights than the files of its checkpoint have."""
    needed = sum(tensor.numel() for tensor in model.state_dict().values())
    if needed > _MOST_MISSING * num_weights:
        raise ValueError(
            f"The config.json describes a model of {needed:,} weights, but the files of the checkpoint have {num_weights:,}: "
            "check that they belong together and that every shard is there."
        )


def check_adapter(adapter: str | os.PathLike, options: dict[str, Any]) -> None:
    """Raises a `ValueError` if an adapter (folder or Hub id) has no safetensors, or they are damaged, NaN or infinite."""
    hub_options = {name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None}
    path = cached_file(adapter, ADAPTER_SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False, **hub_options)
    if path is None:
        raise ValueError(f"The adapter {adapter!s} has no {ADAPTER_SAFE_WEIGHTS_NAME}. {HOW_TO_CONVERT}")
    check_adapter_config(adapter, hub_options)
    check_weight_files([path])
    with safe_open(path, framework="pt") as weights:
        check_finite(((name, weights.get_tensor(name)) for name in weights.keys()), adapter)


def check_adapter_config(adapter: str | os.PathLike, hub_options: dict[str, Any]) -> None:
    """Raises a `ValueError` if the configuration of an adapter is no JSON object."""
    path = str(cached_file(adapter, ADAPTER_CONFIG_NAME, **hub_options))
    try:
        fields = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The {ADAPTER_CONFIG_NAME} of {adapter!s} is no JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"The {ADAPTER_CONFIG_NAME} of {adapter!s} must hold an object, got {type(fields).__name__}.")


def check_finite(weights: Iterable[tuple[str, torch.Tensor]], checkpoint: str | os.PathLike) -> None:
    """Raises a `ValueError` that names the weights which are NaN or infinite."""
    bounds: dict[torch.device, list[tuple[str, torch.Tensor]]] = {}
    for name, weight in weights:
        # Quantized and distributed weights are classes of their own, which cannot be compared.
        is_plain = type(weight.data) is torch.Tensor and weight.device.type != "meta"
        if is_plain and weight.is_floating_point() and weight.element_size() > 1 and weight.numel():
            # The extremes of weights with a NaN are NaN. They are read twenty times faster than `isfinite` makes its mask.
            low, high = weight.detach().aminmax()
            bounds.setdefault(weight.device, []).append((name, torch.stack([low, high]).float()))
    bad = []
    for named in bounds.values():
        are_finite = torch.stack([bound for _, bound in named]).isfinite().all(1).tolist()
        bad += [name for (name, _), is_finite in zip(named, are_finite) if not is_finite]
    if bad:
        raise ValueError(
            f"{len(bad)} weights of {checkpoint!s} are NaN or infinite ({shorten(bad)}): the checkpoint is damaged."
        )


def shorten(names: Iterable[str], most: int = 5) -> str:
    """The first of some names, sorted."""
    names = sorted(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _find(checkpoint: str | os.PathLike, name: str, options: dict[str, Any]) -> str | None:
    """Path of a file of a checkpoint, where it has one that can be reached."""
    return cached_file(
        checkpoint,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **{name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None},
    )


def _check_suffix(file: str) -> None:
    if not file.endswith(".safetensors"):
        raise ValueError(f"The checkpoint names the weights {file!r}, which were refused. {HOW_TO_CONVERT}")


__all__ = [
    "HOW_TO_CONVERT",
    "check_adapter",
    "check_adapter_config",
    "check_finite",
    "check_index",
    "check_size",
    "check_weight_files",
    "has_only_pickle",
    "read_pickle",
    "shorten",
]
