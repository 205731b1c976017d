"""Versions as Publish writes them: one of three users and four tracks, and the files that every version has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.files import write_json
from config.paths import SUCCESS
from models.registry import VersionRegistry
from models.serving_store_writer import build_store

TRACKS = [
    ("t1", "Amber Dawn", "The Lanterns", "folk"),
    ("t2", "Paper Rivers", "The Signals", "pop"),
    ("t3", "Quiet Canyon", None, None),
    ("t4", None, None, None),
]
HEARD = {
    "42": [("t1", 3.0), ("t2", 5.0)],
    "alice": [("t2", 4.0)],
    "zoe": [("t1", 1.0), ("t2", 2.0), ("t3", 3.0), ("t4", 4.0)],
}
LISTS = {"42": [("t3", 0.75), ("t4", 0.5)], "alice": [("t1", 0.875), ("t3", 0.25), ("t4", 0.125)], "zoe": []}
BECAUSE = {("42", "t3"): ["t2", "t1"], ("alice", "t3"): ["t2"]}
SIMILAR = [("t1", 1, "t3", 0.75), ("t1", 2, "t2", 0.5), ("t3", 1, "t1", 0.75)]

SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "users": {
        "index": pa.int32(), "user_id": pa.string(), "age": pa.int32(), "country": pa.string(),
        "interactions": pa.int64(), "tier": pa.string(),
    },
    "tracks": {
        "index": pa.int32(), "track_id": pa.string(), "title": pa.string(), "artist": pa.string(),
        "genre": pa.string(), "popularity": pa.int64(),
    },
    "recommendations": {
        "user_id": pa.string(), "rank": pa.int32(), "track_id": pa.string(), "score": pa.float32(),
        "because": pa.list_(pa.string()),
    },
    "similar": {
        "track_id": pa.string(), "rank": pa.int32(), "similar_id": pa.string(), "score": pa.float32(),
    },
    "interactions": {"user": pa.int32(), "track": pa.int32(), "value": pa.float64()},
}  # fmt: skip
"""Columns and types of the tables of a version, and of the interactions that its serving store is built from."""

Rows = Sequence[tuple[Any, ...]]


def write_tables(
    version: Path, *, users: Rows, tracks: Rows, lists: Rows = (), similar: Rows = (), interactions: Rows = ()
) -> None:
    """Write the tables of a version and its serving store. Rows have the columns of `SCHEMAS`."""
    _write(version / "users.parquet", users, SCHEMAS["users"])
    _write(version / "tracks.parquet", tracks, SCHEMAS["tracks"])
    _write(version / "recommendations" / "part-0.parquet", lists, SCHEMAS["recommendations"])
    _write(version / "similar" / "part-0.parquet", similar, SCHEMAS["similar"])
    with TemporaryDirectory() as directory:
        _write(Path(directory) / "part-0.parquet", interactions, SCHEMAS["interactions"])
        build_store(version, Path(directory))


def _write(path: Path, rows: Rows, schema: dict[str, pa.DataType]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.values(), strict=True)]
    pq.write_table(pa.table(arrays, names=list(schema)), path)


def write_version(root: Path, name: str) -> Path:
    """Publish a version of three users and four tracks (`TRACKS`, `HEARD`, `LISTS`) as `root/name`."""
    version = root / name
    track_index = {track[0]: index for index, track in enumerate(TRACKS)}
    pairs = [(user, track_index[track], value) for user, heard in enumerate(HEARD.values()) for track, value in heard]
    popularity = [sum(track == index for _, track, _ in pairs) for index in range(len(TRACKS))]
    lists = [
        (user, rank, track, score, BECAUSE.get((user, track), []))
        for user, scored in LISTS.items()
        for rank, (track, score) in enumerate(scored, 1)
    ]
    write_tables(
        version,
        users=[(index, user, 30 + index, "SE", len(HEARD[user]), "model") for index, user in enumerate(HEARD)],
        tracks=[(index, *track, popularity[index]) for index, track in enumerate(TRACKS)],
        lists=lists,
        similar=SIMILAR,
        interactions=pairs,
    )
    counts = {"users": len(HEARD), "tracks": len(TRACKS), "interactions": len(pairs)}
    VersionRegistry(root).write_manifest(version, {"version": name, "dataset": root.name, "counts": counts})
    write_json(version / SUCCESS, {"rows": len(lists)})
    return version
