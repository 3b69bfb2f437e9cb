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
"""Checkpoints by the names that users give, and errors that say what is wrong with them."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_TOKENIZATION_MAPPING,
    MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING,
)
from transformers.utils import GENERATION_CONFIG_NAME, PROCESSOR_NAME

from ..bundled_models import bundled_models, find_model
from ..moss_tts.abilities import Abilities
from ..moss_tts.processing_moss_tts import MAX_REFERENCE_DURATION, read_json
from ..utils.devices import find_device
from ..utils.extras import require
from .weight_files import check_adapter


@dataclass(frozen=True)
class GeneratorSettings:
    """
    What is known of a generator before its weights are read.

    Args:
        name (`str`): name for people.
        abilities ([`Abilities`]): what it was taught.
        max_reference_duration (`float`): longest reference, in seconds.
        max_new_tokens (`int`, *optional*): longest speech that it generates unless it is told otherwise, in frames.
    """

    name: str
    abilities: Abilities
    max_reference_duration: float
    max_new_tokens: int | None


def read_settings(name: str) -> GeneratorSettings:
    """
    Settings of a generator or of the one that an adapter belongs to.

    Args:
        name (`str`): folder, Hub id or name of a bundled model.

    Raises:
        ValueError: if there is no generator of this name.
        RuntimeError: if a file is damaged.
    """
    name, _ = _find_generator(name)
    try:
        saved = read_json(name, PROCESSOR_NAME)
        generation = read_json(name, GENERATION_CONFIG_NAME)
        longest = float(saved.get("max_reference_duration", MAX_REFERENCE_DURATION))
        return GeneratorSettings(Path(name).name, Abilities.of(saved), longest, generation.get("max_new_tokens"))
    except (ValueError, TypeError) as error:
        raise _damaged(name, error) from error


def _find_generator(name: str) -> tuple[str, str | None]:
    """Folder or Hub id of a generator, and the folder of the adapter that was named."""
    name, adapter = find_model(name), None
    adapter_config = Path(name, "adapter_config.json")
    if adapter_config.is_file() and not Path(name, "config.json").exists():
        name, adapter = _base_of(adapter_config), name
    config = load_config(name)
    if type(config) not in MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING:
        kind = "a codec" if _is_codec(config) else f"a {config.model_type}"
        whose = f"{name!r} is" if adapter is None else f"{adapter!r} is an adapter of"
        raise ValueError(f"{whose} {kind}: a generator is needed here.")
    return name, adapter


def _base_of(config: Path) -> str:
    try:
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
        if not isinstance(base, str) or not base:
            raise ValueError("`base_model_name_or_path` names no model")
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(str(config.parent), error) from error
    return find_model(base)


def load_generator(name: str, device: str | None = None, dtype: str | None = None) -> tuple[Any, Any]:
    """
    Loads a generator and its processor, with the codec, for inference.

    Args:
        name (`str`):
            Folder, Hub id or name of a bundled model; or folder of an adapter, which is put onto its base.
        device (`str`, *optional*): the fastest there is by default.
        dtype (`str`, *optional*): such as "bfloat16"; the checkpoint's by default.

    Returns:
        Model and processor.

    Raises:
        ValueError: if there is no generator of this name, it has no codec, or the device cannot be used.
        RuntimeError: if the checkpoint is damaged.
    """
    place = find_device(device)
    processor = load_processor(name, device)
    name, adapter = _find_generator(name)
    model = _load(AutoModelForTextToWaveform, name, **({} if dtype is None else {"dtype": dtype}))
    if adapter is not None:
        model = _with_adapter(model, adapter)
    return model.eval().to(place), processor


def load_processor(name: str, device: str | None = None) -> Any:
    """
    Loads the processor of a generator, with the codec.

    Args:
        name (`str`): folder, Hub id or name of a bundled model; or folder of an adapter.
        device (`str`, *optional*): place of the codec, the fastest there is by default.

    Raises:
        ValueError: if there is no generator of this name, it has no codec, or the device cannot be used.
        RuntimeError: if the checkpoint is damaged.
    """
    place = find_device(device)
    name, _ = _find_generator(name)
    processor = _load(AutoProcessor, name)
    if getattr(processor, "audio_tokenizer", None) is None:
        raise ValueError(f"The generator {name!r} has no codec: save one beside it, or name one that can be loaded.")
    processor.audio_tokenizer.to(place)
    return processor


def _with_adapter(model: Any, adapter: str) -> Any:
    require("An adapter", "train", "peft")
    from peft import PeftModel

    check_adapter(adapter, {})
    try:
        return PeftModel.from_pretrained(model, adapter)
    except Exception as error:
        raise _damaged(adapter, error) from error


def load_codec(name: str, device: str | None = None, dtype: str | None = None) -> Any:
    """
    Loads a codec, or that of a generator, for inference.

    Args:
        name (`str`): folder, Hub id or name of a bundled model.
        device (`str`, *optional*): the fastest there is by default.
        dtype (`str`, *optional*): such as "bfloat16"; the checkpoint's by default.

    Raises:
        ValueError: if there is no codec of this name, or the device cannot be used.
        RuntimeError: if the checkpoint is damaged.
    """
    place = find_device(device)
    name = find_model(name)
    loader = AutoModel if _is_codec(load_config(name)) else AutoProcessor
    loaded = _load(loader, name)
    codec = loaded if loader is AutoModel else getattr(loaded, "audio_tokenizer", None)
    if codec is None:
        raise ValueError(f"The generator {name!r} has no codec: give the codec's own folder or Hub id.")
    return codec.eval().to(place, codec.dtype if dtype is None else getattr(torch, dtype))


def load_config(name: str) -> PreTrainedConfig:
    """
    The configuration of a model.

    Args:
        name (`str`): folder or Hub id.

    Raises:
        ValueError: if there is no model of this name.
        RuntimeError: if the configuration is damaged, or of a kind that transformers does not know.
    """
    folder = Path(name)
    if folder.is_file():
        raise ValueError(f"The model {name!r} is a file: give the folder that it lies in.")
    if folder.is_dir() and not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ValueError(f"{name!r} is an adapter: give the model that it belongs to, or merge them first.")
        raise ValueError(f"The folder {name!r} holds no model: it has no config.json.")
    try:
        return AutoConfig.from_pretrained(name)
    except Exception as error:
        if folder.is_dir():
            raise _damaged(name, error) from error
        close = difflib.get_close_matches(name, bundled_models(), n=1, cutoff=0.8)
        hint = f" (did you mean the bundled {close[0]!r}?)" if close else ""
        raise ValueError(
            f"There is no folder {name!r}{hint}, and the Hub has no model of that name or cannot be reached: {_reason(error)}"
        ) from error


def model_fingerprint(name: str) -> list[list]:
    """Names, sizes and times of the weights in a folder: whether a model is the one that a run began with."""
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _is_codec(config: PreTrainedConfig) -> bool:
    return type(config) in MODEL_FOR_AUDIO_TOKENIZATION_MAPPING


def _load(loader: Any, name: str, **kwargs: Any) -> Any:
    try:
        return loader.from_pretrained(name, **kwargs)
    # A broken file ends in whatever its reader raises: errors of json, of the tokenizers, of safetensors, of torch.
    except Exception as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> RuntimeError:
    return RuntimeError(f"The model {name!r} could not be loaded: {_reason(error)}")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


__all__ = [
    "GeneratorSettings",
    "load_codec",
    "load_config",
    "load_generator",
    "load_processor",
    "model_fingerprint",
    "read_settings",
]
