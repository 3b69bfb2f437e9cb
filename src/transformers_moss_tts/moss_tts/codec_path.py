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
"""Where a processor's codec lies, how it is loaded, and by which name it is saved."""

import filecmp
import os
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from transformers import AutoModel
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..bundled_models import bundled_models
from ..moss_audio_tokenizer.configuration_moss_audio_tokenizer import codec_dtype


logger = logging.get_logger(__name__)

# Folder of a codec that is saved with its processor.
OWN_CODEC = "codec"


def locate_codec(checkpoint: str | os.PathLike, name: str | os.PathLike, is_argument: bool) -> str:
    """
    Where the codec of a checkpoint lies: an absolute folder, a Hub id, or a Hub id with a folder of that repository.

    Args:
        checkpoint (`str` or `os.PathLike`):
            Folder or Hub id whose processor it is.
        name (`str` or `os.PathLike`):
            Folder or Hub id of the codec. A relative folder is looked for beside the processor's files first; the codec of a
            Hub repository may be a folder of it.
        is_argument (`bool`):
            Whether a caller said so, and not a file of the checkpoint. A file may name an absolute folder, one inside its own or
            one beside it.

    Raises:
        ValueError: if a file names a relative folder that leads elsewhere.
    """
    name = os.fspath(name)
    is_folder = Path(checkpoint).is_dir()
    if not is_argument:
        _check_name(str(checkpoint), name, is_folder)
    if is_folder and Path(checkpoint, name).is_dir():
        return str(Path(checkpoint, name).resolve())
    if not is_folder and not is_argument and "/" not in name:
        return f"{checkpoint}/{name}"
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def load_codec(location: str, dtype: str | torch.dtype | None, hub_options: dict[str, Any]):
    """
    The codec at a place that [`locate_codec`] returned.

    Raises:
        OSError: if there is none.
        ValueError: if `dtype` is none of a codec, or a file of the codec is damaged.
    """
    options = dict(hub_options) if dtype is None else hub_options | {"dtype": codec_dtype(dtype)}
    parts = PurePosixPath(location).parts
    if not Path(location).is_absolute() and len(parts) > 2:
        location, options["subfolder"] = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        return AutoModel.from_pretrained(location, **options).eval()
    except (TypeError, AttributeError, LookupError) as error:
        # What transformers raises for fields of config.json of a wrong kind.
        raise ValueError(f"The codec {location} cannot be loaded, its config.json is damaged: {error!r}.") from error


def is_bundled(location: str) -> bool:
    """Whether a codec in a folder is one that comes with the package, or a copy of it."""
    weights = Path(location, SAFE_WEIGHTS_NAME)
    if not weights.is_absolute() or not weights.is_file():
        return False
    bundled = [Path(folder, SAFE_WEIGHTS_NAME) for folder in bundled_models().values()]
    return any(path.is_file() and filecmp.cmp(weights, path, shallow=False) for path in bundled)


def codec_name_in(folder: str | os.PathLike, location: str) -> str:
    """
    The name of the codec at `location` for a processor that is saved in `folder`: relative where it is inside or beside it, and
    [`OWN_CODEC`] for a bundled one, which is saved along.
    """
    codec, folder = Path(location), Path(folder).resolve()
    if not codec.is_absolute():
        return location
    if codec.is_relative_to(folder):
        return codec.relative_to(folder).as_posix()
    if codec.parent == folder.parent:
        return f"../{codec.name}"
    return OWN_CODEC if is_bundled(location) else location


def _check_name(checkpoint: str, name: str, is_folder: bool) -> None:
    parts = Path(os.path.normpath(name)).parts
    is_beside = is_folder and len(parts) == 2 and parts[0] == ".." != parts[1]
    if is_beside or ".." not in parts:
        return
    raise ValueError(
        f"{checkpoint} names the codec {name!r}, which is not in it{' or beside it' if is_folder else ''}. Say which codec to use "
        "with `codec_path=`."
    )
