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

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_TOKENIZATION_MAPPING,
    MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING,
)

from ..bundled_models import find_model
from ..utils.devices import find_device


def load_generator(name: str, device: str | None = None, dtype: str | None = None) -> tuple[Any, Any]:
    """
    Loads a generator and its processor, with the codec, for inference.

    Args:
        name (`str`): folder, Hub id or name of a bundled model.
        device (`str`, *optional*): the fastest there is by default.
        dtype (`str`, *optional*): such as "bfloat16"; the checkpoint's by default.

    Returns:
        Model and processor.

    Raises:
        ValueError: if there is no generator of this name, it has no codec, or the device cannot be used.
        RuntimeError: if the checkpoint is damaged.
    """
    place = find_device(device)
    name = find_model(name)
    config = load_config(name)
    if type(config) not in MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING:
        kind = "a codec" if _is_codec(config) else f"a {config.model_type}"
        raise ValueError(f"{name!r} is {kind}: a generator is needed here.")
    processor = _load(AutoProcessor, name)
    if getattr(processor, "audio_tokenizer", None) is None:
        raise ValueError(f"The generator {name!r} has no codec: save one beside it, or name one that can be loaded.")
    model = _load(AutoModelForTextToWaveform, name, **({} if dtype is None else {"dtype": dtype}))
    model = model.eval().to(place)
    processor.audio_tokenizer.to(place)
    return model, processor


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
        raise ValueError(
            f"There is no folder {name!r}, and the Hub has no model of that name or cannot be reached: {_reason(error)}"
        ) from error


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


__all__ = ["load_codec", "load_config", "load_generator"]
