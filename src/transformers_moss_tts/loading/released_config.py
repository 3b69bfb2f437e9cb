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
"""Configurations as strangers write them: what a config.json says of the machine is a preference."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import bfloat16, float16
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import is_flash_attn_2_available, logging

from ..utils.atomic_files import replacing
from .remote_code import RemoteCodeConfigMixin


logger = logging.get_logger(__name__)

# Attention implementations that every machine has.
_EVERYWHERE = ("eager", "sdpa", "flex_attention")
_SPELLINGS = ("attn_implementation", "_attn_implementation")


# What the mixin stands before in the bases, for type checkers alone.
_Config: Any = PreTrainedConfig if TYPE_CHECKING else object


class ReleasedConfigMixin(RemoteCodeConfigMixin, _Config):
    """
    For configurations of released checkpoints. The `attn_implementation` of a config.json is a preference, as in the code that
    the releases were made with: [`follow_attention_preference`] applies it where the machine has what it needs. The one that
    a caller passes is an order, as in transformers.
    """

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As [`~transformers.PreTrainedConfig.get_config_dict`]; a `ValueError` for a file that holds no object."""
        config_dict = None
        with contextlib.suppress(AttributeError, TypeError, LookupError):
            config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not isinstance(config_dict, dict):
            raise ValueError(f"The config.json of {pretrained_model_name_or_path!s} holds no JSON object.")
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """
        As [`~transformers.PreTrainedConfig.from_dict`].

        Raises:
            ValueError: if the file names weights of its own choice, or cannot be a configuration of this class.
        """
        if "transformers_weights" in config_dict:
            raise ValueError(
                f"The config.json names its weights, `transformers_weights`={config_dict['transformers_weights']!r}: this was "
                "refused. Call them model.safetensors, and remove the field."
            )
        for name in ("dtype", "torch_dtype"):
            dtype = config_dict.get(name)
            if dtype is not None and not isinstance(
                getattr(torch, str(dtype).removeprefix("torch."), None), torch.dtype
            ):
                raise ValueError(
                    f"`{name}` of the config.json must be a type of weights such as 'float32', got {dtype!r:.80}."
                )
        preference = None
        if "attn_implementation" not in kwargs:
            config_dict, preference = _without_attention_preference(config_dict)
        try:
            result = super().from_dict(config_dict, **kwargs)
        except Exception as error:
            # For a file may have any value in any field, of the backbone's configuration too.
            reason = str(error) if isinstance(error, ValueError | TypeError) else repr(error)
            raise ValueError(f"The config.json cannot be one of {cls.__name__}: {reason}") from error
        config = result[0] if isinstance(result, tuple) else result
        config._attention_preference = preference
        return result

    def to_json_file(self, json_file_path: str | os.PathLike, *args, **kwargs) -> None:
        """As [`~transformers.PreTrainedConfig.to_json_file`]; a file that is there stays until the new one is whole."""
        with replacing(Path(json_file_path)) as temporary:
            super().to_json_file(temporary, *args, **kwargs)

    @property
    def attention_preference(self) -> str | None:
        """Attention implementation that the config.json names, if not every machine has it."""
        return getattr(self, "_attention_preference", None)

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        if preference := output.pop("_attention_preference", None):
            output["attn_implementation"] = preference
        return output


def follow_attention_preference(model: PreTrainedModel) -> None:
    """
    Switches a loaded model to the attention implementation that its config.json prefers. Flash attention needs its package,
    a GPU that holds the model, and weights in half precision; without them the model keeps what transformers chose, `sdpa`.
    """
    preference = model.config.attention_preference
    if preference is None or preference == model.config._attn_implementation:
        return
    has_flash = preference == "flash_attention_2" and is_flash_attn_2_available()
    is_served = model.device.type == "cuda" and model.dtype in (float16, bfloat16)
    if preference in _EVERYWHERE or (has_flash and is_served):
        model.set_attn_implementation(preference)
        return
    logger.info(
        f"The config.json prefers the attention {preference!r}, which this model cannot have here: it has "
        f"{model.config._attn_implementation!r}."
    )


def check_sizes(
    sizes: dict[str, Any], largest: dict[str, int], prefix: str = "", required: tuple[str, ...] = ()
) -> None:
    """
    Checks sizes that something is built of.

    Args:
        sizes (`dict[str, Any]`): sizes by their names, among other things.
        largest (`dict[str, int]`): the largest size of each name that is looked at. `None` is no size.
        prefix (`str`): text before the names in errors.
        required (`tuple[str, ...]`): names that must be there.

    Raises:
        ValueError: for a size that is missing, no whole number, below 1 or above the largest.
    """
    for name, most in largest.items():
        size = sizes.get(name)
        if size is None and name not in required:
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= most:
            raise ValueError(f"`{prefix}{name}` must be at least 1 and at most {most}, got {size!r}.")


def _without_attention_preference(fields: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The fields without implementations that a machine may lack, in nested configurations too, and the outermost of them."""
    kept, preference = {}, None
    for name, value in fields.items():
        if name in _SPELLINGS and value is not None and value not in _EVERYWHERE:
            preference = value
        elif isinstance(value, dict):
            kept[name] = _without_attention_preference(value)[0]
        else:
            kept[name] = value
    return kept, preference


__all__ = ["ReleasedConfigMixin", "check_sizes", "follow_attention_preference"]
