"""Delete one user from Parquet files and model directories; each changed file is replaced by a rewritten copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.durable import STAGING
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
                    case UserArray(erased=erased):
                        _overwrite_element(file, index, erased)


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


def _overwrite_element(file: Path, index: int, value: float) -> None:
    array = np.load(file)
    array[index] = value
    with _copy_of(file).open("wb") as copy:
        np.save(copy, array)
    _copy_of(file).replace(file)


def _copy_of(file: Path) -> Path:
    """Path of the rewritten copy. The original may be a hard link to a file of another version."""
    return file.with_name(file.name + STAGING)
