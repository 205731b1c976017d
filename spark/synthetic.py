"""Synthetic listeners with tastes, so that a model has something to learn. Needs numpy alone.

Each listener belongs mostly to one of a few latent clusters; a cluster prefers some genres, and leans towards
an age and some countries. A track has a genre, a quality and a popularity that falls off with a long tail.
A listener picks tracks by popularity times taste, and rates them by taste, quality and noise.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GENRES = (
    "ambient",
    "classical",
    "electronic",
    "folk",
    "hip-hop",
    "indie",
    "jazz",
    "metal",
    "pop",
    "r&b",
    "rock",
    "soul",
)
COUNTRIES = ("BR", "DE", "ES", "FR", "GB", "IN", "JP", "NG", "SE", "US")
CLUSTERS = 6
START = 1_704_067_200
"""2024-01-01, UTC, in seconds."""
YEAR = 365 * 86_400
_FIRST = """Amber Blue Crystal Distant Electric Faded Golden Hidden Iron Jade
    Lonely Midnight Northern Paper Quiet Restless Silver Tidal Velvet Wild""".split()
_SECOND = """Arcade Bridges Canyon Dawn Echoes Fires Gardens Harbour Islands Lanterns
    Mirrors Oceans Parade Rivers Shadows Signals Strangers Thunder Voices Winter""".split()


@dataclass(frozen=True)
class Sizes:
    """How much to make. Every user rates at least once, so `num_interactions >= num_users`."""

    num_users: int
    num_tracks: int
    num_interactions: int
    seed: int


def generate(sizes: Sizes, into: Path) -> int:
    """Writes `users.csv`, `tracks.csv` and `ratings.csv`; the same sizes give the same bytes.

    Returns:
        The number of ratings written. A pair may occur more than once: people change their minds.
    """
    rng = np.random.default_rng(sizes.seed)
    taste = rng.dirichlet(np.full(len(GENRES), 0.25), size=CLUSTERS)
    cluster = rng.integers(CLUSTERS, size=sizes.num_users)
    genre = rng.choice(len(GENRES), size=sizes.num_tracks, p=rng.dirichlet(np.full(len(GENRES), 5.0)))
    quality = rng.normal(0.0, 0.5, size=sizes.num_tracks)
    popularity = _long_tail(rng, sizes.num_tracks)

    _write(into / "users.csv", ("user_id", "age", "country"), _users(rng, cluster))
    _write(into / "tracks.csv", ("track_id", "title", "artist", "genre"), _tracks(rng, genre))

    users = _who_rates(rng, sizes)
    tracks = _what_they_pick(rng, users, cluster, taste, genre, popularity)
    liking = np.log(taste[cluster[users], genre[tracks]] * len(GENRES) + 0.05)
    noise = rng.normal(0.0, 0.7, size=len(users))
    ratings = np.clip(np.rint(3.0 + 0.6 * liking + quality[tracks] + noise), 1, 5).astype(int)
    times = START + np.sort(rng.integers(YEAR, size=len(users)))
    rows = zip(_ids(users), _ids(tracks), ratings.tolist(), times.tolist(), strict=True)
    _write(into / "ratings.csv", ("user_id", "track_id", "rating", "time"), rows)
    return len(users)


def _long_tail(rng: np.random.Generator, count: int) -> np.ndarray:
    """Popularity by rank to the power of −0.8, dealt to the tracks at random; sums to one."""
    weights = (np.arange(count) + 3.0) ** -0.8
    return np.asarray(rng.permutation(weights / weights.sum()))


def _who_rates(rng: np.random.Generator, sizes: Sizes) -> np.ndarray:
    """The user of each rating: everyone once, the rest by an activity that is lognormal."""
    activity = rng.lognormal(0.0, 0.8, size=sizes.num_users)
    more = rng.choice(sizes.num_users, size=sizes.num_interactions - sizes.num_users, p=activity / activity.sum())
    return np.asarray(rng.permutation(np.concatenate([np.arange(sizes.num_users), more])))


def _what_they_pick(
    rng: np.random.Generator,
    users: np.ndarray,
    cluster: np.ndarray,
    taste: np.ndarray,
    genre: np.ndarray,
    popularity: np.ndarray,
) -> np.ndarray:
    """The track of each rating: by popularity times the taste of the user's cluster, and one in ten by popularity."""
    tracks = np.empty(len(users), dtype=np.int64)
    for each in range(CLUSTERS):
        mine = np.flatnonzero(cluster[users] == each)
        weights = popularity * taste[each, genre]
        weights = 0.9 * weights / weights.sum() + 0.1 * popularity
        tracks[mine] = rng.choice(len(genre), size=len(mine), p=weights / weights.sum())
    return tracks


def _users(rng: np.random.Generator, cluster: np.ndarray) -> zip[tuple[int, int, str]]:
    """Age around the cluster's own, country mostly one of the cluster's two."""
    count = len(cluster)
    ages = np.clip(np.rint(rng.normal(20 + 7 * cluster, 5.0)), 14, 90).astype(int)
    home = (2 * cluster + rng.integers(2, size=count)) % len(COUNTRIES)
    abroad = rng.integers(len(COUNTRIES), size=count)
    countries = np.asarray(COUNTRIES)[np.where(rng.random(count) < 0.7, home, abroad)]
    return zip(_ids(np.arange(count)), ages.tolist(), countries.tolist(), strict=True)


def _tracks(rng: np.random.Generator, genre: np.ndarray) -> zip[tuple[int, str, str, str]]:
    """Invented titles; an artist makes a handful of tracks in one genre."""
    count = len(genre)
    artists = genre + len(GENRES) * rng.integers(max(1, count // (6 * len(GENRES))), size=count)
    titles = [f"{_FIRST[a]} {_SECOND[b]}" for a, b in rng.integers(len(_FIRST), size=(count, 2)).tolist()]
    names = [
        f"The {_FIRST[n % len(_FIRST)]} {_SECOND[n // len(_FIRST) % len(_SECOND)]}" for n in (artists * 7).tolist()
    ]
    return zip(_ids(np.arange(count)), titles, names, np.asarray(GENRES)[genre].tolist(), strict=True)


def _ids(indexes: np.ndarray) -> list[int]:
    """Ids count from 1."""
    ids: list[int] = (indexes + 1).tolist()
    return ids


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
