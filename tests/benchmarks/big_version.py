"""A published version of any size with random contents, to measure the server. Needs neither Spark nor training.

It has the layout of the pipeline's versions, and is made with the project's own functions. Tracks in histories and
lists have a skewed distribution, and so have the words of titles.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.files import write_json
from models.registry import VersionRegistry
from models.serving_store_writer import build_store

LISTED, SIMILAR, REASONS, RANK = 20, 20, 2, 64
USERS_PER_FILE = 50_000
SYLLABLES = "ka lo mi ra ten sha vor el nu dis pra go ti be sun ma ri fa lek wo stra in ü né o".split()
COUNTRIES = ["SE", "NO", "DE", "BR", "JP", None]
OBJECTIVE = {"rank": RANK, "reg_param": 6.0, "reg_exponent": 0.0, "value": "log", "alpha": 10.0, "biases": False,
             "mean": 0.0}  # fmt: skip

Numbers = NDArray[np.integer]


@dataclass(frozen=True)
class Size:
    """Number of users and tracks."""

    users: int
    tracks: int


def user_id(index: int) -> str:
    """The id of a user, from their index."""
    return f"user-{index:07}"


def track_id(index: int) -> str:
    """The id of a track, from its index."""
    return f"track-{index:06}"


def publish(root: Path, size: Size) -> Path:
    """Create and promote the version `v1` of `root`, `models/<dataset>`; keep it if it exists."""
    version, registry = root / "v1", VersionRegistry(root)
    if not registry.has_version(version.name):
        shutil.rmtree(root, ignore_errors=True)
        interactions = root / "interactions"
        for directory in (
            version / "recommendations",
            version / "similar",
            version / "model/itemFactors",
            interactions,
        ):
            directory.mkdir(parents=True)
        _write_parts(version, interactions, size)
        build_store(version, interactions)
        shutil.rmtree(interactions)
        seal(version, {"users": size.users, "tracks": size.tracks})
        registry.promote(version.name, expected=None, by="user")
    return version


def seal(version: Path, counts: dict[str, int]) -> None:
    """Writes the manifest of a version that lies where it is served from, and marks it as whole."""
    root = version.parent
    facts = {"version": version.name, "dataset": root.name, "title": "Made of chance", "item_label": "track"}
    VersionRegistry(root).write_manifest(
        version, facts | {"counts": counts | {"interactions": counts["users"] * LISTED}}
    )
    (version / "_SUCCESS").touch()


def _write_parts(version: Path, interactions: Path, size: Size) -> None:
    rng = np.random.default_rng(42)
    users, tracks = (
        pa.array([name(index) for index in range(count)])
        for name, count in ((user_id, size.users), (track_id, size.tracks))
    )
    order = rng.permutation(size.tracks).astype(np.int32)
    popularity = np.zeros(size.tracks, np.int64)
    for number, start in enumerate(range(0, size.users, USERS_PER_FILE)):
        some = np.arange(start, min(start + USERS_PER_FILE, size.users))
        heard = order[_skewed(rng, len(some), size.tracks)]
        popularity += np.bincount(heard.ravel(), minlength=size.tracks)
        listed, due_to = (
            order[_skewed(rng, len(some), size.tracks)],
            rng.integers(LISTED, size=(len(some), LISTED * REASONS)),
        )
        because = np.take_along_axis(heard, due_to, axis=1)
        lists = _lists(some, users, listed, tracks, rng, because)
        pq.write_table(lists, version / f"recommendations/{number:05}.parquet", store_schema=False)
        pq.write_table(_history(some, heard, rng), interactions / f"{number:05}.parquet")
    for number, start in enumerate(range(0, size.tracks, USERS_PER_FILE)):
        some = np.arange(start, min(start + USERS_PER_FILE, size.tracks))
        near = order[_skewed(rng, len(some), size.tracks)]
        pq.write_table(_lists(some, tracks, near, tracks, rng), version / f"similar/{number:05}.parquet",
                       store_schema=False)  # fmt: skip
    pq.write_table(_described(users, rng), version / "users.parquet")
    pq.write_table(_titled(tracks, popularity, rng), version / "tracks.parquet")
    _write_model(version / "model", size, rng)
    metrics = {"popularity": {"ndcg@10": 0.1, "recall@10": 0.1}, "als": {"ndcg@10": 0.2, "recall@10": 0.2}}
    split = {"train": 8, "test": 2, "users_evaluated": 1}
    about = {"dataset": version.parent.name, "version": version.name, "champion": "als", "select_by": "ndcg@10"}
    write_json(version / "metrics.json", about | {"split": split, "models": metrics})
    write_json(version / "profile.json", {"feedback": "plays"})


def _skewed(rng: np.random.Generator, rows: int, tracks: int) -> Numbers:
    """Return rows of different tracks in random order; smaller ranks are more likely."""
    bounds = np.maximum((tracks * (np.arange(LISTED + 1) / LISTED) ** 3).astype(np.int64), np.arange(LISTED + 1))
    ranks = rng.integers(bounds[:-1], bounds[1:], size=(rows, LISTED))
    return rng.permuted(ranks, axis=1)


def _lists(
    owners: Numbers, owner_ids: pa.Array, listed: Numbers, track_ids: pa.Array, rng: np.random.Generator,
    because: Numbers | None = None,
) -> pa.Table:  # fmt: skip
    """Return lists in the form of `recommendations/` and `similar/`."""
    lines = listed.size
    scores = -np.sort(-rng.random(listed.shape, np.float32), axis=1)
    owner = pa.DictionaryArray.from_arrays(np.repeat(owners, LISTED).astype(np.int32), owner_ids)
    what = pa.DictionaryArray.from_arrays(listed.ravel(), track_ids)
    names = ("track_id", "similar_id") if because is None else ("user_id", "track_id")
    columns = {
        names[0]: owner,
        "rank": np.tile(np.arange(1, LISTED + 1, dtype=np.int32), len(owners)),
        names[1]: what,
        "score": scores.ravel(),
    }
    if because is not None:
        named = pa.DictionaryArray.from_arrays(because.ravel(), track_ids)
        starts = np.arange(0, lines * REASONS + 1, REASONS, dtype=np.int32)
        columns["because"] = pa.ListArray.from_arrays(starts, named)
    return pa.table(columns)


def _history(users: Numbers, heard: Numbers, rng: np.random.Generator) -> pa.Table:
    """Return interactions in the form of Ingest: by user and track."""
    heard = np.sort(heard, axis=1)
    values = rng.geometric(0.2, size=heard.size).astype(np.float64)
    return pa.table(
        {"user": np.repeat(users, LISTED).astype(np.int32), "track": heard.ravel().astype(np.int32), "value": values}
    )


def _described(users: pa.Array, rng: np.random.Generator) -> pa.Table:
    count = len(users)
    country = pa.DictionaryArray.from_arrays(rng.integers(len(COUNTRIES), size=count).astype(np.int32), COUNTRIES)
    return pa.table({
        "index": np.arange(count, dtype=np.int32), "user_id": users,
        "interactions": np.full(count, LISTED), "age": rng.integers(14, 80, count).astype(np.int32),
        "country": country.cast(pa.string()), "tier": pa.array(["model"]).take(pa.array(np.zeros(count, np.int32))),
    })  # fmt: skip


def words(rng: np.random.Generator, count: int = 4_000) -> list[str]:
    """Return different pronounceable words, shorter ones first."""
    sizes = np.sort(rng.choice((1, 2, 3, 4), count * 2, p=(0.05, 0.45, 0.4, 0.1)))
    made = dict.fromkeys("".join(rng.choice(SYLLABLES, size)) for size in sizes)
    return list(made)[:count]


def _titled(tracks: pa.Array, popularity: Numbers, rng: np.random.Generator) -> pa.Table:
    vocabulary = np.array(words(rng), object)
    count = len(tracks)
    chosen = vocabulary[(len(vocabulary) * rng.random((count, 4)) ** 3).astype(np.int64)]
    lengths = rng.integers(1, 5, count)
    titles = [" ".join(row[:length]).title() for row, length in zip(chosen, lengths, strict=True)]
    names = vocabulary[(len(vocabulary) * rng.random((max(count // 10, 1), 2)) ** 2).astype(np.int64)]
    bands = np.array([" ".join(row).title() for row in names], object)
    genres = np.array(["folk", "pop", "jazz", "rock", None], object)
    return pa.table({
        "index": np.arange(count, dtype=np.int32), "track_id": tracks, "popularity": popularity,
        "title": titles, "artist": pa.array(bands[rng.integers(len(bands), size=count)], pa.string()),
        "genre": pa.array(genres[rng.integers(len(genres), size=count)], pa.string()),
        "tags": pa.nulls(count, pa.list_(pa.string())),
    })  # fmt: skip


def _write_model(model: Path, size: Size, rng: np.random.Generator) -> None:
    """Write the tracks' factors in the form of `spark.algorithms.factor_model`."""
    factors = rng.normal(0, 0.1, size.tracks * RANK).astype(np.float32)
    starts = np.arange(0, len(factors) + 1, RANK, dtype=np.int32)
    table = pa.table(
        {"id": np.arange(size.tracks, dtype=np.int32), "features": pa.ListArray.from_arrays(starts, factors)}
    )
    pq.write_table(table, model / "itemFactors/part-00000.parquet")
    write_json(model / "algorithm.json", {"name": "als", "objective": OBJECTIVE})
