"""`make bench-quality`: are the lists good? The whole pipeline beside tuned peers, judged by what follows here alone.

python tests/benchmarks/quality.py [--lastfm DIRECTORY] [--tune-trials 0] [--tune-minutes 15]

A fifth of each user's tracks is held out at random (seed 42) before anything else sees the data. The rest is what the
pipeline gets for raw files; its *published lists* are compared with what was held out. Peers get the same rest as a
matrix: implicit's ALS and neighbours, and EASE in its closed form, with the best settings of a small grid, chosen on a
fifth of the rest; popularity. ndcg@10 and recall@20 over the whole catalogue, means over the users who have something
held out; 95 % intervals by a paired bootstrap over users.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from measure import table
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from config.paths import PROJECT
from spark.synthetic import Sizes, generate

LASTFM = PROJECT.parent / "shared" / "datasets" / "lastfm-2k"
HELD_OUT, SEED, DEPTH = 0.2, 42, 20
RESAMPLES = 2_000

Lists = NDArray[np.int64]
"""The tracks of each user's list, shape (users, DEPTH); −1 where it is shorter."""


@dataclass(frozen=True)
class Data:
    """A data set, split."""

    name: str
    raw: Path
    """What the pipeline gets."""
    users: list[str]
    tracks: list[str]
    rest: sparse.csr_matrix
    """Values, shape (users, tracks)."""
    held_out: sparse.csr_matrix


