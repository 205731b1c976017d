"""Arrow files with one record batch for each range of indexes: one step partitions rows, the next reads a range.

Ranges divide the indexes of users or tracks into about equal parts. Files are mapped into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark.storage.tables import write_atomically


def range_bounds(count: int, ranges: int, number: int) -> tuple[int, int]:
    """Return the bounds of a range of `count` indexes: the first index in it, and the first of the next range."""
    return -(-number * count // ranges), -(-(number + 1) * count // ranges)


def partition_by_range(file: Path, table: pa.Table, key: str, count: int, ranges: int) -> NDArray[np.int64]:
    """Write rows grouped by the range of the index in the column `key`; return the number of rows in each range.

    Rows of a range keep their order.
    """
    range_numbers = (table[key].to_numpy().astype(np.int64) * ranges // count).astype(np.uint16)
    sizes = np.bincount(range_numbers, minlength=ranges)
    write_arrow(file, table.take(pa.array(np.argsort(range_numbers, kind="stable"))), sizes)
    return sizes


def read_range(directory: Path, number: int) -> pa.Table:
    """Return the rows of one range, from all files of a directory in the order of their names."""
    return pa.Table.from_batches([read_batches(file, number)[0] for file in sorted(directory.iterdir())])


def read_batches(file: Path, *numbers: int) -> list[pa.RecordBatch]:
    """Return the batches of a file with these numbers, or all."""
    with pa.memory_map(str(file)) as mapped:
        reader = pa.ipc.open_file(mapped)
        return [reader.get_batch(number) for number in numbers or range(reader.num_record_batches)]


def write_arrow(file: Path, table: pa.Table, sizes: Sequence[int] | np.ndarray) -> None:
    """Write the rows as consecutive batches of these sizes; a size may be 0."""
    rows = table.combine_chunks()

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            start = 0
            for size in map(int, sizes):
                empty = pa.RecordBatch.from_pylist([], rows.schema)
                writer.write_batch(rows.slice(start, size).to_batches()[0] if size else empty)
                start += size

    write_atomically(file, write)
