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
"""Runs that are compared: in turn in one process, several rounds, the best and the median of each, as a table."""

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar


Result = TypeVar("Result")


def run_in_turn(runs: dict[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """What each of the runs returned in each round."""
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def best_and_median(values: Sequence[float]) -> tuple[float, float]:
    """The least and the median of times."""
    return min(values), statistics.median(values)


def ratios(of_one: Sequence[float], of_other: Sequence[float]) -> tuple[float, float]:
    """How many times faster the one is than the other by the best and by the median of their times."""
    best, median = (theirs / ours for ours, theirs in zip(best_and_median(of_one), best_and_median(of_other)))
    return best, median


def print_table(rows: Sequence[dict[str, str]]) -> None:
    """Prints rows of the same columns, aligned to the right."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for row in ({name: name for name in widths}, *rows):
        print("  ".join(f"{row[name]:>{width}}" for name, width in widths.items()), flush=True)
