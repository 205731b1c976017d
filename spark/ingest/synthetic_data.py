"""Synthetic listeners with tastes, so that a model has something to learn. Needs numpy and pyarrow alone.

Each listener belongs to one of a few latent clusters; a cluster prefers some genres and, within them, some styles,
and leans towards an age and some countries. A track has a style, a quality and a popularity that falls off with a
long tail. A listener picks tracks by popularity times taste, and rates them by taste, quality and noise.

The larger the catalogue, the finer the tastes: a genre has one style in a catalogue of 300 tracks, 19 in one of
100,000, and the clusters grow in number with the styles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

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
"""For each style that a genre has."""
FADING = 0.4
"""How much a cluster likes a genre, as a share of how much it likes the one before."""
START = 1_704_067_200
"""2024-01-01, UTC, in seconds."""
YEAR = 365 * 86_400
CHUNK = 1_000_000
"""Ratings that are drawn and written at a time; it changes no byte."""
_FIRST = """Amber Blue Crystal Distant Electric Faded Golden Hidden Iron Jade
    Lonely Midnight Northern Paper Quiet Restless Silver Tidal Velvet Wild""".split()
_SECOND = """Arcade Bridges Canyon Dawn Echoes Fires Gardens Harbour Islands Lanterns
    Mirrors Oceans Parade Rivers Shadows Signals Strangers Thunder Voices Winter""".split()


@dataclass(frozen=True)
class SyntheticSizes:
    """How much to make. Every user rates at least once, so `num_interactions >= num_users`."""

    num_users: int
    num_tracks: int
    num_interactions: int
    seed: int


def generate(sizes: SyntheticSizes, into: Path, report: Callable[[float], object] = lambda fraction: None) -> int:
    """Writes `users.csv`, `tracks.csv` and `ratings.csv`; the same sizes give the same bytes.

    Besides a few numbers a user and a track, memory holds eight bytes a rating.

    Args:
        report: Told from time to time which share of the ratings is written, up to 1.

    Returns:
        The number of ratings written. A pair may occur more than once: people change their minds.
    """
    rng = np.random.default_rng(sizes.seed)
    depth = max(1, round(math.sqrt(sizes.num_tracks) / 17))
    liking = _likings(rng, depth)
    cluster = rng.integers(len(liking), size=sizes.num_users, dtype=np.int32)
    style = _styles(rng, depth, sizes.num_tracks)

    _write(into / "users.csv", [_users(rng, cluster)])
    _write(into / "tracks.csv", [_tracks(rng, style, depth)])
    _write(into / "ratings.csv", _ratings(rng, sizes, liking, cluster, style, report))
    return sizes.num_interactions


def _likings(rng: np.random.Generator, depth: int) -> np.ndarray:
    """How much each cluster likes each style, clusters × styles; 1 is neither more nor less than others.

    A cluster has a favourite genre, and likes each further one `FADING` as much; of a genre's `depth` styles it likes
    some more than others. The favourites are dealt in turn: were they drawn, few clusters might all like the same.
    """
    clusters = CLUSTERS * depth
    order = rng.random((clusters, len(GENRES)))
    order[np.arange(clusters), rng.permutation(len(GENRES))[np.arange(clusters) % len(GENRES)]] = -1.0
    genres = FADING ** order.argsort(axis=1).argsort(axis=1)
    styles = rng.dirichlet(np.full(depth, 0.5), size=(clusters, len(GENRES)))
    return np.asarray((genres[:, :, np.newaxis] * styles).reshape(clusters, -1) / genres.mean() * depth)


def _styles(rng: np.random.Generator, depth: int, count: int) -> np.ndarray:
    """The style of each track; `style // depth` is its genre."""
    genres = rng.dirichlet(np.full(len(GENRES), 5.0))
    styles = rng.dirichlet(np.full(depth, 5.0), size=len(GENRES))
    return rng.choice(styles.size, size=count, p=(genres[:, np.newaxis] * styles).ravel()).astype(np.int32)


def _ratings(
    rng: np.random.Generator,
    sizes: SyntheticSizes,
    liking: np.ndarray,
    cluster: np.ndarray,
    style: np.ndarray,
    report: Callable[[float], object],
) -> Iterator[pa.RecordBatch]:
    """All ratings by time, `CHUNK` at a time. What is drawn chunk by chunk has generators of its own."""
    quality = rng.normal(0.0, 0.3, size=sizes.num_tracks)
    picks = _Picks(liking, style, _long_tail(rng, sizes.num_tracks))
    users = _who_rates(rng, sizes)
    times = np.sort(rng.integers(YEAR, size=sizes.num_interactions, dtype=np.int32))
    picking, rating = rng.spawn(2)
    for start in range(0, len(users), CHUNK):
        mine = users[start : start + CHUNK]
        tracks = picks.draw(picking, cluster[mine])
        mean = 3.0 + 0.5 * np.log(liking[cluster[mine], style[tracks]] + 0.05) + quality[tracks]
        ratings = np.clip(np.rint(rating.normal(mean, 0.8)), 1, 5).astype(np.int8)
        yield pa.record_batch(
            {
                "user_id": mine + 1,
                "track_id": tracks + 1,
                "rating": ratings,
                "time": START + times[start : start + CHUNK].astype(np.int64),
            }
        )
        report((start + len(mine)) / len(users))


def _long_tail(rng: np.random.Generator, count: int) -> np.ndarray:
    """Popularity by rank to the power of −0.8, dealt to the tracks at random; sums to one.

    The first ranks are flattened, in a large catalogue further down (Zipf–Mandelbrot): else a listener would rate the
    same few hits time and again.
    """
    weights = (np.arange(count) + math.sqrt(count) / 2) ** -0.8
    return np.asarray(rng.permutation(weights / weights.sum()))


def _who_rates(rng: np.random.Generator, sizes: SyntheticSizes) -> np.ndarray:
    """The user of each rating: everyone once, the rest by an activity that is lognormal."""
    activity = rng.lognormal(0.0, 0.8, size=sizes.num_users)
    more = rng.multinomial(sizes.num_interactions - sizes.num_users, activity / activity.sum())
    users = np.repeat(np.arange(sizes.num_users, dtype=np.int32), 1 + more)
    rng.shuffle(users)
    return users


class _Picks:
    """Draws tracks by popularity times the liking of the user's cluster, and one in ten by popularity.

    Within a style all clusters agree, so that it takes two draws: the style by the cluster, the track by the style.
    """

    def __init__(self, liking: np.ndarray, style: np.ndarray, popularity: np.ndarray) -> None:
        self.styles = liking.shape[1]
        self.by_style = np.argsort(style, kind="stable").astype(np.int32)
        self.first = np.searchsorted(style[self.by_style], np.arange(self.styles + 1))
        self.up_to_track = _running(popularity[self.by_style])
        share = np.diff(self.up_to_track[self.first])
        liked = liking * share
        self.up_to_style = _running(0.9 * liked / liked.sum(axis=1, keepdims=True) + 0.1 * share)

    def draw(self, rng: np.random.Generator, cluster: np.ndarray) -> np.ndarray:
        """A track for each of the clusters."""
        chance = rng.random((len(cluster), 2))
        row = cluster * self.styles
        style = _between(self.up_to_style, row, row + self.styles, chance[:, 0]) - row
        return np.asarray(
            self.by_style[_between(self.up_to_track, self.first[style], self.first[style + 1], chance[:, 1])]
        )


def _running(weights: np.ndarray) -> np.ndarray:
    """The sum of the weights before each one, and of all."""
    return np.concatenate([[0.0], np.cumsum(weights)])


def _between(running: np.ndarray, first: np.ndarray, end: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Indexes `first <= index < end` by their weights, for chances in [0, 1): the inverse of the distribution."""
    wanted = running[first] + chance * (running[end] - running[first])
    found = np.searchsorted(running, wanted, side="right") - 1
    return np.asarray(np.clip(found, first, end - 1))  # rounding may leave the range


