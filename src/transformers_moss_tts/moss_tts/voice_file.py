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
"""Files of voices: safetensors, read within limits, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch

from ..utils.atomic_files import replacing


VOICE_SUFFIX = ".safetensors"
_FORMAT, _VERSION = "transformers-moss-tts voice", 1
_MAX_BYTES = 16 * 2**20
_CODEBOOKS = "codebook_values"
_FIELDS = {"name", "language", "settings", "licence", "consent", "texts", "codec"}
_CODEC_FIELDS = {"name": str, "sampling_rate": int, "frame_rate": float | int, "codebook_size": int}


def write_voice_file(
    path: str | os.PathLike, fields: dict[str, Any], codes: tuple[torch.Tensor, ...], codebook_values: torch.Tensor
) -> None:
    """
    Writes fields that JSON has, codes `(frames, codebooks)` and numbers of the codebooks.

    Raises:
        ValueError: another suffix than `.safetensors`, or a missing folder.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != VOICE_SUFFIX:
        raise ValueError(f"The file of a voice must end with {VOICE_SUFFIX}, got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {str(path.parent)!r} does not exist: make it first.")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: name a file.")
    tensors = {f"codes.{number}": item.to(torch.int32).contiguous() for number, item in enumerate(codes)}
    tensors[_CODEBOOKS] = codebook_values.float().contiguous()
    metadata = {"format": _FORMAT, "version": str(_VERSION), "voice": json.dumps(fields)}
    content = safetensors_torch.save(tensors, metadata)
    try:
        with replacing(path) as temporary:
            Path(temporary).write_bytes(content)
    except OSError as error:
        # The error of the temporary file would name a file that nobody knows.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def read_voice_file(path: str | os.PathLike) -> tuple[dict[str, Any], tuple[torch.Tensor, ...], torch.Tensor]:
    """
    Reads what [`write_voice_file`] wrote: fields, codes and numbers of the codebooks.

    Raises:
        ValueError: a file that is missing, too large, cut, no voice, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no voice {str(path)!r}.")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{str(path)!r} is no voice: it has more than {_MAX_BYTES} bytes.")
    try:
        tensors = safetensors_torch.load(data)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is no voice, or one that was cut or damaged: {error}.") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__") or {}
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"{str(path)!r} is no voice, though it is a file of tensors: a voice is written by `Voice.save`."
        )
    _check_version(metadata.get("version"), path)
    try:
        fields = _checked(json.loads(metadata["voice"]))
        codes = tuple(_checked_codes(tensors.pop(f"codes.{number}")) for number in range(len(fields["texts"])))
        values = tensors.pop(_CODEBOOKS)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The voice {str(path)!r} is damaged: {error}.") from error
    is_table = values.ndim == 2 and values.dtype == torch.float32 and bool(values.isfinite().all())
    if tensors or not is_table:
        raise ValueError(f"The voice {str(path)!r} is damaged: its tensors are not those of a voice.")
    return fields, codes, values


def _check_version(version: Any, path: Path) -> None:
    if not str(version).isdecimal() or int(version) < 1:
        raise ValueError(f"The voice {str(path)!r} is damaged: its version is {version!r}.")
    if int(version) > _VERSION:
        raise ValueError(
            f"The voice {str(path)!r} was written in version {version} of the format, and this package reads {_VERSION}: update "
            "transformers-moss-tts."
        )


def _checked(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise ValueError("its fields are not those of a voice")
    if not isinstance(fields["texts"], list) or not isinstance(fields["settings"], dict):
        raise ValueError("its texts must be a list, and its settings an object")
    codec = fields["codec"]
    if not isinstance(codec, dict) or codec.keys() != _CODEC_FIELDS.keys():
        raise ValueError("it does not say which codec it is of")
    for name, kind in _CODEC_FIELDS.items():
        if not isinstance(codec[name], kind) or isinstance(codec[name], bool) or not codec[name]:
            raise ValueError(f"the {name} of its codec is {codec[name]!r}")
    return fields


def _checked_codes(codes: torch.Tensor) -> torch.Tensor:
    if codes.dtype != torch.int32:
        raise ValueError(f"its codes are {codes.dtype}")
    return codes


__all__ = ["VOICE_SUFFIX", "read_voice_file", "write_voice_file"]
