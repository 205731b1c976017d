"""`python -m spark.runtime.precompile`: compile all numba kernels, so that no run waits for the compiler.

Trains a model on a few interactions and makes its lists, without Spark, so that every kernel is compiled for the types
it is called with. Takes a second if the cache is already filled.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from config.paths import Paths

_SIZE = 8


def main() -> None:
    """Compile into `data/numba`, or the directory in NUMBA_CACHE_DIR."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Paths().compiled))
    with tempfile.TemporaryDirectory() as directory:
        matrix = Path(directory)
        _write_matrix(matrix)
        _compile_als(matrix)
        _compile_cooccurrence(matrix)
        _compile_lists(matrix)


def _write_matrix(matrix: Path) -> None:
    """Write a matrix in which every user has every track."""
    from spark.storage.interaction_matrix import TRACK, USER, allocate, write_rows

    users, tracks = (side.ravel().astype(np.int32) for side in np.mgrid[:_SIZE, :_SIZE])
    for side, columns in ((USER, tracks), (TRACK, users)):
        allocate(matrix / side, _SIZE, _SIZE**2)
        write_rows(matrix / side, 0, 0, np.full(_SIZE, _SIZE), columns, np.ones(_SIZE**2, np.float32))


def _compile_als(matrix: Path) -> None:
    from spark.algorithms.als.half_iteration import HalfIteration, Objective, objective_of_rows, solve_rows
    from spark.storage.interaction_matrix import USER

    for value in ("binary", "rating"):
        objective = Objective(2, 0.1, 1.0, value, alpha=1.0, biases=value == "rating")
        own, result, other = (matrix / f"{name}-{value}" for name in ("own", "result", "other"))
        for file in (own, result, other):
            file.write_bytes(np.ones((_SIZE, objective.width), np.float32).tobytes())
        half_iteration = HalfIteration(matrix, USER, objective, own, result, other, np.eye(2), 1)
        solve_rows(half_iteration, (0, _SIZE))
        objective_of_rows(half_iteration, (0, _SIZE))


def _compile_cooccurrence(matrix: Path) -> None:
    from spark.algorithms.cooccurrence import add_neighbours, cooccurrence_rows
    from spark.storage.interaction_matrix import USER, load_csr

    rows, weights = load_csr(matrix, USER), np.ones(_SIZE, np.float32)
    csr = (rows.indptr, rows.indices)
    cooccurrence_rows(csr, csr, weights, weights, weights, 0, 1)
    add_neighbours(*csr, np.arange(_SIZE), *csr, rows.data, np.ones((_SIZE, _SIZE), np.float32))


def _compile_lists(matrix: Path) -> None:
    from spark.algorithms.factor_model import FactorScorer
    from spark.evaluation.diversity_kernel import similarities
    from spark.lists.list_rules import ListRules, lists_within_rules
    from spark.lists.topk import top_k
    from spark.storage.interaction_matrix import USER, load_csr

    rows = load_csr(matrix, USER)
    factors = np.ones((_SIZE, 2), np.float32)
    known = np.arange(_SIZE) > 0
    scorer = FactorScorer(
        lambda first, last: (factors[first:last], known[first:last]), factors, known, np.ones(_SIZE, np.float32)
    )
    everyone = np.arange(_SIZE, dtype=np.int32)
    lists = top_k(scorer, everyone, rows, 3)
    lists_within_rules(scorer, everyone, rows, 3, ListRules(artists=everyone, max_per_artist=1))
    labels = np.arange(_SIZE + 1), lists.tracks.ravel()
    similarities(lists.tracks, lists.sizes, *labels, np.zeros(_SIZE), np.zeros(_SIZE, np.int64))


if __name__ == "__main__":
    main()
