"""What the overview says of a dataset: green, amber or red, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from run_records.recorded_run import RecordedRun
from webapp.serving.dataset_health import STALE_DAYS, dataset_health
from webapp.serving.served_version import ServedVersion

GATE = "did not pass the gate"


def published(
    *, days: int = 0, champion: str = "als", leaderboard: list[dict[str, Any]] | None = None
) -> ServedVersion:
    made = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    models = {"popularity": {"ndcg@10": 0.1}, "als": {"ndcg@10": 0.2}}
    here = ServedVersion(
        "tiny",
        "v1",
        Path("v1"),
        (1, 1),
        {"created_at": made, "sequence": 1},
        {"champion": champion, "models": models},
        {},
    )
    here.__dict__["leaderboard"] = leaderboard or []  # else it is read from the version
    return here


def ended(status: str, version: str | None = "v1") -> RecordedRun:
    return RecordedRun("r1", "tiny", "2026-11-25T10:00:00Z", status, 1.0, version, (), {}, {})


def said(
    here: ServedVersion, last: RecordedRun | None = None, *, pinned: bool = False, newest: str = "v1"
) -> tuple[str, str]:
    found = dataset_health(here, last, pinned=pinned, newest_version=newest)
    return found.level, " ".join(found.reasons)


def test_all_is_well_where_the_last_run_ended_well_and_what_it_made_serves() -> None:
    assert said(published(), ended("done")) == ("ok", "The promoted version is served, and the last run succeeded.")


@pytest.mark.parametrize("status", ["failed", "unfinished"])
def test_a_run_that_did_not_end_well_is_to_be_looked_at(status: str) -> None:
    level, reasons = said(published(), ended(status))
    assert level == "warning"
    assert reasons.startswith("The last run ")


def test_a_newer_version_that_is_not_served_is_to_be_looked_at() -> None:
    assert GATE in said(published(), ended("done", "v2"), newest="v2")[1]
    assert GATE not in said(published(), ended("done", "v2"), newest="v2", pinned=True)[1]
    refused = replace(ended("done", "v2"), refusal="it has 20 users.")
    assert said(published(), refused, newest="v2")[1].endswith("but not served: it has 20 users.")
    assert GATE in said(published(), refused, newest="v3")[1]


def test_unless_the_last_run_asked_for_the_one_that_serves() -> None:
    assert said(published(), ended("done", "v1"), newest="v2")[0] == "ok"


def test_what_is_old_or_no_better_than_popularity_is_to_be_looked_at() -> None:
    assert f"ingested {STALE_DAYS} days ago" in said(published(days=STALE_DAYS))[1]
    assert said(published(days=STALE_DAYS - 1))[0] == "ok"
    assert "all users get the same list" in said(published(champion="popularity"))[1]
    unsure = [{"model": "als", "to_popularity": {"interval": [-0.1, 0.2]}}]
    assert "may be no better than popularity" in said(published(leaderboard=unsure))[1]


def test_another_version_that_serves_instead_is_bad() -> None:
    here = published()
    here.fallback_reason = "v2 cannot be read."
    assert said(here) == ("error", "v2 cannot be read. Version 1 is served instead.")
