"""Beyond-accuracy metrics: examples by hand, and properties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark.evaluation.beyond_accuracy import CatalogueStatistics, gini
from spark.evaluation.metric_functions import compute_metrics
from spark.evaluation.track_labels import TrackLabels, load_track_labels
from spark.lists.topk import TopKLists

LISTENERS = np.array([8.0, 4.0, 1.0, 0.0])


def lists(*tracks: list[int], k: int = 4) -> TopKLists:
    """Return lists of these tracks, of length k."""
    made_lists = TopKLists.empty(len(tracks), k)
    for row, listed in enumerate(tracks):
        made_lists.tracks[row, : len(listed)] = listed
        made_lists.sizes[row] = len(listed)
    return made_lists


def described(directory: Path, **columns: Any) -> TrackLabels | None:
    """Return the labels of tracks with these details."""
    size = len(next(iter(columns.values())))
    pq.write_table(pa.table({"index": list(range(size)), **columns}), directory / "part-0.parquet")
    return load_track_labels(directory)


def test_list_metrics_by_hand() -> None:
    # Self-information among 8 users: 0, 1, 3 bits, and 3 for the track without listeners.
    computed = compute_metrics("lists", lists([0, 1, 2, 3], [1], []), CatalogueStatistics(LISTENERS, 8, None), 4)
    np.testing.assert_allclose(computed["novelty"], [7 / 4, 1, np.nan])
    np.testing.assert_allclose(computed["arp"], [13 / 4, 4, np.nan])
    np.testing.assert_allclose(computed["cold_tracks"], [3 / 4, 1, np.nan])
    assert np.isnan(computed["diversity"]).all()


def test_positions_beyond_the_cutoff_are_ignored() -> None:
    computed = compute_metrics("lists", lists([0, 1, 2, 3]), CatalogueStatistics(LISTENERS, 8, None), 2)
    assert (computed["novelty"][0], computed["arp"][0], computed["cold_tracks"][0]) == (0.5, 6.0, 0.5)


def test_diversity_by_hand(tmp_path: Path) -> None:
    # {artist a, pop}, {artist a, pop, rock}, {jazz}, nothing: similar by 2/3, 0, 0; pairs with the last do not count.
    labels = described(
        tmp_path,
        artist=["a", "a", None, None],
        genre=pa.array(["pop", "pop", "jazz", None]),
        tags=pa.array([["pop"], ["pop", "rock"], None, []], pa.list_(pa.string())),
    )
    catalogue = CatalogueStatistics(LISTENERS, 8, labels)
    computed = compute_metrics("lists", lists([3, 2, 1, 0], [2, 3], [0, 1], [0]), catalogue, 4)["diversity"]
    np.testing.assert_allclose(computed, [1 - 2 / 9, np.nan, 1 / 3, np.nan])
    assert compute_metrics("lists", lists([0, 1, 2]), catalogue, 2)["diversity"][0] == pytest.approx(1 / 3)


def test_artist_and_genre_of_the_same_name_differ(tmp_path: Path) -> None:
    labels = described(tmp_path, artist=["Soul", None], genre=[None, "Soul"])
    assert compute_metrics("lists", lists([0, 1]), CatalogueStatistics(LISTENERS, 8, labels), 4)[
        "diversity"
    ].tolist() == [1.0]


def test_catalogue_without_details_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert described(tmp_path / "bare", title=["x", "y"]) is None
    nulls = {"artist": pa.nulls(2, pa.string()), "genre": pa.nulls(2), "tags": pa.nulls(2, pa.list_(pa.string()))}
    assert described(tmp_path, **nulls) is None


def test_gini_by_hand() -> None:
    assert gini(np.array([3, 3, 3])) == 0.0
    assert gini(np.array([0, 5, 0, 0])) == pytest.approx(3 / 4)
    assert gini(np.array([3, 1])) == pytest.approx(1 / 4)


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=50).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    values = np.array(counts)
    differences = np.abs(values[:, None] - values).mean()
    assert gini(values) == pytest.approx(differences / (2 * values.mean()))
    assert gini(values) <= 1 - 1 / len(counts) + 1e-12
