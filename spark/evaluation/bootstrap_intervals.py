"""Percentile bootstrap intervals of means over users, in numpy.

Users are resampled, not interactions, because the interactions of a user are correlated (Efron and Tibshirani 1993).
In each resample a user has a Poisson(1) weight, which for many users is equivalent to drawing with replacement and
needs one pass (Hanley and MacGibbon 2006; Chamandy et al. 2012). Memory does not grow with the number of users, and
batches do not change the result: a user's weights depend only on the seed and the position. A million users with a
hundred columns take about ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
LEVEL = 0.95
BATCH = 1_024
"""Users whose weights are drawn at a time, so that the weights stay in the CPU's cache."""

Values = NDArray[np.float64]
Interval = list[float]
"""The lower and the upper end."""

_SEED = 20_071
_TAIL_PROBABILITIES = np.array([41427, 17317, 5263, 1244, 240, 39, 5, 1], np.uint16)
"""P(Poisson(1) > 0), P(Poisson(1) > 1), … in units of 1/65,536."""


def mean_intervals(values: Values) -> list[Interval]:
    """Return the interval of each column's mean.

    Args:
        values: shape (users, columns), or (users,) for one column; NaN where a user has no value.
    """
    batches = resample_batches(values.reshape(len(values), -1))
    return [percentile_interval(means) for means in resampled_ratios(map(mean_terms, batches)).T]


def resample_batches(values: Values) -> Iterator[Values]:
    """Yield the rows in batches of `BATCH`."""
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))


def mean_terms(values: Values) -> tuple[Values, Values]:
    """Return the numerators and denominators that `resampled_ratios` needs for means: values and counts, 0 for NaN."""
    is_known = ~np.isnan(values)
    return np.where(is_known, values, 0.0), is_known.astype(np.float64)


def resampled_ratios(batches: Iterable[tuple[Values, Values]]) -> Values:
    """Return the ratio of two sums over users in each resample, shape (RESAMPLES, columns); NaN for a denominator of 0.

    Args:
        batches: each user's terms of numerator and denominator, both of shape (users in the batch, columns).
    """
    generator = np.random.SFC64(_SEED)
    sums: Values = np.zeros(())
    for numerators, denominators in batches:
        terms = np.hstack([numerators, denominators]).astype(np.float32)
        sums = sums + _draw_weights(generator, len(terms)).T @ terms
    numerator, denominator = np.split(sums, 2, axis=1)
    with np.errstate(invalid="ignore"):
        return numerator / np.where(denominator == 0, np.nan, denominator)


def percentile_interval(resampled: Values) -> Interval:
    """Return the middle `LEVEL` of a statistic's resampled values, rounded to six decimals. NaN is ignored."""
    tail = (1 - LEVEL) / 2
    ends = np.percentile(resampled[~np.isnan(resampled)], [100 * tail, 100 * (1 - tail)])
    return [round(float(end), 6) + 0.0 for end in ends]


def _draw_weights(generator: np.random.SFC64, users: int) -> NDArray[np.float32]:
    """Return the weight of each user in each resample, shape (users, RESAMPLES)."""
    uniform = generator.random_raw(users * RESAMPLES // 4).view(np.uint16).reshape(users, RESAMPLES)
    weights = np.zeros(uniform.shape, np.uint8)
    for probability in _TAIL_PROBABILITIES:
        weights += uniform < probability
    return weights.astype(np.float32)
