"""Checks of the data: which refuse a run, which give a notice, and which pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from spark.ingest.data_checks import DataFacts, raise_on_failed_check, run_checks

VALID = DataFacts(
    rows=120,
    per_user=np.array([6, 7, 8, 9, 10, 0]),
    per_track=np.array([5, 5, 10, 10, 10]),
    without_entry=0,
    unusable={"tracks": 0, "users": 0},
    is_rating=True,
    commonest=(4.0, 20),
    distinct_values=5,
    future=0,
)


def verdicts(facts: DataFacts) -> dict[str, str]:
    """Return the verdict of every check."""
    return {check["check"]: check["verdict"] for check in run_checks(facts)}


def test_valid_data_passes_every_check() -> None:
    assert set(verdicts(VALID).values()) == {"ok"}
    assert set(verdicts(VALID)) == {
        "empty_input", "single_user", "single_track", "constant_ratings", "commonest_value", "top_tracks",
        "users_with_few", "tracks_with_few", "without_entry", "unusable_tracks", "unusable_users", "future",
    }  # fmt: skip


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "empty_input": ({"rows": 0}, "0 rows were read."),
    "single_user": ({"per_user": np.array([40, 0])}, "only one user has interactions; at least two are required."),
    "single_track": ({"per_track": np.array([0, 40])}, "only one track has interactions; at least two are required."),
    "constant_ratings": (
        {"distinct_values": 1, "commonest": (4.0, 40)},
        "every rating is 4, so ratings carry",
    ),
}


@pytest.mark.parametrize("check", UNUSABLE)
def test_unusable_data_is_refused_with_its_message(check: str) -> None:
    changed, message = UNUSABLE[check]
    facts = replace(VALID, **changed)
    assert verdicts(facts)[check] == "refused"
    with pytest.raises(UserError, match=f"plays.csv: {message}"):
        raise_on_failed_check(run_checks(facts), Path("plays.csv"))


def test_valid_data_is_not_refused() -> None:
    raise_on_failed_check(run_checks(VALID), Path("plays.csv"))


NOTICES: dict[str, tuple[dict[str, Any], float, str]] = {
    "top_tracks": (
        {"per_track": np.array([90, *[1] * 60])},
        0.6,
        "60.0% of the interactions are with the most",
    ),
    "users_with_few": ({"per_user": np.array([4, 4, 32, 0, 0])}, 2 / 3, "66.7% of the users have fewer than five"),
    "tracks_with_few": ({"per_track": np.array([4, 4, 32])}, 2 / 3, "66.7% of the tracks have fewer than five"),
    "without_entry": (
        {"without_entry": 1},
        0.2,
        "20.0% of the tracks with interactions are missing",
    ),
    "commonest_value": ({"commonest": (5.0, 36)}, 0.9, "90.0% of the ratings are 5."),
    "unusable_tracks": ({"unusable": {"tracks": 3}}, 3, "3 rows of [tracks] are malformed or without an id."),
    "future": ({"future": 1}, 1, "1 interaction is dated in the future."),
}


@pytest.mark.parametrize("check", NOTICES)
def test_unusual_data_gives_a_notice(check: str) -> None:
    changed, figure, sentence = NOTICES[check]
    (result,) = (result for result in run_checks(replace(VALID, **changed)) if result["check"] == check)
    assert result["verdict"] == "notice"
    assert result["figure"] == pytest.approx(figure)
    assert result["sentence"].startswith(sentence)


def test_constant_plays_are_not_refused() -> None:
    by_check = verdicts(replace(VALID, is_rating=False, distinct_values=1, commonest=(1.0, 40)))
    assert not {"constant_ratings", "commonest_value"} & set(by_check)
    assert set(by_check.values()) == {"ok"}


def test_missing_tables_are_not_checked() -> None:
    by_check = verdicts(replace(VALID, without_entry=None, unusable={}))
    assert not {"without_entry", "unusable_tracks", "unusable_users"} & set(by_check)
