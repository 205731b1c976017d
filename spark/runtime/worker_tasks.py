"""Python work in Spark's workers: one task for each piece of it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import pyarrow as pa
from pyspark.sql import SparkSession

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def run_tasks(spark: SparkSession, work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Applies work to each piece, in a task of its own; returns what it returned, in order.

    Pieces and results go through the driver, so they should be small; what is large lies in files.
    """

    def one(piece: Piece) -> Result:
        result = work(piece)
        release_memory()
        _keep_imports(getattr(work, "func", work).__qualname__)  # a partial has it inside
        return result

    return spark.sparkContext.parallelize(list(pieces), len(pieces)).map(one).collect()


def release_memory() -> None:
    """Gives back to the system what Arrow keeps of freed memory: a worker that waits would keep it for a minute."""
    pa.default_memory_pool().release_unused()


def available_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@lru_cache
def _keep_imports(work: str) -> None:
    """Exempts from garbage collection what a worker has loaded, once for each kind of work.

    Spark's worker collects after every task, and with numba loaded that takes 80 ms: as long as the work itself.
    """
    gc.freeze()
