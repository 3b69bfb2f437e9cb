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
"""Means with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


CONFIDENCE = 0.95
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """
    A number and its interval.

    Args:
        value (`float`): number of the sample.
        low, high (`float`, *optional*): ends of the 95 % interval; `None` where there are fewer than two observations.
        count (`int`): number of observations.
    """

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(statistic: Callable, *columns: Sequence[float] | np.ndarray) -> Estimate:
    """
    A statistic and its percentile bootstrap interval (scipy), of observations that are resampled together.

    Args:
        statistic (`Callable`): function of the columns as arrays and of `axis`, which returns a number for each resample.
        columns (`Sequence[float]`): observations, all of one length.

    Raises:
        ValueError: without observations.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    count = len(arrays[0])
    if count == 0:
        raise ValueError("There are no observations to estimate from.")
    value = float(statistic(*arrays, axis=0))
    if count < 2:
        return Estimate(value, None, None, count)
    from scipy.stats import bootstrap

    result = bootstrap(
        arrays,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=200,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Estimate(value, float(result.confidence_interval.low), float(result.confidence_interval.high), count)


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Mean of the values."""
    return estimate(np.mean, values)


def estimate_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Sum over sum, such as errors over words: the mean weighted by the denominators."""
    return estimate(_ratio, numerators, denominators)


def estimate_percentile(values: Sequence[float], percent: float) -> Estimate:
    """The value that `percent` of the values do not exceed."""
    return estimate(lambda x, axis: np.percentile(x, percent, axis=axis), values)


def estimate_slope(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Estimate:
    """Slope of the line of least squares through the points."""
    return estimate(_slope, x, y)


def estimate_difference(
    first: Sequence[float],
    second: Sequence[float],
    denominators: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Estimate:
    """
    Mean of `second` minus mean of `first`, of pairs that are resampled together; with `denominators` of both the difference
    of their ratios.
    """
    if denominators is None:
        return estimate(lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis), first, second)
    return estimate(
        lambda a, b, of_a, of_b, axis: _ratio(b, of_b, axis) - _ratio(a, of_a, axis), first, second, *denominators
    )


def _ratio(numerators: np.ndarray, denominators: np.ndarray, axis: int) -> np.ndarray:
    # A resample may hold only observations without words.
    total = denominators.sum(axis)
    return numerators.sum(axis) / np.where(total > 0, total, 1)


def _slope(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    x = x - x.mean(axis, keepdims=True)
    spread = (x * x).sum(axis)
    # A resample may hold only one point, many times.
    return np.where(spread > 0, (x * y).sum(axis) / np.where(spread > 0, spread, 1), 0)


__all__ = [
    "Estimate",
    "estimate",
    "estimate_difference",
    "estimate_mean",
    "estimate_percentile",
    "estimate_ratio",
    "estimate_slope",
]
