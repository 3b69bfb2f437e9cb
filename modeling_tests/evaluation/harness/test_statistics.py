"""Means and intervals."""

import numpy as np
import pytest

from transformers_moss_tts.evaluation.harness.statistics import (
    estimate_difference,
    estimate_mean,
    estimate_percentile,
    estimate_ratio,
    estimate_slope,
)


def test_intervals_hold_the_truth_as_often_as_they_say():
    draw = np.random.default_rng(0)
    estimates = [estimate_mean(draw.normal(3, 1, 40)) for _ in range(100)]
    held = sum(item.low <= 3 <= item.high for item in estimates)
    assert 88 <= held <= 100
    assert np.mean([item.high - item.low for item in estimates]) == pytest.approx(2 * 1.96 / 40**0.5, rel=0.1)


def test_one_observation_has_no_interval_and_none_no_mean():
    estimate = estimate_mean([2.0])
    assert (estimate.value, estimate.low, estimate.high, estimate.count) == (2.0, None, None, 1)
    with pytest.raises(ValueError, match="no observations"):
        estimate_mean([])


def test_the_same_everywhere_is_certain():
    estimate = estimate_mean([0.0] * 5)
    assert (estimate.low, estimate.high) == (0.0, 0.0) and not estimate.excludes_zero


def test_ratios_weigh_by_their_counts():
    assert estimate_ratio([1, 0], [2, 98]).value == pytest.approx(0.01)
    # Observations without a count: their numerators are of the others' counts.
    assert np.isfinite(estimate_ratio([3, 1, 1], [10, 0, 0]).high)


def test_percentile_and_slope():
    assert estimate_percentile(range(101), 90).value == pytest.approx(90)
    x = np.arange(20.0)
    estimate = estimate_slope(x, 3 - 0.5 * x)
    assert estimate.value == pytest.approx(-0.5) and estimate.excludes_zero


def test_pairs_make_small_differences_certain():
    draw = np.random.default_rng(0)
    hardness = draw.normal(0, 10, 50)
    first, second = hardness + draw.normal(0, 0.1, 50), hardness + 0.2 + draw.normal(0, 0.1, 50)
    paired = estimate_difference(first, second)
    assert paired.value == pytest.approx(0.2, abs=0.1) and paired.excludes_zero
    alone = [estimate_mean(values) for values in (first, second)]
    assert alone[0].high > alone[1].low
    ratios = estimate_difference([1, 2], [2, 4], ([10, 20], [10, 20]))
    assert ratios.value == pytest.approx(0.1)
