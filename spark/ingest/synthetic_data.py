"""Generate synthetic users, tracks and ratings with a structure that a model can learn. Needs only numpy and pyarrow.

Each user belongs to a latent cluster. A cluster prefers some genres and some styles within them, one age and two
countries. A track has a style, a quality and a long-tailed popularity. A user picks tracks with a probability
proportional to popularity times preference, and rates them by preference, quality and noise.

Styles and clusters grow in number with the catalogue: a genre has one style in a catalogue of 300 tracks and 19 in one
of 100,000.
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
"""Clusters of users for each style of a genre."""
GENRE_DECAY = 0.4
"""Preference of a cluster for a genre, relative to the genre that it prefers next."""
START = 1_704_067_200
"""2024-01-01, UTC, in seconds."""
YEAR = 365 * 86_400
CHUNK = 1_000_000
"""Ratings that are generated at a time; does not affect the output."""
_FIRST_WORDS = """Amber Blue Crystal Distant Electric Faded Golden Hidden Iron Jade
    Lonely Midnight Northern Paper Quiet Restless Silver Tidal Velvet Wild""".split()
_SECOND_WORDS = """Arcade Bridges Canyon Dawn Echoes Fires Gardens Harbour Islands Lanterns
    Mirrors Oceans Parade Rivers Shadows Signals Strangers Thunder Voices Winter""".split()


@dataclass(frozen=True)
class SyntheticSizes:
    """Sizes to generate. Every user rates at least once, so `num_interactions >= num_users`."""

    num_users: int
    num_tracks: int
    num_interactions: int
    seed: int


def generate(sizes: SyntheticSizes, into: Path, report: Callable[[float], object] = lambda fraction: None) -> int:
    """Write `users.csv`, `tracks.csv` and `ratings.csv`; the same sizes and seed give the same bytes.

    Memory holds eight bytes for each rating, and a few numbers for each user and track.

    Args:
        report: called after each chunk with the fraction of the ratings that is written.

    Returns:
        The number of ratings. A user may rate a track more than once.
    """
    rng = np.random.default_rng(sizes.seed)
    depth = max(1, round(math.sqrt(sizes.num_tracks) / 17))
    preference = _preferences(rng, depth)
    cluster = rng.integers(len(preference), size=sizes.num_users, dtype=np.int32)
    style = _styles(rng, depth, sizes.num_tracks)

    _write(into / "users.csv", [_users(rng, cluster)])
    _write(into / "tracks.csv", [_tracks(rng, style, depth)])
    _write(into / "ratings.csv", _ratings(rng, sizes, preference, cluster, style, report))
    return sizes.num_interactions


def _preferences(rng: np.random.Generator, depth: int) -> np.ndarray:
    """Return the preference of each cluster for each style, shape (clusters, styles), with a mean of about 1.

    A cluster has a favourite genre and prefers each further one `GENRE_DECAY` times as much; it weights the `depth`
    styles of a genre at random. Favourites are assigned round-robin, because random ones might coincide.
    """
    clusters = CLUSTERS * depth
    order = rng.random((clusters, len(GENRES)))
    order[np.arange(clusters), rng.permutation(len(GENRES))[np.arange(clusters) % len(GENRES)]] = -1.0
    genres = GENRE_DECAY ** order.argsort(axis=1).argsort(axis=1)
    styles = rng.dirichlet(np.full(depth, 0.5), size=(clusters, len(GENRES)))
    return np.asarray((genres[:, :, np.newaxis] * styles).reshape(clusters, -1) / genres.mean() * depth)


def _styles(rng: np.random.Generator, depth: int, count: int) -> np.ndarray:
    """Draw the style of each track; `style // depth` is its genre."""
    genres = rng.dirichlet(np.full(len(GENRES), 5.0))
    styles = rng.dirichlet(np.full(depth, 5.0), size=len(GENRES))
    return rng.choice(styles.size, size=count, p=(genres[:, np.newaxis] * styles).ravel()).astype(np.int32)


def _ratings(
    rng: np.random.Generator,
    sizes: SyntheticSizes,
    preference: np.ndarray,
    cluster: np.ndarray,
    style: np.ndarray,
    report: Callable[[float], object],
) -> Iterator[pa.RecordBatch]:
    """Yield all ratings by time, `CHUNK` at a time.

    Draws inside the loop use generators of their own, so that the size of a chunk does not matter.
    """
    quality = rng.normal(0.0, 0.3, size=sizes.num_tracks)
    sampler = _TrackSampler(preference, style, _long_tail(rng, sizes.num_tracks))
    users = _rating_users(rng, sizes)
    times = np.sort(rng.integers(YEAR, size=sizes.num_interactions, dtype=np.int32))
    track_rng, rating_rng = rng.spawn(2)
    for start in range(0, len(users), CHUNK):
        chunk = users[start : start + CHUNK]
        tracks = sampler.draw(track_rng, cluster[chunk])
        mean = 3.0 + 0.5 * np.log(preference[cluster[chunk], style[tracks]] + 0.05) + quality[tracks]
        ratings = np.clip(np.rint(rating_rng.normal(mean, 0.8)), 1, 5).astype(np.int8)
        yield pa.record_batch(
            {
                "user_id": chunk + 1,
                "track_id": tracks + 1,
                "rating": ratings,
                "time": START + times[start : start + CHUNK].astype(np.int64),
            }
        )
        report((start + len(chunk)) / len(users))


def _long_tail(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return the popularity of each track: rank to the power of −0.8, in random order; sums to 1.

    The first ranks are flattened (Zipf–Mandelbrot), more of them in a large catalogue: otherwise users would rate the
    same few hits repeatedly.
    """
    weights = (np.arange(count) + math.sqrt(count) / 2) ** -0.8
    return np.asarray(rng.permutation(weights / weights.sum()))


