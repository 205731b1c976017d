"""The works that `engine.py` times, one in each process: python tests/benchmarks/peers.py WORK DIRECTORY [MASTER].

The directory has `raw/`, the CSV; `ingested/` and `split/`, which `prepare` makes from it; and one for each work.
Ingest is timed from CSV to the peer's own form; training from the Parquet of the training part to saved factors,
including matrices; lists from factors to saved recommendations. The start of Java and compilation are not included.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from config.dataset import load_dataset
from spark.runtime.session import SessionOptions, close_session, open_session

RANK, ITERATIONS, ALPHA, REG, STEPS, K = 64, 10, 10.0, 10.0, 3, 20
EXPLICIT_RANK, EXPLICIT_REG = 20, 0.1


def prepare(root: Path, master: str) -> dict[str, float]:
    """Ingest and split the data for all works."""
    from spark.ingest.raw_to_parquet import ingest
    from spark.splitting.split import SplitConfig, split_interactions

    spark = open_session(SessionOptions(master, short_run=False, log=root / "prepare.log"))
    for name in ("ingested", "split"):
        (root / name).mkdir()
    ingest(spark, load_dataset("synthetic"), root / "raw", root / "ingested", 0.05)
    split_interactions(spark, root / "ingested", SplitConfig("random", 0.2, 0.01, 1, 42), root / "split")
    close_session()
    return {}


def encore(root: Path, master: str) -> dict[str, float]:
    """Run Encore. Matrices are built again, although Ingest has built them, because they are part of the time."""
    from spark.algorithms.saved_model import fit_model
    from spark.algorithms.training_data import TrainingData
    from spark.ingest.raw_to_parquet import ingest
    from spark.lists.fallback_chain import FallbackChain, fit_fallbacks
    from spark.lists.list_rules import ListRules
    from spark.lists.recommend import recommend_all_users
    from spark.storage.interaction_matrix import TRACK, USER, build_interaction_matrix, load_csr

    into, seconds = root / "encore", Seconds()
    spark = open_session(SessionOptions(master, short_run=False, log=into / "spark.log"))
    users, tracks = sizes(root)
    spark.sparkContext.parallelize(range(2), 2).map(lambda number: number).collect()
    seconds.start()
    (into / "ingested").mkdir()
    ingest(spark, load_dataset("synthetic"), root / "raw", into / "ingested", 0.05)
    seconds.end("ingest")
    train, ingested = train_part(root), root / "ingested"
    build_interaction_matrix(spark, [train], users, tracks, into / "matrix")
    settings = {
        "engine": "encore", "rank": RANK, "max_iter": ITERATIONS, "reg_param": REG, "reg_exponent": 0.0,
        "value": "binary", "alpha": ALPHA, "steps": STEPS, "seed": 1, "patience": 0, "say_objective": False,
    }  # fmt: skip
    learned = TrainingData(
        spark, (train,), into / "matrix", users, tracks, None, ingested / "tracks", ingested / "users"
    )
    fit_model("als", learned, settings, into / "model")
    seconds.end("train")
    fit_fallbacks(learned, into / "fallbacks")
    chain, rules = FallbackChain(into / "model", into / "fallbacks"), ListRules(np.full(tracks, -1, np.int32))
    recommend_all_users(spark, ingested, into / "matrix", chain, K, into / "recommendations", rules=rules)
    seconds.end("lists")
    close_session()
    entries = len(load_csr(into / "matrix", USER).indices)
    rows = sum(len(load_csr(into / "matrix", side)) for side in (USER, TRACK))
    passes = 1 + STEPS
    flops = ITERATIONS * (2 * entries * (4 * RANK * passes + 2 * RANK) + rows * 2 * RANK**2 * passes)
    return seconds.taken | {"flops": flops}


def implicit(root: Path, master: str) -> dict[str, float]:
    """Run implicit. Its confidence is its value: 1 + α, with its own alpha at 1. Arrow reads and indexes the rows."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares

    into, seconds = root / "implicit", Seconds()
    users, tracks = sizes(root)
    seconds.start()
    raw = csv.read_csv(root / "raw" / "ratings.csv")
    numbered = {name: raw[f"{name}_id"].combine_chunks().dictionary_encode().indices for name in ("user", "track")}
    pq.write_table(pa.table(numbered | {"value": raw["rating"]}), into / "interactions.parquet")
    del raw, numbered
    seconds.end("ingest")
    pairs = ds.dataset(train_part(root)).to_table(columns=["user", "track"])
    confidence = np.full(len(pairs), 1 + ALPHA, np.float32)
    places = (pairs["user"].to_numpy(), pairs["track"].to_numpy())
    matrix = scipy.sparse.csr_matrix((confidence, places), (users, tracks))
    model = AlternatingLeastSquares(
        factors=RANK, regularization=REG, alpha=1.0, iterations=ITERATIONS, num_threads=2, random_state=1
    )
    model.fit(matrix, show_progress=False)
    np.savez(into / "factors.npz", users=model.user_factors, tracks=model.item_factors)
    seconds.end("train")
    tracks, scores = model.recommend(np.arange(users), matrix, N=K, filter_already_liked_items=True)
    taken = tracks >= 0
    rows = {"user": np.repeat(np.arange(users), taken.sum(axis=1)), "track": tracks[taken], "score": scores[taken]}
    pq.write_table(pa.table(rows), into / "recommendations.parquet")
    seconds.end("lists")
    return seconds.taken


