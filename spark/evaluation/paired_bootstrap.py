"""Paired bootstrap: differences between models that were evaluated on the same users, with intervals.

Models agree on which users are easy, so differences within users vary much less than the metrics themselves. The
interval of a difference is therefore much narrower than those of the two means suggest.
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
    """The mean over users of one model's metric minus another's."""

    difference: float
    interval: Interval


class PerUserMetrics:
    """One metric of each user, by model."""

    def __init__(self, evaluated: dict[str, Path], metric: str) -> None:
        """Read the metric.

        Args:
            evaluated: the Parquet that the evaluation of each model wrote.

        Raises:
            ValueError: two models were evaluated on different users.
        """
        tables = {name: _read_ranked_users(directory, metric) for name, directory in evaluated.items()}
        self.users: NDArray[np.int32] = next(iter(tables.values()))[_USER].to_numpy()
        self.values: dict[str, Values] = {name: table[metric].to_numpy() for name, table in tables.items()}
        for name, table in tables.items():
            if not np.array_equal(table[_USER].to_numpy(), self.users):
                raise ValueError(f"{name} was evaluated on other users than the first candidate.")

    def differences(self, models: list[str], reference: str) -> dict[str, Difference]:
        """Return the difference of each model to a reference model."""
        return dict(
            zip(models, differences([self.values[name] for name in models], self.values[reference]), strict=True)
        )

    def save(self, champion: str, baseline: str, file: Path) -> None:
        """Write `user`, the champion's metric and the baseline's, for comparison with later versions."""
        values = {_CHAMPION: self.values[champion], _BASELINE: self.values[baseline]}
        pq.write_table(pa.table({_USER: self.users, **values}), file)


def differences(models: list[Values], reference: Values) -> list[Difference]:
    """Return the difference of each model's values to those of a reference, paired by user; 0 for equal values."""
    per_user = np.column_stack([values - reference for values in models])
    return [
        Difference(difference=float(mean), interval=interval)
        for mean, interval in zip(per_user.mean(axis=0), mean_intervals(per_user), strict=True)
    ]


def compare_to_popularity(evaluation: Path) -> Difference:
    """Return the difference of a version's champion to popularity, from the file that `PerUserMetrics.save` wrote."""
    table = pq.read_table(evaluation)
    return differences([table[_CHAMPION].to_numpy()], table[_BASELINE].to_numpy())[0]


def compare_versions(evaluation: Path, other: Path) -> Difference | None:
    """Return the difference of a version's champion to another version's; None if their users differ."""
    metrics, other_metrics = pq.read_table(evaluation), pq.read_table(other)
    if not metrics[_USER].equals(other_metrics[_USER]):
        return None
    return differences([metrics[_CHAMPION].to_numpy()], other_metrics[_CHAMPION].to_numpy())[0]


def _read_ranked_users(evaluated: Path, metric: str) -> pa.Table:
    """Return `user` and the metric of the users with a relevant track, sorted by user."""
    table = ds.dataset(evaluated).to_table(columns=[_USER, metric], filter=pc.field("relevant") > 0)
    return table.sort_by(_USER)
