"""Delete one user from Parquet files, model directories and the serving store.

Each changed file is replaced by a rewritten copy, because it may be a hard link to a file of another version.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.files import STAGING
from config.algorithm_catalog import UserArray, UserRows
from models.model_directory import saved_algorithms


def delete_from_model(model: Path, index: int) -> None:
    """Delete a user from the files that the model's algorithms declare to hold data about users.

    Raises:
        StoreError: the algorithm of the model or of one of its parts is unknown.
    """
    for directory, algorithm in saved_algorithms(model):
        for declared in algorithm.user_files:
            for file in directory.glob(declared.pattern):
                match declared:
                    case UserRows(column=column):
                        delete_rows(file, column, index)
                    case UserArray(deleted_value=value):
                        _overwrite_element(file, index, value)


def delete_rows(file: Path, column: str, value: str | int) -> int:
    """Rewrite a Parquet file without the rows that have a value; return how many there were."""
    count = pq.read_table(file, columns=[column], filters=[(column, "==", value)], partitioning=None).num_rows
    if not count:
        return 0
    with pq.ParquetFile(file) as old:
        compression = old.metadata.row_group(0).column(0).compression
        with pq.ParquetWriter(
            copy := _copy_of(file), old.schema_arrow, store_schema=b"ARROW:schema" in (old.metadata.metadata or {}),
            compression="NONE" if compression == "UNCOMPRESSED" else compression,
        ) as new:  # fmt: skip
            for group in range(old.num_row_groups):
                rows = old.read_row_group(group)
                new.write_table(rows.filter(pc.fill_null(pc.not_equal(rows[column], value), True)))
    copy.replace(file)
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)  # the checksum that Hadoop writes for MLlib's models
    return int(count)


def delete_from_store(file: Path, user_id: str, index: int) -> None:
    """Delete the user from a serving store, so that no byte of their data is left in the file."""
    shutil.copyfile(file, _copy_of(file))
    with closing(sqlite3.connect(_copy_of(file), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("BEGIN")
        _delete_from_audiences(db, index)
        db.execute("DELETE FROM user_lists WHERE idx = ?", (index,))
        db.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
        db.execute("COMMIT")
        db.execute("VACUUM")
    _copy_of(file).replace(file)


def _delete_from_audiences(db: sqlite3.Connection, index: int) -> None:
    """Delete the user from the audiences of the tracks in their list."""
    ((packed,),) = db.execute("SELECT recommendations FROM user_lists WHERE idx = ?", (index,)).fetchall()
    ranks = json.dumps(np.frombuffer(packed, "<i4").tolist())
    rows = db.execute(
        "SELECT idx, audience, audience_ranks, audience_scores FROM tracks JOIN track_lists USING (idx) "
        "WHERE tracks.popularity_rank IN (SELECT value FROM json_each(?))", (ranks,),
    ).fetchall()  # fmt: skip
    for track, *columns in rows:
        others = np.frombuffer(columns[0], "<i4") != index
        kept = [np.frombuffer(column, "<i4")[others].tobytes() for column in columns]
        db.execute(
            "UPDATE track_lists SET audience_size = audience_size - 1, audience = ?, audience_ranks = ?, "
            "audience_scores = ? WHERE idx = ?", (*kept, track),
        )  # fmt: skip


def _overwrite_element(file: Path, index: int, value: float) -> None:
    array = np.load(file)
    array[index] = value
    with _copy_of(file).open("wb") as copy:
        np.save(copy, array)
    _copy_of(file).replace(file)


def _copy_of(file: Path) -> Path:
    """Return the path of a file's rewritten copy."""
    return file.with_name(file.name + STAGING)