def _rating_users(rng: np.random.Generator, sizes: SyntheticSizes) -> np.ndarray:
    """Return the user of each rating: every user once, the rest by a lognormal activity."""
    activity = rng.lognormal(0.0, 0.8, size=sizes.num_users)
    more = rng.multinomial(sizes.num_interactions - sizes.num_users, activity / activity.sum())
    users = np.repeat(np.arange(sizes.num_users, dtype=np.int32), 1 + more)
    rng.shuffle(users)
    return users


class _TrackSampler:
    """Draws tracks by popularity times the preference of the user's cluster, and one in ten by popularity alone.

    A draw has two steps: the style by the cluster, then the track by the style, within which all clusters agree.
    """

    def __init__(self, preference: np.ndarray, style: np.ndarray, popularity: np.ndarray) -> None:
        self.styles = preference.shape[1]
        self.by_style = np.argsort(style, kind="stable").astype(np.int32)
        self.first = np.searchsorted(style[self.by_style], np.arange(self.styles + 1))
        self.cumulative_track = _cumulative(popularity[self.by_style])
        share = np.diff(self.cumulative_track[self.first])
        weights = preference * share
        self.cumulative_style = _cumulative(0.9 * weights / weights.sum(axis=1, keepdims=True) + 0.1 * share)

    def draw(self, rng: np.random.Generator, cluster: np.ndarray) -> np.ndarray:
        """Draw one track for each given cluster."""
        uniform = rng.random((len(cluster), 2))
        row = cluster * self.styles
        style = _sample(self.cumulative_style, row, row + self.styles, uniform[:, 0]) - row
        return np.asarray(
            self.by_style[_sample(self.cumulative_track, self.first[style], self.first[style + 1], uniform[:, 1])]
        )


def _cumulative(weights: np.ndarray) -> np.ndarray:
    """Return the cumulative sum of the weights, starting at 0."""
    return np.concatenate([[0.0], np.cumsum(weights)])


def _sample(cumulative: np.ndarray, first: np.ndarray, end: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return indexes in `first <= index < end`, drawn by weight through the inverse of the cumulative distribution."""
    target = cumulative[first] + uniform * (cumulative[end] - cumulative[first])
    index = np.searchsorted(cumulative, target, side="right") - 1
    return np.asarray(np.clip(index, first, end - 1))  # rounding may leave the range


def _users(rng: np.random.Generator, cluster: np.ndarray) -> pa.RecordBatch:
    """Return users with an age near that of the cluster, and mostly one of the cluster's two countries."""
    count = len(cluster)
    ages = np.clip(np.rint(rng.normal(20 + 7 * (cluster % CLUSTERS), 5.0)), 14, 90).astype(np.int8)
    home = (2 * cluster + rng.integers(2, size=count)) % len(COUNTRIES)
    abroad = rng.integers(len(COUNTRIES), size=count)
    countries = pa.array(COUNTRIES).take(pa.array(np.where(rng.random(count) < 0.7, home, abroad)))
    return pa.record_batch({"user_id": np.arange(1, count + 1), "age": ages, "country": countries})


def _tracks(rng: np.random.Generator, style: np.ndarray, depth: int) -> pa.RecordBatch:
    """Return tracks with invented titles; an artist has a handful of tracks, all of one style."""
    count, styles = len(style), depth * len(GENRES)
    titles = pa.array(f"{first} {second}" for second in _SECOND_WORDS for first in _FIRST_WORDS)
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
    """Return one of four hundred names, followed by a number from the second round on."""
    repeats, name = divmod(number * 7, len(_FIRST_WORDS) * len(_SECOND_WORDS))
    return f"The {_FIRST_WORDS[name % len(_FIRST_WORDS)]} {_SECOND_WORDS[name // len(_FIRST_WORDS)]}" + (
        f" {repeats + 1}" if repeats else ""
    )


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a CSV file with a header and without quotes, which no generated value needs."""
    unquoted = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        writer = None
        for batch in batches:
            if writer is None:
                file.write(",".join(batch.schema.names).encode() + b"\n")
                writer = csv.CSVWriter(file, batch.schema, write_options=unquoted)
            writer.write(batch)
