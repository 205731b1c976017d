"""Segments of users for which metrics are reported separately: by activity, country and age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark.storage.tables import read_indexed

MIN_USERS = 30
"""Smaller segments are left out, because their figures are mostly noise."""

MAX_COUNTRIES = 12

_AGE_BANDS = {"under 18": 0, "18-24": 18, "25-34": 25, "35-44": 35, "45+": 45}
"""The lowest age of each band."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Segments:
    """A partition of users by one attribute."""

    names: list[str]
    codes: Codes
    """The position of each user's segment in `names`; -1 for users in none."""

    @property
    def sizes(self) -> Codes:
        """The number of users in each segment."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def select(self, positions: Sequence[int]) -> Segments:
        """Return the segments at these positions, in this order; users of the others are in none."""
        new_codes = np.full(len(self.names) + 1, -1)  # the last entry is for code -1
        new_codes[list(positions)] = np.arange(len(positions))
        return Segments([self.names[position] for position in positions], new_codes[self.codes])

    def drop_small(self, limit: int | None = None) -> Segments:
        """Return the segments with at least `MIN_USERS`; with a limit the largest of them, largest first."""
        positions = [int(position) for position in np.flatnonzero(self.sizes >= MIN_USERS)]
        if limit is not None:
            by_size = sorted(positions, key=lambda position: (-self.sizes[position], self.names[position]))
            positions = by_size[:limit]
        return self.select(positions)


def segment_users(users: NDArray[np.int32], training_counts: NDArray[np.int64], side: Path) -> dict[str, Segments]:
    """Return the segments by `activity`, `country` and `age`; attributes without a large enough segment are absent.

    Args:
        users: the users' indexes.
        training_counts: the number of interactions of each in the training part.
        side: the Parquet of all users that Ingest writes.
    """
    details = read_indexed(side).take(pa.array(users))
    segments = {"activity": by_activity(training_counts).drop_small()}
    if "country" in details.column_names:
        segments["country"] = by_country(details["country"].cast(pa.string())).drop_small(MAX_COUNTRIES)
    if "age" in details.column_names:
        segments["age"] = by_age(details["age"].cast(pa.float64())).drop_small()
    return {attribute: groups for attribute, groups in segments.items() if groups.names}


def by_activity(training_counts: NDArray[np.int64]) -> Segments:
    """Return terciles by the number of interactions. Equal numbers stay together, so sizes may be uneven."""
    bounds = np.quantile(training_counts, [1 / 3, 2 / 3], method="inverted_cdf")
    codes = np.searchsorted(bounds, training_counts, side="left").astype(np.int64)
    return Segments(["low", "middle", "high"], codes)


def by_country(countries: pa.ChunkedArray) -> Segments:
    """Return one segment for each country."""
    encoded = countries.combine_chunks().dictionary_encode()
    return Segments(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().astype(np.int64))


def by_age(ages: pa.ChunkedArray) -> Segments:
    """Return one segment for each age band."""
    years = pc.fill_null(ages, np.nan).to_numpy()
    bands = np.searchsorted(list(_AGE_BANDS.values()), years, side="right") - 1
    return Segments(list(_AGE_BANDS), np.where(years >= 0, bands, -1).astype(np.int64))
