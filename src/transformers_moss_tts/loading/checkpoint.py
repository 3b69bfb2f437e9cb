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
"""Checkpoints that are read strictly and written whole."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import transformers
from safetensors import SafetensorError
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils import WEIGHTS_NAME, check_peft_version, logging

from ..utils.atomic_files import replacing_files
from ..utils.text_files import read_text
from .released_config import follow_attention_preference
from .weight_files import (
    HOW_TO_CONVERT,
    check_adapter,
    check_adapter_config,
    check_finite,
    check_index,
    check_size,
    check_weight_files,
    has_only_pickle,
    read_pickle,
    shorten,
)


logger = logging.get_logger(__name__)


# What the mixin stands before in the bases, for type checkers alone.
_Model: Any = transformers.PreTrainedModel if TYPE_CHECKING else object


class CheckpointMixin(_Model):
    """
    Makes `from_pretrained` raise where transformers only warns: a weight that the checkpoint lacks would be random, and
    one that the model does not know would be dropped. Only safetensors in the checkpoint's own folder are read: a pickle can
    run code. Classes whose release has no safetensors read its `pytorch_model.bin` by a reader that runs nothing. What `save_pretrained` writes over stays until the new files are whole. Put it before `PreTrainedModel` in the
    bases.
    """

    # Whether a `pytorch_model.bin` is read where no safetensors lie beside it.
    reads_released_pickle: ClassVar[bool] = False

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path,
        *args,
        output_loading_info: bool = False,
        use_safetensors: bool | None = None,
        **kwargs,
    ):
        """
        As [`~transformers.PreTrainedModel.from_pretrained`].

        Raises:
            ValueError: if the checkpoint lacks weights of the model or has others (with `output_loading_info=True` the
                caller gets both lists instead), if they have other shapes, are NaN or no floating point numbers, if files are
                damaged, or if it names files that are no safetensors or not in its folder.
            OSError: if there is no checkpoint.
        """
        if use_safetensors is False:
            raise ValueError(f"`use_safetensors=False` would read a pickle. {HOW_TO_CONVERT}")
        checkpoints = _checkpoints_of(pretrained_model_name_or_path)
        for checkpoint in checkpoints:
            check_index(checkpoint, kwargs)
        may_be_pickle = cls.reads_released_pickle and bool(checkpoints) and use_safetensors is None
        is_pickle = may_be_pickle and has_only_pickle(checkpoints[-1], kwargs)
        if is_pickle:
            logger.warning_once(
                f"{checkpoints[-1]!s} has its weights as {WEIGHTS_NAME} alone, of which tensors and nothing else are read. "
                f"`moss-tts convert {checkpoints[-1]!s} FOLDER` writes them as safetensors."
            )
        is_attention_given = kwargs.get("attn_implementation") is not None
        try:
            with _without_conversion_by_others():
                model, info = super().from_pretrained(
                    pretrained_model_name_or_path,
                    *args,
                    output_loading_info=True,
                    **(kwargs | {"use_safetensors": not is_pickle, "weights_only": True}),
                )
        except OSError as error:
            if ".safetensors" in str(error) and "file named" in str(error):
                raise OSError(f"{error} {HOW_TO_CONVERT}") from error
            raise
        except SafetensorError as error:
            raise ValueError(
                f"Weights of {pretrained_model_name_or_path!s} are damaged ({error}): copy or download them again."
            ) from error
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise ValueError(
                f"Weights of {pretrained_model_name_or_path!s} have other shapes than its config.json says; the log lists "
                "them. Check that they belong together."
            ) from error
        check_finite(model.named_parameters(), pretrained_model_name_or_path)
        if not is_attention_given:
            follow_attention_preference(model)
        if output_loading_info:
            return model, info
        # Without a checkpoint (a config and a `state_dict` are given) nothing was promised.
        if pretrained_model_name_or_path is not None:
            _raise_on_mismatch(cls.__name__, pretrained_model_name_or_path, info)
        return model

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys=None):
        # Every way of loading, adapters too, comes by here before it opens a file.
        if checkpoint_files and model.reads_released_pickle and Path(checkpoint_files[0]).name == WEIGHTS_NAME:
            state_dict, checkpoint_files = read_pickle(checkpoint_files[0]), None
            check_size(model, sum(tensor.numel() for tensor in state_dict.values()))
        elif checkpoint_files and load_config.hf_quantizer is None:
            num_weights = check_weight_files(checkpoint_files)
            if expected_keys is None:
                check_size(model, num_weights)
        options = {} if expected_keys is None else {"expected_keys": expected_keys}
        parent: Any = super(CheckpointMixin, type(model))
        return parent._load_pretrained_model(model, state_dict, checkpoint_files, load_config, **options)

    def load_adapter(self, peft_model_id: str | None = None, adapter_name: str | None = None, **kwargs):
        """
        As transformers' `load_adapter`, from safetensors alone.

        Raises:
            ValueError: if the adapter has no safetensors, or they are damaged, NaN or no floating point numbers.
            ImportError: if the installed PEFT is missing or older than the installed transformers asks for.
        """
        if peft_model_id is not None and kwargs.get("adapter_state_dict") is None:
            check_adapter(peft_model_id, adapter_options(kwargs))
        _check_peft("PeftModel.from_pretrained(model, adapter)")
        return super().load_adapter(peft_model_id, adapter_name, **kwargs)

    def add_adapter(self, *args, **kwargs):
        """
        As transformers' `add_adapter`.

        Raises:
            ImportError: if the installed PEFT is missing or older than the installed transformers asks for.
        """
        _check_peft("peft.get_peft_model(model, config)")
        return super().add_adapter(*args, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, *args, **kwargs) -> None:
        """
        As [`~transformers.PreTrainedModel.save_pretrained`]. The files that it writes over stay until all new ones are whole.

        Raises:
            OSError: if the files cannot be written, for instance on a full disk.
        """
        if kwargs.get("push_to_hub"):
            kwargs.setdefault("repo_id", Path(save_directory).name)
        with replacing_files(save_directory) as folder:
            # The configuration looks for code beside it.
            for module in Path(save_directory).glob("*.py"):
                shutil.copyfile(module, Path(folder, module.name))
            super().save_pretrained(folder, *args, **kwargs)


def _checkpoints_of(checkpoint: str | os.PathLike | None) -> list[str | os.PathLike]:
    """The checkpoint, and the one that it is an adapter of."""
    if checkpoint is None:
        return []
    config = Path(checkpoint, "adapter_config.json")
    if not config.is_file():
        return [checkpoint]
    check_adapter_config(checkpoint, {})
    if Path(checkpoint, "config.json").exists():
        return [checkpoint]
    base = json.loads(read_text(config)).get("base_model_name_or_path")
    if not isinstance(base, str | None):
        raise ValueError(f"`base_model_name_or_path` in {config} must be a string, got {base!r:.80}.")
    return [checkpoint, base] if base else [checkpoint]


@contextlib.contextmanager
def _without_conversion_by_others() -> Iterator[None]:
    """Keeps transformers from asking a server to convert a repository without safetensors."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def adapter_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Options of the Hub among the arguments of `load_adapter`."""
    return dict(getattr(kwargs.get("load_config"), "download_kwargs", {})) | (kwargs.get("adapter_kwargs") or {})


def _check_peft(way_out: str) -> None:
    try:
        check_peft_version(MIN_PEFT_VERSION)
    except ValueError as error:
        raise ImportError(
            f"transformers {transformers.__version__} handles adapters with PEFT {MIN_PEFT_VERSION} or later: "
            f"`pip install 'peft>={MIN_PEFT_VERSION}'`, or use PEFT itself, `{way_out}`."
        ) from error


def _raise_on_mismatch(model_name: str, checkpoint: str | os.PathLike, info: dict[str, Any]) -> None:
    problems = [
        f"{len(info[key])} {kind} weights ({shorten(info[key])})"
        for key, kind in (("missing_keys", "missing"), ("unexpected_keys", "unexpected"))
        if info[key]
    ]
    if problems:
        raise ValueError(
            f"{checkpoint!s} is not a complete {model_name} checkpoint: {' and '.join(problems)}. Check that its "
            "config.json belongs to its weights and that every shard is there."
        )


__all__ = ["CheckpointMixin", "adapter_options"]
