"""`python -m spark.compiled`: compiles the engine's inner loops ahead, so that no run waits for it.

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
    from spark.algorithms.als.training import Job, Objective, cost, solve_rows
    from spark.algorithms.cooccurrence import add_neighbours, together
    from spark.algorithms.factors import FactorScorer
    from spark.blocks import TRACK, USER, allocate, rows_of, write_rows
    from spark.diversity import similarities
    from spark.lists import Rules, ruled
    from spark.topk import best

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
            job = Job(blocks, USER, objective, own, result, other, np.eye(2), 1)
            solve_rows(job, (0, _SIZE))
            cost(job, (0, _SIZE))
        rows, every = rows_of(blocks, USER), np.ones(_SIZE, np.float32)
        together((rows.starts, rows.columns), (rows.starts, rows.columns), every, every, every, 0, 1)
        add_neighbours(
            rows.starts,
            rows.columns,
            np.arange(_SIZE),
            rows.starts,
            rows.columns,
            rows.values,
            np.ones((_SIZE, _SIZE), np.float32),
        )
        factors = np.ones((_SIZE, 2), np.float32)
        known = np.arange(_SIZE) > 0
        scorer = FactorScorer(
            lambda first, last: (factors[first:last], known[first:last]), factors, known, np.ones(_SIZE, np.float32)
        )
        everyone = np.arange(_SIZE, dtype=np.int32)
        lists = best(scorer, everyone, rows, 3)
        ruled(scorer, everyone, rows, 3, Rules(artists=everyone, max_per_artist=1))
        labels = np.arange(_SIZE + 1), lists.tracks.ravel()
        similarities(lists.tracks, lists.sizes, *labels, np.zeros(_SIZE), np.zeros(_SIZE, np.int64))


if __name__ == "__main__":
    main()
