"""The health of a dataset on the overview."""

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
    created_at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    models = {"popularity": {"ndcg@10": 0.1}, "als": {"ndcg@10": 0.2}}
    served = ServedVersion(
        "tiny",
        "v1",
        Path("v1"),
        (1, 1),
        {"created_at": created_at, "sequence": 1},
        {"champion": champion, "models": models},
        {},
    )
    served.__dict__["leaderboard"] = leaderboard or []  # preset, so that it is not read from the version
    return served


def recorded_run(status: str, version: str | None = "v1") -> RecordedRun:
    return RecordedRun("r1", "tiny", "2026-11-25T10:00:00Z", status, 1.0, version, (), {}, {})


def level_and_reasons(
    served: ServedVersion, last: RecordedRun | None = None, *, pinned: bool = False, newest: str = "v1"
) -> tuple[str, str]:
    health = dataset_health(served, last, pinned=pinned, newest_version=newest)
    return health.level, " ".join(health.reasons)


def test_ok_after_successful_run() -> None:
    assert level_and_reasons(published(), recorded_run("done")) == (
        "ok",
        "The promoted version is served, and the last run succeeded.",
    )


@pytest.mark.parametrize("status", ["failed", "unfinished"])
def test_warns_of_failed_run(status: str) -> None:
    level, reasons = level_and_reasons(published(), recorded_run(status))
    assert level == "warning"
    assert reasons.startswith("The last run ")


def test_warns_of_unserved_newer_version() -> None:
    assert GATE in level_and_reasons(published(), recorded_run("done", "v2"), newest="v2")[1]
    assert GATE not in level_and_reasons(published(), recorded_run("done", "v2"), newest="v2", pinned=True)[1]
    refused = replace(recorded_run("done", "v2"), refusal="it has 20 users.")
    assert level_and_reasons(published(), refused, newest="v2")[1].endswith("but not served: it has 20 users.")
    assert GATE in level_and_reasons(published(), refused, newest="v3")[1]


def test_ok_if_last_run_chose_served_version() -> None:
    assert level_and_reasons(published(), recorded_run("done", "v1"), newest="v2")[0] == "ok"


def test_warns_of_stale_data_and_weak_champion() -> None:
    assert f"ingested {STALE_DAYS} days ago" in level_and_reasons(published(days=STALE_DAYS))[1]
    assert level_and_reasons(published(days=STALE_DAYS - 1))[0] == "ok"
    assert "all users get the same list" in level_and_reasons(published(champion="popularity"))[1]
    unsure = [{"model": "als", "to_popularity": {"interval": [-0.1, 0.2]}}]
    assert "may be no better than popularity" in level_and_reasons(published(leaderboard=unsure))[1]


def test_error_if_fallback_is_served() -> None:
    served = published()
    served.fallback_reason = "v2 cannot be read."
    assert level_and_reasons(served) == ("error", "v2 cannot be read. Version 1 is served instead.")
