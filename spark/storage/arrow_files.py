"""Arrow files with a batch for each range of indexes: one step deals rows to the ranges, the next takes one range.

Ranges follow the indexes, of users or of tracks, and have equally many of them, about. Files are mapped into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark.storage.tables import write_atomically


def range_bounds(count: int, ranges: int, number: int) -> tuple[int, int]:
    """The first of `count` indexes that is in a range, and the first that is in the next."""
    return -(-number * count // ranges), -(-(number + 1) * count // ranges)


def partition_by_range(file: Path, table: pa.Table, key: str, count: int, ranges: int) -> NDArray[np.int64]:
    """Writes rows by the range that the index in the column `key` is in; returns how many each range has.

    Rows of one range keep their order.
    """
    number = (table[key].to_numpy().astype(np.int64) * ranges // count).astype(np.uint16)
    sizes = np.bincount(number, minlength=ranges)
    write_arrow(file, table.take(pa.array(np.argsort(number, kind="stable"))), sizes)
    return sizes


def read_range(directory: Path, number: int) -> pa.Table:
    """The rows of one range, from all files of a directory in the order of their names."""
    return pa.Table.from_batches([read_batches(file, number)[0] for file in sorted(directory.iterdir())])


def read_batches(file: Path, *numbers: int) -> list[pa.RecordBatch]:
    """Batches of a file: those of the numbers, or all."""
    with pa.memory_map(str(file)) as mapped:
        reader = pa.ipc.open_file(mapped)
        return [reader.get_batch(number) for number in numbers or range(reader.num_record_batches)]


def write_arrow(file: Path, table: pa.Table, sizes: Sequence[int] | np.ndarray) -> None:
    """Writes the rows as batches of these sizes, one after the other; a size may be 0."""
    whole = table.combine_chunks()

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, whole.schema) as writer:
            start = 0
            for size in map(int, sizes):
                empty = pa.RecordBatch.from_pylist([], whole.schema)
                writer.write_batch(whole.slice(start, size).to_batches()[0] if size else empty)
                start += size

    write_atomically(file, write)
