"""Run Python functions in Spark's workers, one task for each argument."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import pyarrow as pa
from pyspark.sql import SparkSession

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def run_tasks(spark: SparkSession, work: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
    """Call a function with each argument, one task for each; return the results in order.

    Arguments and results pass through the driver and should be small. Large data goes through files.
    """

    def run(argument: Argument) -> Result:
        result = work(argument)
        release_memory()
        _freeze_imports(getattr(work, "func", work).__qualname__)  # `func` is the function of a partial
        return result

    return spark.sparkContext.parallelize(list(arguments), len(arguments)).map(run).collect()


def release_memory() -> None:
    """Return freed memory of Arrow to the system; an idle worker would keep it for a minute."""
    pa.default_memory_pool().release_unused()


@lru_cache
def _freeze_imports(work: str) -> None:
    """Exempt imported modules from garbage collection, once for each kind of work.

    Spark's worker collects garbage after every task. With numba loaded that takes 80 ms, as long as the work itself.
    """
    gc.freeze()
