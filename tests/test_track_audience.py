"""The audiences of tracks."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from support.versions import write_version

from models.serving_store import MAX_AUDIENCE, ServingStore
from models.track_audience import TrackAudience


@pytest.mark.parametrize(("files", "limit"), [(1, 3), (7, 3), (7, 1), (3, 1000)])
def test_best_users_match_a_plain_sort(files: int, limit: int) -> None:
    rng, tracks, length = np.random.default_rng(files), 13, 5
    audience, expected = TrackAudience(tracks, limit), defaultdict(list)
    for number in range(files):
        users = np.repeat(np.arange(40) + 40 * number, length)
        listed = np.concatenate(
            [rng.permutation(tracks - 1)[:length] for _ in range(40)]
        )  # the last track is in no list
        scores = rng.integers(3, size=len(users)).astype(np.float32)  # with ties
        audience.add(users, listed, scores)
        for line, (user, track, score) in enumerate(zip(users, listed, scores, strict=True)):
            expected[track].append((line % length + 1, -score, user))
    assert audience.sizes.tolist() == [len(expected[track]) for track in range(tracks)]
    best = [(track, *line) for track in range(tracks) for line in sorted(expected[track])[:limit]]
    rows = zip(*(column.tolist() for column in audience.best()), strict=True)
    assert [(track, rank, -score, user) for track, user, rank, score in rows] == best


def test_store_returns_the_audience_of_a_track(tmp_path: Path) -> None:
    with ServingStore(write_version(tmp_path / "songs", "v1")) as store:
        size, users = store.audience("t3")
        assert (size, users) == (2, [(store.user("42"), 1, 0.75), (store.user("alice"), 2, 0.25)])
        assert store.audience("t3", 1) == (2, users[:1])
        assert [(member.user.user_id, member.rank) for member in store.audience("t1")[1]] == [("alice", 1)]
        assert store.audience("t2") == store.audience("gone") == (0, [])


def test_counts_all_lists_but_keeps_the_best_users() -> None:
    audience = TrackAudience(1, MAX_AUDIENCE)
    for first in (0, 100):
        audience.add(np.arange(first, first + 100), np.zeros(100, np.int64), np.arange(100, dtype=np.float32))
    assert audience.sizes.tolist() == [200]
    assert audience.best()[1].tolist() == [
        user for pair in zip(range(99, 89, -1), range(199, 189, -1), strict=True) for user in pair
    ]
