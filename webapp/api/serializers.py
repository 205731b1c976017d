"""Conversion of stored objects to JSON as `webapp.api.schemas` describes it. The tests compare the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.redaction import redact
from models.serving_records import ScoredTrack, StoredUser
from run_records.recorded_run import RecordedRun
from webapp.serving.published_versions import PublishedVersion
from webapp.serving.track_json import track_json


def user(stored: StoredUser) -> dict[str, Any]:
    """Serialize a `User`."""
    return {
        "user_id": stored.user_id, "age": stored.age, "country": stored.country,
        "tracks_heard": stored.interactions, "tier": stored.tier,
    }  # fmt: skip


def ranked_tracks(stored: Sequence[ScoredTrack]) -> list[dict[str, Any]]:
    """Serialize a list of `RankedTrack`."""
    return [
        {"rank": rank, "track": track_json(line), "score": score, "because": list(map(track_json, explanation))}
        for rank, (line, score, explanation) in enumerate(stored, 1)
    ]


def version(published: PublishedVersion, *, served: bool) -> dict[str, Any]:
    """Serialize a `Version`."""
    return {
        "version": published.name, "sequence": published.sequence, "created_at": published.manifest["created_at"],
        "served": served, "champion": published.champion, "counts": published.counts,
        "metrics": published.metrics["models"][published.champion],
    }  # fmt: skip


def run(recorded: RecordedRun) -> dict[str, Any]:
    """Serialize a `Run`."""
    return {
        "run_id": recorded.id, "status": recorded.status, "started_at": recorded.started,
        "duration_s": recorded.duration_s, "version": recorded.version, "stages": dict(recorded.status_counts),
        "error": None if recorded.error is None else redact(recorded.error),
    }  # fmt: skip
