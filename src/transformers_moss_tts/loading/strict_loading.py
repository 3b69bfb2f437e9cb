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
"""Loading that refuses a checkpoint which does not fill the model exactly, and an adapter that cannot be loaded."""

import transformers
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils import check_peft_version

from .released_config import follow_attention_preference


class StrictLoadingMixin:
    """
    Makes `from_pretrained` raise where transformers only warns: a weight that the checkpoint lacks would be random, and
    one that the model does not know would be dropped. Only safetensors are read: a pickle can run code. Put it before
    `PreTrainedModel` in the bases.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """
        As [`~transformers.PreTrainedModel.from_pretrained`].

        Raises:
            ValueError: if the checkpoint lacks weights of the model or has others. With `output_loading_info=True` the
                caller gets both lists instead.
        """
        kwargs.setdefault("use_safetensors", True)
        is_attention_given = kwargs.get("attn_implementation") is not None
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        if not is_attention_given:
            follow_attention_preference(model)
        if output_loading_info:
            return model, info
        # Without a checkpoint (a config and a `state_dict` are given) nothing was promised.
        if pretrained_model_name_or_path is not None:
            _raise_on_mismatch(cls.__name__, pretrained_model_name_or_path, info)
        return model

    def load_adapter(self, *args, **kwargs):
        """
        As transformers' `load_adapter`.

        Raises:
            ImportError: if the installed PEFT is missing or older than the installed transformers asks for.
        """
        _check_peft("PeftModel.from_pretrained(model, adapter)")
        return super().load_adapter(*args, **kwargs)

    def add_adapter(self, *args, **kwargs):
        """As transformers' `add_adapter`; raises as [`~StrictLoadingMixin.load_adapter`]."""
        _check_peft("peft.get_peft_model(model, config)")
        return super().add_adapter(*args, **kwargs)


def _check_peft(way_out: str) -> None:
    try:
        check_peft_version(MIN_PEFT_VERSION)
    except ValueError as error:
        raise ImportError(
            f"transformers {transformers.__version__} handles adapters with PEFT {MIN_PEFT_VERSION} or later: "
            f"`pip install 'peft>={MIN_PEFT_VERSION}'`, or use PEFT itself, `{way_out}`."
        ) from error


def _raise_on_mismatch(model_name: str, checkpoint, info: dict) -> None:
    problems = [
        f"{len(info[key])} {kind} weights ({_shorten(info[key])})"
        for key, kind in (("missing_keys", "missing"), ("unexpected_keys", "unexpected"))
        if info[key]
    ]
    if problems:
        raise ValueError(
            f"{checkpoint!s} is not a complete {model_name} checkpoint: {' and '.join(problems)}. Check that its "
            "config.json belongs to its weights and that every shard is there."
        )


def _shorten(keys, most: int = 5) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
