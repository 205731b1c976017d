"""Small random interactions, and the Parquet files in which Ingest writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from spark.storage.arrow_files import range_bounds

NUM_USERS, NUM_TRACKS = 70, 45


def random_matrix(users: int = NUM_USERS, tracks: int = NUM_TRACKS, density: float = 0.2) -> sparse.csr_matrix:
    """Return ratings from 1 to 5. User 7 and track 11 have none."""
    lil = sparse.random(users, tracks, density, format="lil", dtype=np.float32, random_state=3)
    lil[7] = 0
    lil[:, 11] = 0
    matrix = lil.tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    matrix.data = np.random.default_rng(8).integers(1, 6, size=matrix.nnz).astype(np.float32)
    return matrix


MATRIX = random_matrix()


def write_interactions(matrix: sparse.csr_matrix, directory: Path, files: int = 3) -> Path:
    """Write a matrix as Parquet files of interactions, in ranges of users; return the directory."""
    directory.mkdir()
    for number in range(files):
        low, high = range_bounds(matrix.shape[0], files, number)
        part = matrix[low:high].tocoo()
        order = np.lexsort((part.col, part.row))
        columns = {"user": part.row + low, "track": part.col, "value": part.data.astype(float)}
        types = {"user": pa.int32(), "track": pa.int32(), "value": pa.float64()}
        table = pa.table({name: pa.array(column[order], types[name]) for name, column in columns.items()})
        pq.write_table(table, directory / f"part-{number:05}.parquet")
    return directory
