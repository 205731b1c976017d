"""How far a mean over users would move with other users: percentile intervals of the bootstrap, in numpy alone.

Users are resampled, not interactions, because those of one user hang together (Efron and Tibshirani 1993). In each
resample a user counts Poisson(1) times, which for more than a few users is the same as drawing with replacement, and
needs one pass over them (Hanley and MacGibbon 2006; Chamandy et al. 2012). So memory does not grow with the users, and
how they are cut into blocks changes nothing: a user's weights depend on the seed and the place alone. A million users
with a hundred columns take about ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
LEVEL = 0.95
BLOCK = 1_024
"""Users that are weighted at a time: their weights stay in the cache."""

Values = NDArray[np.float64]
Interval = list[float]
"""The lower end, and the upper."""

_SEED = 20_071
_ABOVE = np.array([41427, 17317, 5263, 1244, 240, 39, 5, 1], np.uint16)
"""P(Poisson(1) > 0), P(Poisson(1) > 1), … in 65,536ths."""


def mean_intervals(values: Values) -> list[Interval]:
    """The interval of each column's mean.

    Args:
        values: shape (users, columns), or (users,) for one; NaN where a user has none.
    """
    return [
        percentile_interval(ratios)
        for ratios in resampled_ratios(map(mean_terms, resample_batches(values.reshape(len(values), -1)))).T
    ]


def resample_batches(values: Values) -> Iterator[Values]:
    """The rows, `BLOCK` of them at a time."""
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))


def mean_terms(values: Values) -> tuple[Values, Values]:
    """What `resampled_ratios` needs for means: the values, and how many a user has, which is one or, for NaN, none."""
    known = ~np.isnan(values)
    return np.where(known, values, 0.0), known.astype(np.float64)


def resampled_ratios(users: Iterable[tuple[Values, Values]]) -> Values:
    """Ratios of sums over users in each resample, shape (RESAMPLES, columns); NaN where the lower sum is 0.

    Args:
        users: block by block what each user adds to the upper sums and to the lower ones, each of shape
            (users in the block, columns).
    """
    bits = np.random.SFC64(_SEED)
    sums: Values = np.zeros(())
    for upper, lower in users:
        block = np.hstack([upper, lower]).astype(np.float32)
        sums = sums + _weights(bits, len(block)).T @ block
    above, below = np.split(sums, 2, axis=1)
    with np.errstate(invalid="ignore"):
        return above / np.where(below == 0, np.nan, below)


def percentile_interval(resampled: Values) -> Interval:
    """The middle 95 % of a statistic's values in the resamples, to six decimals. Where it has none, it is left out."""
    tail = (1 - LEVEL) / 2
    found = np.percentile(resampled[~np.isnan(resampled)], [100 * tail, 100 * (1 - tail)])
    return [round(float(end), 6) + 0.0 for end in found]


def _weights(bits: np.random.SFC64, users: int) -> NDArray[np.float32]:
    """How often each user counts in each resample, shape (users, RESAMPLES)."""
    uniform = bits.random_raw(users * RESAMPLES // 4).view(np.uint16).reshape(users, RESAMPLES)
    drawn = np.zeros(uniform.shape, np.uint8)
    for threshold in _ABOVE:
        drawn += uniform < threshold
    return drawn.astype(np.float32)