def mllib(root: Path, master: str) -> dict[str, float]:
    """Run MLlib. It scales λ by the number of interactions, so its λ is the mean of Encore's."""
    from pyspark.ml.feature import StringIndexer
    from pyspark.ml.recommendation import ALS

    into, seconds = root / "mllib", Seconds()
    spark = open_session(SessionOptions(master, driver_memory="4g", short_run=False, log=into / "spark.log"))
    users, _ = sizes(root)
    seconds.start()
    raw = spark.read.csv(str(root / "raw" / "ratings.csv"), header=True).dropDuplicates(["user_id", "track_id"])
    names = {"inputCols": ["user_id", "track_id"], "outputCols": ["user", "track"]}
    numbered = StringIndexer(**names, stringOrderType="alphabetAsc").fit(raw).transform(raw)
    columns = ("cast(user as int) user", "cast(track as int) track", "cast(rating as float) value")
    numbered.selectExpr(*columns).write.parquet(str(into / "interactions"))
    seconds.end("ingest")
    rows = spark.read.parquet(str(train_part(root))).selectExpr("user", "track", "1.0 value")
    model = ALS(
        userCol="user", itemCol="track", ratingCol="value", rank=RANK, maxIter=ITERATIONS, implicitPrefs=True,
        regParam=REG * users / rows.count(), alpha=ALPHA, seed=1, numUserBlocks=4, numItemBlocks=4,
    ).fit(rows)  # fmt: skip
    model.write().save(str(into / "model"))
    seconds.end("train")
    model.recommendForAllUsers(K).write.parquet(str(into / "recommendations"))
    seconds.end("lists")
    close_session()
    return seconds.taken


def explicit(root: Path, master: str) -> dict[str, float]:
    """Return the RMSE of Encore and MLlib on the test part, with the same λ and rank, without biases."""
    from spark.algorithms.saved_model import fit_model, load_scorer
    from spark.algorithms.training_data import TrainingData

    into = root / "explicit"
    spark = open_session(SessionOptions(master, driver_memory="4g", short_run=False, log=into / "spark.log"))
    learned = TrainingData(spark, (train_part(root),), root / "split" / "matrix-train", *sizes(root), (1.0, 5.0))
    test = ds.dataset(root / "split" / "parts" / "part=test").to_table(columns=["user", "track", "value"])
    users, tracks, values = (test[name].to_numpy() for name in test.column_names)
    errors: dict[str, float] = {}
    for engine in ("encore", "mllib"):
        settings = {
            "engine": engine, "rank": EXPLICIT_RANK, "max_iter": ITERATIONS, "reg_param": EXPLICIT_REG,
            "reg_exponent": 1.0, "biases": False, "steps": 0, "seed": 1, "say_objective": False,
        }  # fmt: skip
        fit_model("als_explicit", learned, settings, into / engine)
        scorer, squares = load_scorer(into / engine), 0.0
        for start in range(0, len(test), 1 << 16):
            part = slice(start, start + (1 << 16))
            squares += float(((scorer.ratings(users[part], tracks[part]) - values[part]) ** 2).sum())
        errors[engine] = (squares / len(test)) ** 0.5
    close_session()
    return errors


def product(root: Path, master: str) -> dict[str, float]:
    """Measure a product of square matrices in single precision, in FLOP/s."""
    square = np.ones((4096, 4096), np.float32)
    square @ square
    began = time.perf_counter()
    square @ square
    return {"flops_per_s": 2 * 4096**3 / (time.perf_counter() - began)}


class Seconds:
    """A stopwatch with named parts."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self._began = 0.0

    def start(self) -> None:
        """Start the first part."""
        self._began = time.perf_counter()

    def end(self, part: str) -> None:
        """End a part, and start the next."""
        now = time.perf_counter()
        self.taken[part], self._began = now - self._began, now


def train_part(root: Path) -> Path:
    """Return the Parquet of the training part."""
    return root / "split" / "parts" / "part=train"


def sizes(root: Path) -> tuple[int, int]:
    """Return the number of users and of tracks."""
    users, tracks = (ds.dataset(root / "ingested" / name).count_rows() for name in ("users", "tracks"))
    return users, tracks


WORK: dict[str, Any] = {work.__name__: work for work in (prepare, encore, implicit, mllib, explicit, product)}

if __name__ == "__main__":
    name, directory, *master = sys.argv[1:]
    (Path(directory) / name).mkdir(exist_ok=True)
    print(json.dumps(WORK[name](Path(directory), master[0] if master else "local[2]")))
