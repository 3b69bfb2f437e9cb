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
"""Generation parameters: which of transformers' names mean what here, and which values are refused."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.generation import GenerationConfig

from ..utils.checks import is_number


# Sampling of the text stream and of the codebooks.
SAMPLING_PARAMETERS = (
    "text_temperature",
    "text_top_p",
    "text_top_k",
    "audio_temperature",
    "audio_top_p",
    "audio_top_k",
    "audio_repetition_penalty",
)
# transformers' names for models of one vocabulary: here they are the codebooks'.
AUDIO_NAMES = {name: f"audio_{name}" for name in ("temperature", "top_p", "top_k", "repetition_penalty")}

# Fields of GenerationConfig that have their effect here, and those that say nothing about generation.
_EFFECTIVE = {
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "stop_strings"),
    *("do_sample", "num_beams", "num_return_sequences", "eos_token_id", "forced_eos_token_id", "pad_token_id"),
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile"),
    *("output_attentions", "output_hidden_states", "output_logits", "return_dict_in_generate"),
    *("bos_token_id", "transformers_version"),
}
# Values without effect of options that transformers leaves at `None`.
_NEUTRAL = {"guidance_scale": 1.0, "top_h": 1.0, "min_p": 0.0}
# Arguments of `forward` and of transformers' `generate` that generation has no use for.
_REFUSED_ARGUMENTS = (
    *("labels", "channelwise_loss_weight", "num_items_in_batch", "logits_to_keep", "text_candidates"),
    *("negative_prompt_ids", "negative_prompt_attention_mask", "continuous_batching_config"),
)

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 1e-5, 1e5
_HIGHEST_PENALTY = 1e3
# Whole numbers, and the lowest and highest that they may be.
_WHOLE_NUMBERS = {
    "text_top_k": (0, 2**63 - 1),
    "audio_top_k": (0, 2**63 - 1),
    "max_new_tokens": (1, 2**48),
    "max_length": (1, 2**48),
    "min_new_tokens": (0, 2**48),
    "min_length": (0, 2**48),
    "num_return_sequences": (1, 2**16),
    "num_beams": (1, 2**16),
    "n_vq_for_inference": (1, 2**16),
    "seed": (-(2**63), 2**63 - 1),
    "pad_token_id": (0, 2**63 - 1),
}
_FLAGS = (
    *("do_sample", "use_cache", "disable_compile", "return_dict_in_generate"),
    *("output_attentions", "output_hidden_states", "output_logits", "output_scores", "synced_gpus"),
)
# Other arguments of `generate`, and what they must be.
_TYPES = {
    "inputs": torch.Tensor,
    "input_ids": torch.Tensor,
    "attention_mask": torch.Tensor,
    "position_ids": torch.Tensor,
    "generation_config": GenerationConfig,
    "stopping_criteria": list,
    "custom_generate": Callable,
    "cache": Cache,
    "past_key_values": Cache,
    **dict.fromkeys(_FLAGS, bool),
}


def rename_audio_parameters(
    parameters: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """
    The parameters with `audio_temperature` for `temperature`, and so on.

    Raises:
        ValueError: if both names are there and differ, and the latter is not one of the `defaults`.
    """
    renamed = {name: value for name, value in parameters.items() if name not in AUDIO_NAMES}
    for name, ours in AUDIO_NAMES.items():
        value, given = parameters.get(name), parameters.get(ours)
        if value is None:
            continue
        if given is not None and given != value and given != (defaults or {}).get(ours):
            raise ValueError(
                f"`{name}` ({value}) and `{ours}` ({given}) are both the sampling of the codebooks: pass only `{ours}`."
            )
        renamed[ours] = value
    return renamed


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises an error that names the argument of `generate` that would have no effect, or is of a wrong type."""
    for name in _REFUSED_ARGUMENTS:
        # Of `forward`, where `None` says something.
        if arguments.get(name) is not None or (name == "logits_to_keep" and name in arguments):
            raise ValueError(f"`{name}` has no effect on generation: leave it out.")
    if arguments.get("cache_implementation") == "paged":
        raise ValueError("`cache_implementation='paged'` is not supported: it batches sequences of one vocabulary.")
    for name, kind in _TYPES.items():
        if not isinstance(arguments.get(name), kind | None):
            raise TypeError(f"`{name}` must be a {kind.__name__}, got {arguments[name]!r:.60}.")
    for criterion in arguments.get("stopping_criteria") or ():
        if not callable(criterion):
            raise TypeError(f"`stopping_criteria` must be functions or `StoppingCriteria`, got {criterion!r:.60}.")
    streamer = arguments.get("streamer")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise TypeError(f"`streamer` must be a streamer, with methods `put` and `end`, got {streamer!r:.60}.")
    check_whole_numbers(arguments)
    if arguments.get("generation_config") is not None:
        check_whole_numbers(vars(arguments["generation_config"]))


