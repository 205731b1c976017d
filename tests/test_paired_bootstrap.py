"""Paired differences between models and between versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spark.evaluation.bootstrap_intervals import mean_intervals
from spark.evaluation.paired_bootstrap import PerUserMetrics, compare_to_popularity, compare_versions, differences

USERS = 400


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Path]:
    """Evaluations of three models, the first two equal; users are in any order, some without a metric."""
    rng = np.random.default_rng(6)
    users = rng.permutation(USERS)
    values = rng.random(USERS)
    directories = {}
    for number, (name, gain) in enumerate({"popularity": 0.0, "twin": 0.0, "als": 0.1}.items()):
        frame = pd.DataFrame({"user": users, "relevant": (users % 10 > 0).astype("int32"), "ndcg@10": values + gain})
        frame.loc[frame["relevant"] == 0, "ndcg@10"] = np.nan
        if name == "als":
            frame["ndcg@10"] += rng.normal(0, 0.01, USERS)
        directories[name] = tmp_path / name
        directories[name].mkdir()
        shuffled = frame.astype({"user": "int32"}).sample(frac=1, random_state=number)
        for part, rows in enumerate((shuffled[:150], shuffled[150:])):
            rows.to_parquet(directories[name] / f"part-{part}.parquet", index=False)
    return directories


def test_equal_models_have_a_difference_of_zero(measured: dict[str, Path]) -> None:
    same = {"difference": 0.0, "interval": [0.0, 0.0]}
    by_model = PerUserMetrics(measured, "ndcg@10").differences(["popularity", "twin"], "popularity")
    assert by_model == {"popularity": same, "twin": same}


def test_differences_are_taken_within_users(measured: dict[str, Path]) -> None:
    per_user = PerUserMetrics(measured, "ndcg@10")
    (difference,) = per_user.differences(["als"], "popularity").values()
    assert difference["difference"] == pytest.approx(0.1, abs=0.002)
    low, high = difference["interval"]
    assert 0.097 < low < difference["difference"] < high < 0.103
    ((alone_low, alone_high),) = mean_intervals(per_user.values["als"])
    assert high - low < (alone_high - alone_low) / 10


def test_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random(100), rng.random(100)
    (there,), (back,) = differences([one], other), differences([other], one)
    assert back["difference"] == -there["difference"]
    assert back["interval"] == pytest.approx([-there["interval"][1], -there["interval"][0]], abs=2e-6)


def test_users_without_relevant_track_are_left_out(measured: dict[str, Path]) -> None:
    per_user = PerUserMetrics(measured, "ndcg@10")
    assert per_user.users.tolist() == [user for user in range(USERS) if user % 10]
    assert all(np.isfinite(values).all() for values in per_user.values.values())


def test_models_evaluated_on_other_users_are_refused(measured: dict[str, Path]) -> None:
    (measured["als"] / "part-1.parquet").unlink()
    with pytest.raises(ValueError, match="als was evaluated on other users"):
        PerUserMetrics(measured, "ndcg@10")


def test_versions_are_compared_by_their_saved_metrics(measured: dict[str, Path], tmp_path: Path) -> None:
    per_user = PerUserMetrics(measured, "ndcg@10")
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    per_user.save("als", "popularity", first)
    per_user.save("twin", "popularity", second)
    (expected,) = per_user.differences(["als"], "popularity").values()
    assert compare_to_popularity(first) == compare_versions(first, second) == expected
    assert compare_versions(first, first) == {"difference": 0.0, "interval": [0.0, 0.0]}
    pd.read_parquet(second)[1:].to_parquet(second, index=False)
    assert compare_versions(first, second) is None