def main() -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lastfm", type=Path, default=LASTFM)
    parser.add_argument("--tune-trials", type=int, default=0)
    parser.add_argument("--tune-minutes", type=float, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for make in (lastfm, synthetic):
            root = Path(directory) / make.__name__
            root.mkdir()
            if make is lastfm and not given.lastfm.is_dir():
                print(f"{given.lastfm} is not there: Last.fm is left out.")
                continue
            data = make(given.lastfm, root)
            compare(data, root, given.tune_trials, given.tune_minutes)


def compare(data: Data, root: Path, trials: int, minutes: float) -> None:
    """Everybody's lists of one data set."""
    lists = {"encore": published(data, root, trials, minutes)}
    for name, peer in PEERS.items():
        print(f"{data.name}: {name} …", file=sys.stderr)
        lists[name] = peer(data)
    measured = {name: per_user(each, data.held_out) for name, each in lists.items()}
    print(f"\n{data.name}: {len(data.users):,} users × {len(data.tracks):,} tracks, {data.rest.nnz:,} interactions, "
          f"{data.held_out.nnz:,} held out; {trials} trials")  # fmt: skip
    rows = []
    for name, (ndcg, recall) in measured.items():
        ratio, low, high = paired_ratio(measured["encore"][0], ndcg)
        rows.append([name, f"{ndcg.mean():.4f}", f"{recall.mean():.4f}", f"{ratio:.3f} [{low:.3f}, {high:.3f}]"])
    print(table(["", "ndcg@10", "recall@20", "encore's ndcg@10 against it"], rows))


# -- data ------------------------------------------------------------------------------------------------------------


def lastfm(source: Path, root: Path) -> Data:
    """Last.fm 2k: plays of artists."""
    shutil.copytree(source, root / "raw")
    plays = pd.read_csv(source / "user_artists.dat", sep="\t", header=None, dtype=str)
    plays = plays[plays[2].str.isdigit()].astype({2: float})
    data = split("Last.fm 2k", root / "raw", plays)
    rest = data.rest.tocoo()
    with (root / "raw" / "user_artists.dat").open("w", encoding="utf-8", newline="") as file:
        lines = zip(rest.row, rest.col, rest.data, strict=True)
        csv.writer(file, delimiter="\t").writerows(
            (data.users[user], data.tracks[track], int(value)) for user, track, value in lines
        )
    return data


def synthetic(source: Path, root: Path) -> Data:
    """Ratings of listeners with tastes."""
    (root / "raw").mkdir()
    generate(Sizes(2_000, 1_500, 80_000, SEED), root / "raw")
    ratings = pd.read_csv(root / "raw" / "ratings.csv", dtype=str).drop_duplicates(["user_id", "track_id"], keep="last")
    ratings = ratings.astype({"rating": float})
    data = split(
        "synthetic ratings", root / "raw", ratings[["user_id", "track_id", "rating"]].set_axis([0, 1, 2], axis=1)
    )
    rest = {(data.users[user], data.tracks[track]) for user, track in zip(*data.rest.nonzero(), strict=True)}
    kept = [pair in rest for pair in zip(ratings["user_id"], ratings["track_id"], strict=True)]
    ratings[kept].to_csv(root / "raw" / "ratings.csv", index=False)
    (root / "ratings.toml").write_text(DESCRIPTION, encoding="utf-8")
    return data


DESCRIPTION = """
title = "Synthetic ratings"

[interactions]
path = "ratings.csv"
user = "user_id"
track = "track_id"
value = "rating"
feedback = "plays"
duplicates = "max"

[tracks]
path = "tracks.csv"
id = "track_id"
title = "title"
artist = "artist"
genre = "genre"
"""


def split(name: str, raw: Path, rows: pd.DataFrame) -> Data:
    """Holds out int(0.2 · n) of each user's tracks after a shuffle."""
    users, user = np.unique(rows[0], return_inverse=True)
    tracks, track = np.unique(rows[1], return_inverse=True)
    matrix = sparse.csr_matrix((rows[2].to_numpy(float), (user, track)), (len(users), len(tracks)))
    rest, held_out = halves(matrix, HELD_OUT, SEED)
    return Data(name, raw, users.tolist(), tracks.tolist(), rest, held_out)


def halves(matrix: sparse.csr_matrix, fraction: float, seed: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """What is left, and what is held out."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(matrix.nnz, bool)
    for low, high in itertools.pairwise(matrix.indptr.tolist()):
        chosen[low + rng.permutation(high - low)[: int(fraction * (high - low))]] = True
    parts = []
    for kept in (~chosen, chosen):
        part = matrix.copy()
        part.data = np.where(kept, part.data, 0)
        part.eliminate_zeros()
        parts.append(part)
    return parts[0], parts[1]


# -- the pipeline and its peers ----------------------------------------------------------------------------------------


def published(data: Data, root: Path, trials: int, minutes: float) -> Lists:
    """Runs the pipeline as its users do; the lists that it publishes."""
    described = root / "ratings.toml"
    dataset = str(described) if described.exists() else "lastfm-2k"
    command = [
        str(Path(sys.executable).with_name("luigi")), "--module", "workflow", "RecommendAll", "--local-scheduler",
        "--dataset", dataset, "--raw-dir", str(data.raw), "--recommend-k", str(DEPTH),
        "--paths-data-root", str(root / "data"), "--paths-models-root", str(root / "models"),
        "--tune-trials", str(trials), "--tune-minutes", str(minutes),
    ]  # fmt: skip
    print(f"{data.name}: the pipeline …", file=sys.stderr)
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    print(done.stderr)
    versions = root / "models" / Path(dataset).stem
    rows = pd.read_parquet(versions / (versions / "current").read_text().strip() / "recommendations")
    lists = np.full((len(data.users), DEPTH), -1)
    user, track = (pd.Index(names).get_indexer(rows[key]) for names, key in
                   ((data.users, "user_id"), (data.tracks, "track_id")))  # fmt: skip
    lists[user, rows["rank"].to_numpy() - 1] = track
    return lists


def popularity(data: Data) -> Lists:
    """What most users have."""
    counts = np.diff(data.rest.tocsc().indptr).astype(float)
    return best_of(lambda some: np.tile(counts, (len(some), 1)), data.rest)


def ease(data: Data) -> Lists:
    """Steck 2019, λ of the best of four."""

    def with_penalty(rest: sparse.csr_matrix, penalty: float) -> Lists:
        ones = binary(rest)
        kept = np.flatnonzero(np.diff(ones.tocsc().indptr) >= 2)
        part = ones[:, kept]
        inverse = np.linalg.inv((part.T @ part).toarray() + penalty * np.eye(len(kept), dtype=np.float32))
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0)

        def scores(some: NDArray[np.int64]) -> NDArray[np.float64]:
            found = np.zeros((len(some), rest.shape[1]))
            found[:, kept] = part[some] @ weights
            return found

        return best_of(scores, rest)

    return tuned(with_penalty, [(30.0,), (100.0,), (300.0,), (1000.0,)], data)


def implicit_als(data: Data) -> Lists:
    """implicit's ALS on what was heard, 15 iterations."""
    from implicit.cpu.als import AlternatingLeastSquares

    def with_settings(rest: sparse.csr_matrix, factors: int, penalty: float, alpha: float) -> Lists:
        model = AlternatingLeastSquares(
            factors=factors, regularization=penalty, alpha=1.0, iterations=15, num_threads=2, random_state=1
        )
        confidence = binary(rest) * np.float32(1 + alpha)
        with threadpool_limits(1):  # as it asks
            model.fit(confidence, show_progress=False)
        return listed(model, confidence)

    grid = itertools.product((64, 128), (5.0, 20.0, 40.0), (2.0, 10.0))
    return tuned(with_settings, list(grid), data)


def neighbours(data: Data) -> Lists:
    """implicit's neighbours of items, by cosine or BM25."""
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

    def with_settings(rest: sparse.csr_matrix, kind: str, nearest: int) -> Lists:
        model = CosineRecommender(K=nearest) if kind == "cosine" else BM25Recommender(K=nearest)
        model.fit(sparse.csr_matrix(binary(rest)), show_progress=False)
        return listed(model, binary(rest))

    return tuned(with_settings, list(itertools.product(("cosine", "bm25"), (50, 200, 1000))), data)


PEERS: dict[str, Callable[[Data], Lists]] = {
    "popularity": popularity, "implicit als": implicit_als, "item neighbours": neighbours, "ease": ease,
}  # fmt: skip


def tuned(peer: Callable[..., Lists], grid: list[tuple[object, ...]], data: Data) -> Lists:
    """With the settings that are best on a fifth of what is left."""
    rest, validation = halves(data.rest, HELD_OUT, SEED + 1)
    scores = [per_user(peer(rest, *settings), validation)[0].mean() for settings in grid]
    return peer(data.rest, *grid[int(np.argmax(scores))])


def binary(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Ones."""
    ones = matrix.astype(np.float32)
    ones.data[:] = 1
    return ones


def listed(model: object, matrix: sparse.csr_matrix) -> Lists:
    """The lists of one of implicit's models."""
    users = np.arange(matrix.shape[0])
    found, scores = model.recommend(users, matrix, N=DEPTH, filter_already_liked_items=True)  # type: ignore[attr-defined]
    return np.where(scores > np.finfo(np.float32).min, found, -1).astype(np.int64)


def best_of(scores: Callable[[NDArray[np.int64]], NDArray[np.float64]], rest: sparse.csr_matrix) -> Lists:
    """The tracks with the highest scores, without what was heard."""
    lists = []
    for start in range(0, rest.shape[0], 512):
        some = np.arange(start, min(start + 512, rest.shape[0]))
        found = scores(some).astype(float)
        found[rest[some].nonzero()] = -np.inf
        top = np.argpartition(-found, DEPTH, axis=1)[:, :DEPTH]
        order = np.argsort(-np.take_along_axis(found, top, axis=1), axis=1, kind="stable")
        lists.append(np.take_along_axis(top, order, axis=1))
    return np.concatenate(lists)


# -- the judge ---------------------------------------------------------------------------------------------------------


def per_user(lists: Lists, held_out: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ndcg@10 and recall@20 of each user who has something held out."""
    discounts = 1 / np.log2(np.arange(2, 12))
    ndcg, recall = [], []
    for user, wanted in relevant(held_out):
        hits = np.isin(lists[user], wanted)
        ndcg.append((hits[:10] * discounts).sum() / discounts[: len(wanted)].sum())
        recall.append(hits[:20].sum() / len(wanted))
    return np.array(ndcg), np.array(recall)


def relevant(held_out: sparse.csr_matrix) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each user who has something held out, and what."""
    for user, (low, high) in enumerate(itertools.pairwise(held_out.indptr.tolist())):
        if high > low:
            yield user, held_out.indices[low:high]


def paired_ratio(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float, float]:
    """The ratio of the means, and its 95 % interval when users are drawn again."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=RESAMPLES)
    ratios = (weights @ mine) / (weights @ theirs)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(mine.mean() / theirs.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
