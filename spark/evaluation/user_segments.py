"""Groups of users that are measured apart: by how much they listened, where they live, and how old they are."""

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
"""A segment of fewer users is left out: its figures would say more about chance."""
MOST_COUNTRIES = 12

_AGES = {"under 18": 0, "18-24": 18, "25-34": 25, "35-44": 35, "45+": 45}
"""Each band's first year."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Segments:
    """One way of parting users into groups."""

    names: list[str]
    codes: Codes
    """The place of each user's group in `names`; -1: in none."""

    @property
    def sizes(self) -> Codes:
        """How many users each group has."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def only(self, places: Sequence[int]) -> Segments:
        """The groups at these places, in this order; users of others are in none."""
        renamed = np.full(len(self.names) + 1, -1)  # the last is what -1 finds
        renamed[list(places)] = np.arange(len(places))
        return Segments([self.names[place] for place in places], renamed[self.codes])

    def large_enough(self, most: int | None = None) -> Segments:
        """Those that are not too small; the largest of them, largest first, where `most` says how many at most."""
        places = [int(place) for place in np.flatnonzero(self.sizes >= MIN_USERS)]
        if most is not None:
            places = sorted(places, key=lambda place: (-self.sizes[place], self.names[place]))[:most]
        return self.only(places)


def segment_users(users: NDArray[np.int32], heard: NDArray[np.int64], side: Path) -> dict[str, Segments]:
    """The groups by `activity`, `country` and `age` that have at least `LEAST` users; nothing of what is not known.

    Args:
        users: the users' indexes.
        heard: how many interactions each has in the training part.
        side: the Parquet of all users that Ingest wrote.
    """
    mine = read_indexed(side).take(pa.array(users))
    known = mine.column_names
    found = {"activity": by_activity(heard).large_enough()}
    if "country" in known:
        found["country"] = by_country(mine["country"].cast(pa.string())).large_enough(MOST_COUNTRIES)
    if "age" in known:
        found["age"] = by_age(mine["age"].cast(pa.float64())).large_enough()
    return {name: groups for name, groups in found.items() if groups.names}


def by_activity(heard: NDArray[np.int64]) -> Segments:
    """Terciles by the number of interactions. Users with the same number stay together, so thirds may be uneven."""
    bounds = np.quantile(heard, [1 / 3, 2 / 3], method="inverted_cdf")
    return Segments(["low", "middle", "high"], np.searchsorted(bounds, heard, side="left").astype(np.int64))


def by_country(countries: pa.ChunkedArray) -> Segments:
    """One group a country."""
    encoded = countries.combine_chunks().dictionary_encode()
    return Segments(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().astype(np.int64))


def by_age(ages: pa.ChunkedArray) -> Segments:
    """Bands of years."""
    years = pc.fill_null(ages, np.nan).to_numpy()
    bands = np.searchsorted(list(_AGES.values()), years, side="right") - 1
    return Segments(list(_AGES), np.where(years >= 0, bands, -1).astype(np.int64))
