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
"""Checks of arguments, with errors that name them."""

import dataclasses
import math
import types
import typing
from typing import Any

import numpy as np
import torch


def is_number(value: Any) -> bool:
    """Whether a value is a real number, of Python or NumPy, and no flag."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_integral(value: Any) -> bool:
    """Whether a value is a tensor of integers, not of flags."""
    return (
        isinstance(value, torch.Tensor)
        and value.dtype != torch.bool
        and not value.is_floating_point()
        and not value.is_complex()
    )


def check_number(
    name: str, value: Any, lowest: float, highest: float = math.inf, *, is_whole: bool = False, unit: str = ""
) -> None:
    """
    Checks that an argument is a finite number within bounds.

    Args:
        name (`str`): name of the argument.
        value (`Any`): what was given.
        lowest, highest (`float`): bounds, which are allowed; `math.ulp(0)` for what must be above 0.
        is_whole (`bool`): whether it must be an integer, of at most 64 bits.
        unit (`str`): unit of the number, for the error.

    Raises:
        TypeError: for what is no number, a flag too.
        ValueError: for NaN, infinity, a number out of bounds, or one that is not whole.
    """
    kind = "a whole number" if is_whole else "a number"
    kind += f" of {unit}" if unit else ""
    if not is_number(value):
        raise TypeError(f"`{name}` must be {kind}, got {value!r:.80}.")
    most = min(highest, 2**63 - 1) if is_whole else highest
    lowest = max(lowest, -(2**63)) if is_whole else lowest
    is_finite = isinstance(value, int) or math.isfinite(value)
    is_of_kind = isinstance(value, int | np.integer) or not is_whole
    if not is_finite or not is_of_kind or not lowest <= value <= most:
        bounds = "above 0" if lowest == math.ulp(0) else f"of at least {lowest}"
        if highest != math.inf or value > most:
            bounds += f" and at most {most:g}"
        raise ValueError(f"`{name}` must be {kind} {bounds}, got {_shown(value)}.")


def check_kinds(instance: Any) -> None:
    """
    Checks the values of the fields of a dataclass by their annotations: plain classes, lists and unions of them.

    Raises:
        TypeError: for a value of another kind; it names the field.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if not _is_of(value, field.type):
            kind = getattr(field.type, "__name__", None) if isinstance(field.type, type) else None
            raise TypeError(f"`{field.name}` must be {kind or field.type}, got {value!r:.80}.")


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_is_of(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        (inner,) = typing.get_args(kind)
        return isinstance(value, list) and all(_is_of(item, inner) for item in value)
    if kind in (int, float):
        return is_number(value) and (kind is float or isinstance(value, int | np.integer))
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    # Python refuses to write integers of thousands of digits.
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a far larger number" if value > 0 else "a far smaller number"
    return str(value)


__all__ = ["check_kinds", "check_number", "is_number"]
