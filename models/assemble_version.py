"""Assembles a version: the directory of everything that is served."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from common.files import write_json
from config.paths import EVALUATION
from models.registry import VersionRegistry
from models.serving_store_writer import build_store

_USERS = pa.schema(
    [
        ("index", pa.int32()),
        ("user_id", pa.string()),
        ("interactions", pa.int64()),
        ("age", pa.int32()),
        ("country", pa.string()),
        ("tier", pa.string()),
    ]
)
_TRACKS = pa.schema(
    [
        ("index", pa.int32()),
        ("track_id", pa.string()),
        ("popularity", pa.int64()),
        ("title", pa.string()),
        ("artist", pa.string()),
        ("genre", pa.string()),
        ("tags", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class VersionInputs:
    """The stage outputs that a version is assembled from: directories of Parquet files, and a saved model."""

    users: Path
    tracks: Path
    interactions: Path
    model: Path
    recommendations: Path
    similar: Path
    tiers: Path
    """Parquet file: the tier of each user's list, in the order of the users' indexes."""
    evaluation: Path
    """Parquet file: the champion's metrics per user, for comparisons with later versions."""


def assemble_version(
    into: Path, root: Path, parts: VersionInputs, documents: dict[str, Any], facts: dict[str, Any]
) -> dict[str, int]:
    """Fill the empty directory `into`; the caller renames it into `root`, `models/<dataset>`.

    Args:
        documents: contents of JSON files by name, without the suffix.
        facts: the manifest's entries, except sequence number, counts and checksums.

    Returns:
        The numbers of users, tracks, interactions and recommendations.
    """
    users = pq.read_table(parts.users).append_column("tier", pq.read_table(parts.tiers)["tier"])
    users, tracks = _table(users, _USERS), _table(pq.read_table(parts.tracks), _TRACKS)
    pq.write_table(users, into / "users.parquet")
    pq.write_table(tracks, into / "tracks.parquet")
    shutil.copytree(parts.model, into / "model")
    shutil.copytree(parts.recommendations, into / "recommendations")
    shutil.copytree(parts.similar, into / "similar")
    shutil.copyfile(parts.evaluation, into / EVALUATION)
    for name, document in documents.items():
        write_json(into / f"{name}.json", document)
    build_store(into, parts.interactions)
    counts = {
        "users": len(users),
        "tracks": len(tracks),
        "interactions": ds.dataset(parts.interactions).count_rows(),
        "recommendations": ds.dataset(parts.recommendations).count_rows(),
    }
    VersionRegistry(root).write_manifest(into, facts | {"counts": counts})
    return counts


def _table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the columns of the schema; columns that the dataset lacks are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