def _users(rng: np.random.Generator, cluster: np.ndarray) -> pa.RecordBatch:
    """Age around the cluster's own, country mostly one of the cluster's two."""
    count = len(cluster)
    ages = np.clip(np.rint(rng.normal(20 + 7 * (cluster % CLUSTERS), 5.0)), 14, 90).astype(np.int8)
    home = (2 * cluster + rng.integers(2, size=count)) % len(COUNTRIES)
    abroad = rng.integers(len(COUNTRIES), size=count)
    countries = pa.array(COUNTRIES).take(pa.array(np.where(rng.random(count) < 0.7, home, abroad)))
    return pa.record_batch({"user_id": np.arange(1, count + 1), "age": ages, "country": countries})


def _tracks(rng: np.random.Generator, style: np.ndarray, depth: int) -> pa.RecordBatch:
    """Invented titles; an artist makes a handful of tracks in one style."""
    count, styles = len(style), depth * len(GENRES)
    titles = pa.array(f"{first} {second}" for second in _SECOND for first in _FIRST)
    artists = style + styles * rng.integers(max(1, count // (6 * styles)), size=count)
    return pa.record_batch(
        {
            "track_id": np.arange(1, count + 1),
            "title": titles.take(pa.array(rng.integers(len(titles), size=count))),
            "artist": pa.array(_artist(number) for number in range(artists.max() + 1)).take(pa.array(artists)),
            "genre": pa.array(GENRES).take(pa.array(style // depth)),
        }
    )


def _artist(number: int) -> str:
    """A name; there are four hundred, which then return with a number."""
    again, name = divmod(number * 7, len(_FIRST) * len(_SECOND))
    return f"The {_FIRST[name % len(_FIRST)]} {_SECOND[name // len(_FIRST)]}" + (f" {again + 1}" if again else "")


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """A CSV file with a header and without quotes, which no value of ours needs."""
    plain = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        writer = None
        for batch in batches:
            if writer is None:
                file.write(",".join(batch.schema.names).encode() + b"\n")
                writer = csv.CSVWriter(file, batch.schema, write_options=plain)
            writer.write(batch)
