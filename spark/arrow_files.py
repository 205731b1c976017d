"""Arrow files in which each batch is meant for one task of the next step, which maps it into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from spark.tables import written


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

    written(file, write)
