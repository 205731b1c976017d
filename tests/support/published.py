"""Small published versions and run records for the tests of page and API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_json
from models.registry import VersionRegistry
from support.versions import write_tables

TOKEN = "a token for these tests"
HOSTILE = "<script>alert('x')</script>"
ODD_IDS = ["a/b", "/lead//double/", " blank ", "50%2F?&#", '"quoted"', "🎧 ü", "..", "line\nbreak", HOSTILE]
USERS = sorted(["u1", "u10", "u2", *ODD_IDS])
TRACKS = ["plain", "untitled", "hostile"]
TITLES = ["Plain song", None, HOSTILE]
METRICS = {
    "popularity": {"ndcg@10": 0.1, "recall@10": 0.2, "ndcg@20": 0.12},
    "als": {"ndcg@10": 0.25, "recall@10": 0.3, "ndcg@20": 0.27},
    "als_explicit": {"ndcg@10": 0.05, "recall@10": 0.06, "ndcg@20": 0.07, "rmse": 0.8642},
}
CURVES = {
    "popularity": {"ndcg": [0.06, 0.08, 0.1], "recall": [0.1, 0.15, 0.2]},
    "als": {"ndcg": [0.15, 0.2, 0.25], "recall": [0.1, 0.2, 0.3]},
}


def spread(of: str) -> dict[str, Any]:
    """Return a distribution as in profile.json; one bin is empty."""
    histogram = [{"from": 1, "to": 2, "count": 3}, {"from": 4, "to": 8, "count": 1}]
    return {"of": of, "mean": 2.5, "min": 1, "max": 7, "quartiles": [1.0, 2.0, 4.0], "histogram": histogram}


def publish(
    models_root: Path, dataset: str = "tiny", *, version: str = "v1", ids: Sequence[str] = TRACKS, **facts: Any
) -> Path:
    """Publish and promote a version in which each user has heard the first track and is recommended the others."""
    heard, *others = ids
    registry = VersionRegistry(models_root / dataset)
    made = registry.root / version
    write_tables(
        made,
        users=[(index, user, None if index else 31, "NO", 1, "content" if index else "model")
               for index, user in enumerate(USERS)],
        tracks=[(0, ids[0], TITLES[0], "Somebody", "folk", 9), (1, ids[1], TITLES[1], None, None, 5),
                (2, ids[2], TITLES[2], "Somebody else", "jazz", 2)],
        lists=[(user, *listed) for user in USERS
               for listed in ((1, others[0], 0.75, [heard]), (2, others[1], 0.5, []))],
        similar=[(heard, 1, others[1], 0.875)],
        interactions=[(index, 0, 1234.0) for index in range(len(USERS))],
    )  # fmt: skip

    split = {"train": 8000, "test": 2000, "users_evaluated": 321, "fingerprint": "f"}
    measured = {"dataset": dataset, "version": version, "champion": "als", "split": split, "models": METRICS}
    write_json(made / "metrics.json", measured | facts.pop("metrics", {}))
    rows = {"read": 10500, "kept": 10000, "merged": 477, "rejected": 23}
    profile = {
        "feedback": "plays", "users": 12, "tracks": 3, "interactions": 12, "sparsity": 0.98765, "rows": rows,
        "rejected_by_reason": {"not_a_number": 23},
        "checks": [
            {"check": "future", "verdict": "ok", "figure": 0, "sentence": "Nothing to say."},
            {"check": "without_entry", "verdict": "notice", "figure": 0.5, "sentence": "Half of <b> is missing."},
        ],
        **{name: spread(name) for name in ("value", "per_user", "per_track")},
    }  # fmt: skip
    write_json(made / "profile.json", facts.pop("profile", profile))
    for name in ("leaderboard", "tuning"):
        if name in facts:
            write_json(made / f"{name}.json", facts.pop(name))
    counts = {"users": 12345, "tracks": 3, "interactions": 12, "recommendations": 24}
    about = {"version": version, "dataset": dataset, "title": "Tiny & small", "item_label": "song", "counts": counts}
    registry.write_manifest(made, about | facts)
    (made / "_SUCCESS").touch()
    registry.promote(version, expected=registry.current(), by="user")
    return made


def record(data_root: Path, run: str, *events: dict[str, Any] | str, dataset: str = "tiny") -> None:
    """Write a run record. A string is written unchanged, as one line."""
    directory = data_root / "runs" / dataset
    directory.mkdir(parents=True, exist_ok=True)
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (directory / f"{run}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def stage(name: str, status: str, error: str | None = None, model: str | None = None) -> dict[str, Any]:
    return {"event": "stage", "stage": name, "model": model, "status": status, "error": error}


def started(at: str) -> dict[str, Any]:
    return {"event": "run_started", "run": "r", "at": at, "dataset": "tiny"}
