"""Differences between models that were measured on the same users, and how sure they are: a paired bootstrap.

What one user finds easy, every model finds easy; the difference within each user varies much less than either value,
so its interval is much narrower than those of the two means suggest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark.evaluation.bootstrap_intervals import Interval, Values, mean_intervals

_USER, _CHAMPION, _BASELINE = "user", "champion", "popularity"


class Difference(TypedDict):
    """The mean over users of one model's value less another's."""

    difference: float
    interval: Interval


class PerUserMetrics:
    """The values of a metric that each user has, by model."""

    def __init__(self, measured: dict[str, Path], metric: str) -> None:
        """Reads it.

        Args:
            measured: of each model, the Parquet that its evaluation wrote.

        Raises:
            ValueError: two were not measured on the same users.
        """
        tables = {name: _ranked(directory, metric) for name, directory in measured.items()}
        self.users: NDArray[np.int32] = next(iter(tables.values()))[_USER].to_numpy()
        self.values: dict[str, Values] = {name: table[metric].to_numpy() for name, table in tables.items()}
        for name, table in tables.items():
            if not np.array_equal(table[_USER].to_numpy(), self.users):
                raise ValueError(f"{name} was not measured on the same users as the other candidates.")

    def differences(self, models: list[str], to: str) -> dict[str, Difference]:
        """Of each of the models to another one."""
        return dict(zip(models, differences([self.values[name] for name in models], self.values[to]), strict=True))

    def keep(self, champion: str, baseline: str, file: Path) -> None:
        """Writes what a later version can be compared by: `user`, the champion's value and popularity's."""
        values = {_CHAMPION: self.values[champion], _BASELINE: self.values[baseline]}
        pq.write_table(pa.table({_USER: self.users, **values}), file)


def differences(values: list[Values], to: Values) -> list[Difference]:
    """Of each model's values to another's, user by user; exactly 0 where they are the same."""
    found = np.column_stack([each - to for each in values])
    return [
        Difference(difference=float(mean), interval=interval)
        for mean, interval in zip(found.mean(axis=0), mean_intervals(found), strict=True)
    ]


def compare_to_popularity(kept: Path) -> Difference:
    """Of the champion to popularity, from what `keep` wrote."""
    table = pq.read_table(kept)
    return differences([table[_CHAMPION].to_numpy()], table[_BASELINE].to_numpy())[0]


def compare_versions(kept: Path, other: Path) -> Difference | None:
    """Of one version's champion to another's, by what `keep` wrote; None if their users are not the same."""
    mine, theirs = pq.read_table(kept), pq.read_table(other)
    if not mine[_USER].equals(theirs[_USER]):
        return None
    return differences([mine[_CHAMPION].to_numpy()], theirs[_CHAMPION].to_numpy())[0]


def _ranked(measured: Path, metric: str) -> pa.Table:
    """`user` and the metric, of the users to whom something is relevant, by user."""
    table = ds.dataset(measured).to_table(columns=[_USER, metric], filter=pc.field("relevant") > 0)
    return table.sort_by(_USER)