def check_no_effect(options: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """
    Raises a `ValueError` for options that do nothing here, so that none is ignored in silence.

    Args:
        options (`Mapping[str, Any]`): options of a `GenerationConfig`.
        own (`Mapping[str, Any]`): the family's own parameters, by their names.
    """
    defaults = GenerationConfig._get_default_generation_params() | _NEUTRAL
    for name, value in options.items():
        is_known = name in _EFFECTIVE or name in own or name in AUDIO_NAMES or name.startswith("_")
        is_default = isinstance(value, int | float | str | None) and value == defaults.get(name)
        if is_known or value is None or value is False or is_default:
            continue
        raise ValueError(
            f"`{name}` ({value!r:.60}) is not supported: it is for models of one vocabulary, and these have a text stream and "
            f"codebooks. Leave it out, or use one of {', '.join(own)}."
        )


def check_values(config: GenerationConfig) -> None:
    """Raises a `ValueError` that names the parameter for numbers that no generation can have."""
    for name in ("text_temperature", "audio_temperature"):
        value = getattr(config, name)
        if not (_is_number(value) and (value == 0 or _LOWEST_TEMPERATURE <= value <= _HIGHEST_TEMPERATURE)):
            raise ValueError(
                f"`{name}` must be 0 (the best token) or a number from {_LOWEST_TEMPERATURE} to {_HIGHEST_TEMPERATURE:g}, got "
                f"{value!r:.60}."
            )
    for name in ("text_top_p", "audio_top_p"):
        value = getattr(config, name)
        if not (_is_number(value) and 0 < value <= 1):
            raise ValueError(f"`{name}` must be above 0 and at most 1, got {value!r:.60}.")
    for name in ("text_repetition_penalty", "audio_repetition_penalty"):
        value = getattr(config, name, 1.0)
        if not (_is_number(value) and 1 / _HIGHEST_PENALTY <= value <= _HIGHEST_PENALTY):
            raise ValueError(
                f"`{name}` must be above 0, from {1 / _HIGHEST_PENALTY:g} to {_HIGHEST_PENALTY:g}, got {value!r:.60}."
            )
    check_whole_numbers(vars(config))
    if config.max_time is not None and not (_is_number(config.max_time) and config.max_time > 0):
        raise ValueError(f"`max_time` must be a number of seconds above 0, got {config.max_time!r:.60}.")


def check_tokens(name: str, tokens: Any, vocab_size: int) -> list[int]:
    """The tokens, one or several, as a list; raises a `ValueError` for others than text tokens."""
    if isinstance(tokens, torch.Tensor):
        if tokens.layout != torch.strided or tokens.device.type == "meta":
            raise ValueError(f"`{name}` must be text tokens, got a tensor without values of its own.")
        tokens = tokens.tolist()
    given = [] if tokens is None else list(tokens) if isinstance(tokens, (list, tuple, set)) else [tokens]
    for token in given:
        if not _is_whole(token, 0, vocab_size - 1):
            raise ValueError(f"`{name}` must be text tokens, from 0 to {vocab_size - 1}, got {tokens!r:.60}.")
    return given


def check_whole_numbers(parameters: Mapping[str, Any]) -> None:
    """Raises a `ValueError` that names the parameter of generation which must be a whole number and is none."""
    for name, (lowest, highest) in _WHOLE_NUMBERS.items():
        value = parameters.get(name)
        values = value if name == "seed" and isinstance(value, list) else [value]
        if value is not None and not all(_is_whole(each, lowest, highest) for each in values):
            raise ValueError(f"`{name}` must be a whole number from {lowest} to {highest}, got {value!r:.60}.")


def _is_number(value: Any) -> bool:
    return is_number(value) and (isinstance(value, int) or math.isfinite(value))


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    try:
        return not isinstance(value, (bool, torch.Tensor)) and lowest <= operator.index(value) <= highest
    except TypeError:
        return False
