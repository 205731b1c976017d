"""User segments: their members, and which are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark.evaluation.user_segments import MAX_COUNTRIES, MIN_USERS, Segments, by_activity, by_age, segment_users


def of(directory: Path, **details: Any) -> dict[str, Segments]:
    """Return the segments of users with these details; user i has i interactions."""
    count = len(next(iter(details.values())))
    pd.DataFrame({"index": range(count), **details}).to_parquet(directory / "part-0.parquet", index=False)
    return segment_users(np.arange(count, dtype=np.int32), np.arange(count), directory)


def members(segments: Segments) -> dict[str, list[int]]:
    """Return the users of each segment."""
    return {name: np.flatnonzero(segments.codes == code).tolist() for code, name in enumerate(segments.names)}


def test_activity_terciles() -> None:
    assert members(by_activity(np.array([9, 1, 5, 2, 8, 6]))) == {"low": [1, 3], "middle": [2, 5], "high": [0, 4]}


def test_users_with_equal_activity_stay_together() -> None:
    assert members(by_activity(np.array([1, 1, 1, 1, 2, 7]))) == {"low": [0, 1, 2, 3], "middle": [], "high": [4, 5]}
    assert members(by_activity(np.array([4, 4, 4])))["low"] == [0, 1, 2]


def test_age_bands() -> None:
    ages = pa.chunked_array([pa.array([17, 18, 24, 25, 34, 35, 44, 45, 99, 0, None, -1], pa.float64())])
    assert members(by_age(ages)) == {
        "under 18": [0, 9], "18-24": [1, 2], "25-34": [3, 4], "35-44": [5, 6], "45+": [7, 8],
    }  # fmt: skip


def test_small_segments_are_left_out(tmp_path: Path) -> None:
    segments = of(
        tmp_path,
        country=["SE"] * MIN_USERS + ["NO"] * (MIN_USERS - 1) + [None] * MIN_USERS,
        age=[30] * MIN_USERS + [50] * 59,
    )
    assert members(segments["country"]) == {"SE": list(range(MIN_USERS))}
    assert members(segments["age"]) == {"25-34": list(range(MIN_USERS)), "45+": list(range(MIN_USERS, 89))}
    assert segments["activity"].sizes.tolist() == [30, 30]  # 30, 30 and 29


def test_only_the_largest_countries_are_kept(tmp_path: Path) -> None:
    countries = [f"C{number:02}" for number in range(MAX_COUNTRIES + 3) for _ in range(MIN_USERS + number)]
    segments = of(tmp_path, country=countries)["country"]
    assert segments.names == [f"C{number:02}" for number in range(MAX_COUNTRIES + 2, 2, -1)]
    assert segments.sizes.tolist() == [MIN_USERS + number for number in range(MAX_COUNTRIES + 2, 2, -1)]


@pytest.mark.parametrize("details", [{"user_id": ["u"] * 90}, {"country": [None] * 90, "age": [None] * 90}])
def test_unknown_attributes_have_no_segments(tmp_path: Path, details: dict[str, Any]) -> None:
    assert set(of(tmp_path, **details)) == {"activity"}
