"""Values that no caller should pass, and those that one does by accident."""

import decimal
import fractions
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st


NAN, INF = math.nan, math.inf
NUMBERS = [
    *(-1, 0, 1, 2, 3, 7, 10**9, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, -0.5, 1.0, 1.5, 2.0, 1e-320, 1e-6, 1e308, -1e308, NAN, INF, -INF),
    *(np.int64(3), np.int8(-1), np.float32(1.5), np.float64(NAN), np.float64(INF), np.uint8(200)),
    *(decimal.Decimal("NaN"), decimal.Decimal("1.5"), fractions.Fraction(1, 3), 1 + 2j),
]
TEXTS = [
    "",
    " ",
    "x",
    "3",
    "nan",
    "None",
    "\x00",
    "\ud800",
    "a" * 5000,
    "é漢字🎉",
    "\n\r\t",
    "../x",
    "/",
    "%s%n{}",
    "Hello.",
]
OTHERS = [
    *(
        None,
        True,
        False,
        b"",
        b"x",
        bytearray(b"x"),
        [],
        {},
        (),
        set(),
        [None],
        [[]],
        [1],
        ["x"],
        {"a": 1},
        {1: 2},
        (1, 2),
    ),
    *(object(), len, int, Path("x"), range(3), iter([1, 2]), [NAN], [INF], [-1], [10**400], np.bool_(True), slice(1)),
    *(torch.tensor(3), torch.tensor(NAN), torch.zeros(3), torch.zeros(0), torch.zeros(2, 2, dtype=torch.long)),
    *(torch.empty(3, device="meta"), torch.ones(3, dtype=torch.complex64), torch.eye(2).to_sparse()),
    *(np.zeros(3), np.zeros((0, 4)), np.array(3), np.array("x"), np.array([None]), np.zeros(2, dtype="datetime64[s]")),
]
# Values that JSON has.
JSON_VALUES = [
    *(None, True, False, -1, 0, 1, 3, 10**9, 2**31, 2**63, 10**400, 0.5, -0.5, 1.5, 1e308, NAN, INF, -INF),
    *(
        "",
        "x",
        "3",
        "nan",
        "a" * 5000,
        "\ud800",
        "\x00",
        "../x",
        "/etc",
        "é",
        [],
        {},
        [None],
        [[]],
        [1],
        ["x"],
        {"a": 1},
    ),
    *([-1], [2**31], [[[]]], {"a": {"b": []}}, [{}], [NAN]),
]

numbers = st.sampled_from(NUMBERS)
texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=20))
anything = st.one_of(numbers, texts, st.sampled_from(OTHERS))
json_values = st.one_of(
    st.sampled_from(JSON_VALUES),
    st.recursive(
        st.sampled_from(JSON_VALUES),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
)


def show(value: Any) -> str:
    """A value as a label says it."""
    if isinstance(value, torch.Tensor):
        content = f" of {value.item()}" if value.numel() == 1 and value.device.type != "meta" else ""
        return f"tensor{tuple(value.shape)}:{str(value.dtype).removeprefix('torch.')}{content}"
    if isinstance(value, np.ndarray):
        return f"array{value.shape}:{value.dtype}"
    if isinstance(value, int) and abs(value) > 10**30:
        return f"{'-' * (value < 0)}10**{len(str(abs(value))) - 1}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show(key)}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    return repr(value)[:80]


def is_number(value: Any, lowest: float = -INF, highest: float = INF, *, is_whole: bool = False) -> bool:
    """Whether a value is a finite number within bounds, and no flag."""
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iuf":
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    if isinstance(value, int):
        return lowest <= value <= highest
    return bool(math.isfinite(value) and lowest <= value <= highest and (not is_whole or value == int(value)))
