"""Bootstrap intervals: agreement with theory, and independence of batches."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from spark.evaluation.bootstrap_intervals import (
    RESAMPLES,
    mean_intervals,
    mean_terms,
    percentile_interval,
    resampled_ratios,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_interval_agrees_with_the_normal_approximation(rng: np.random.Generator) -> None:
    values = rng.exponential(size=(5_000, 60))
    half = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    ends = (np.array(mean_intervals(values)) - values.mean(axis=0)[:, None]) / half[:, None]
    # With 1,000 resamples, the standard error of an interval's end is about 4% of the half-width.
    assert ends.mean(axis=0) == pytest.approx([-1, 1], abs=0.04)
    assert np.abs(np.abs(ends) - 1).max() < 0.2


def test_coverage_of_intervals_is_95_percent(rng: np.random.Generator) -> None:
    held = [low <= 1.0 <= high for low, high in mean_intervals(rng.exponential(size=(200, 300)))]
    assert 0.9 < np.mean(held) < 0.98


def test_zero_difference_has_a_zero_interval() -> None:
    assert mean_intervals(np.zeros(100)) == [[0.0, 0.0]]


def test_pairing_narrows_the_interval(rng: np.random.Generator) -> None:
    users = rng.normal(0, 10, 2_000)
    scores, baseline = users + rng.normal(0.1, 1, 2_000), users
    (alone,), (paired,) = mean_intervals(scores), mean_intervals(scores - baseline)
    assert paired[0] > 0 > alone[0]
    assert paired[1] - paired[0] < (alone[1] - alone[0]) / 5


def test_batch_size_does_not_change_the_interval(rng: np.random.Generator) -> None:
    values = rng.random((3_000, 4))
    values[::7, 2] = np.nan

    def cut(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (mean_terms(values[start : start + size]) for start in range(0, len(values), size))

    expected = resampled_ratios(cut(len(values)))
    assert expected.shape == (RESAMPLES, 4)
    np.testing.assert_allclose(resampled_ratios(cut(17)), expected, rtol=1e-5)
    assert mean_intervals(values) == [pytest.approx(percentile_interval(ratios), abs=2e-6) for ratios in expected.T]


def test_nan_is_ignored(rng: np.random.Generator) -> None:
    values = np.where(np.arange(4_000) % 2, rng.normal(5, 1, 4_000), np.nan)
    ((low, high),) = mean_intervals(values)
    assert low < np.nanmean(values) < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2_000), rel=0.1)


def test_resamples_without_users_are_ignored() -> None:
    assert mean_intervals(np.array([0.5])) == [[0.5, 0.5]]


def test_100000_users_take_seconds(rng: np.random.Generator) -> None:
    values = rng.random((100_000, 50), np.float32).astype(np.float64)
    began = time.perf_counter()
    mean_intervals(values)
    assert time.perf_counter() - began < 20  # one second on an idle machine
