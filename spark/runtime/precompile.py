"""`python -m spark.runtime.precompile`: compiles the engine's inner loops ahead, so that no run waits for it.

A model is trained on a few interactions and makes its lists, without Spark: so everything is compiled for the types
that it is called with. In a cache that has the code already this takes a second.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from config.paths import Paths

_SIZE = 8


def main() -> None:
    """Compiles into `data/numba`, or where NUMBA_CACHE_DIR says."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Paths().compiled))
    from spark.algorithms.als.training import HalfIteration, Objective, cost, solve_rows
    from spark.algorithms.cooccurrence import add_neighbours, cooccurrence_rows
    from spark.algorithms.factor_model import FactorScorer
    from spark.evaluation.diversity_kernel import similarities
    from spark.lists.list_rules import ListRules, lists_within_rules
    from spark.lists.topk import top_k
    from spark.storage.interaction_matrix import TRACK, USER, allocate, load_csr, write_rows

    users, tracks = (side.ravel().astype(np.int32) for side in np.mgrid[:_SIZE, :_SIZE])
    with tempfile.TemporaryDirectory() as directory:
        blocks = Path(directory)
        for side, columns in ((USER, tracks), (TRACK, users)):
            allocate(blocks / side, _SIZE, _SIZE**2)
            write_rows(blocks / side, 0, 0, np.full(_SIZE, _SIZE), columns, np.ones(_SIZE**2, np.float32))
        for value in ("binary", "rating"):
            objective = Objective(2, 0.1, 1.0, value, alpha=1.0, biases=value == "rating")
            own, result, other = (blocks / f"{name}-{value}" for name in ("own", "result", "other"))
            for file in (own, result, other):
                file.write_bytes(np.ones((_SIZE, objective.width), np.float32).tobytes())
            job = HalfIteration(blocks, USER, objective, own, result, other, np.eye(2), 1)
            solve_rows(job, (0, _SIZE))
            cost(job, (0, _SIZE))
        rows, every = load_csr(blocks, USER), np.ones(_SIZE, np.float32)
        cooccurrence_rows((rows.indptr, rows.indices), (rows.indptr, rows.indices), every, every, every, 0, 1)
        add_neighbours(
            rows.indptr,
            rows.indices,
            np.arange(_SIZE),
            rows.indptr,
            rows.indices,
            rows.data,
            np.ones((_SIZE, _SIZE), np.float32),
        )
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
