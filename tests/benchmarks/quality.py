"""`make bench-quality`: published lists compared with tuned peers, evaluated by independent code in this file.

python tests/benchmarks/quality.py [--data lastfm tagging synthetic ratings] [--lastfm DIRECTORY]
                                   [--tune-trials 0] [--tune-minutes 15]

`lastfm` has plays of artists; `tagging` counts how often the same users tagged artists, from the same archive;
`synthetic` has generated users. `ratings` compares errors of predicted ratings on generated users: the pipeline's
`als_explicit` with the best of MLlib's ALS on a grid, which may choose by the test part itself.

A fifth of each user's tracks is held out at random (seed 42), with the user's tags for them. The rest becomes the
pipeline's raw files; its *published lists* are compared with the held-out tracks. Peers get the rest as a matrix:
implicit's ALS and item neighbours, EASE in closed form, each with the best settings of a small grid, chosen on a fifth
of the rest; and popularity. ndcg@10 and recall@20 over the whole catalogue are means over the users with held-out
tracks; 95 % intervals come from a paired bootstrap over users.
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
from pyspark.ml.recommendation import ALS
from scipy import sparse
from threadpoolctl import threadpool_limits

from config.paths import PROJECT
from spark.ingest.synthetic_data import SyntheticSizes, generate
from spark.runtime.session import SessionOptions, close_session, open_session

LASTFM = PROJECT.parent / "shared" / "datasets" / "lastfm-2k"
HELD_OUT, SEED, DEPTH = 0.2, 42, 20
RESAMPLES = 2_000

Lists = NDArray[np.int64]
"""The tracks of each user's list, shape (users, DEPTH); −1 where it is shorter."""


RANKS, PENALTIES = (10, 20, 50), (0.05, 0.1, 0.15)


@dataclass(frozen=True)
class Data:
    """A data set, split."""

    name: str
    users: list[str]
    tracks: list[str]
    rest: sparse.csr_matrix
    """Values, shape (users, tracks)."""
    held_out: sparse.csr_matrix


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=(*MAKERS, "ratings"), default=(*MAKERS, "ratings"))
    parser.add_argument("--lastfm", type=Path, default=LASTFM)
    parser.add_argument("--tune-trials", type=int, default=0)
    parser.add_argument("--tune-minutes", type=float, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for name in given.data:
            root = Path(directory) / name
            root.mkdir()
            tuning = ["--tune-trials", str(given.tune_trials), "--tune-minutes", str(given.tune_minutes)]
            if name == "ratings":
                compare_errors(root, tuning)
            elif name != "synthetic" and not given.lastfm.is_dir():
                print(f"{given.lastfm} does not exist: {name} is left out.")
            else:
                compare(MAKERS[name](given.lastfm, root), root, tuning)


def compare(data: Data, root: Path, tuning: list[str]) -> None:
    """Compare the lists of all models on one data set."""
    lists = {"encore": published(data, root, tuning)}
    for name, peer in PEERS.items():
        print(f"{data.name}: {name} …", file=sys.stderr)
        lists[name] = peer(data)
    measured = {name: per_user(tracks, data.held_out) for name, tracks in lists.items()}
    print(f"\n{data.name}: {len(data.users):,} users × {len(data.tracks):,} tracks, {data.rest.nnz:,} interactions, "
          f"{data.held_out.nnz:,} held out; {' '.join(tuning)}")  # fmt: skip
    rows = []
    for name, (ndcg, recall) in measured.items():
        ratio, low, high = paired_ratio(measured["encore"][0], ndcg)
        rows.append([name, f"{ndcg.mean():.4f}", f"{recall.mean():.4f}", f"{ratio:.3f} [{low:.3f}, {high:.3f}]"])
    print(table(["", "ndcg@10", "recall@20", "encore's ndcg@10 against it"], rows))


def compare_errors(root: Path, tuning: list[str]) -> None:
    """Compare the rating errors of the pipeline with MLlib's on a grid, on the pipeline's test part."""
    (root / "raw").mkdir()
    generate(SyntheticSizes(2_000, 1_500, 80_000, SEED), root / "raw")
    (root / "ratings.toml").write_text(RATINGS, encoding="utf-8")
    run("ratings", root, str(root / "ratings.toml"), [*tuning, "--selection-candidates", '["als_explicit"]'])
    work = root / "data" / "work" / "ratings"
    (parts,) = work.glob("Split/*/parts")
    (model,) = (path for path in work.glob("Train/*/model") if (path / "itemFactors").is_dir())
    test = pd.read_parquet(parts / "part=test")
    rows = [["encore", f"{error_of(model, test):.4f}"]]
    spark = open_session(SessionOptions("local[2]", driver_memory="2g", log=root / "spark.log"))
    train = spark.read.parquet(str(parts / "part=train"), str(parts / "part=validation"))
    errors = {}
    for rank, penalty in itertools.product(RANKS, PENALTIES):
        saved = root / f"mllib-{rank}-{penalty}"
        settings = {"rank": rank, "regParam": penalty, "maxIter": 10, "seed": 1}
        ALS(userCol="user", itemCol="track", ratingCol="value", **settings).fit(train).write().save(str(saved))
        errors[rank, penalty] = error_of(saved, test)
    close_session()
    best = min(errors, key=errors.__getitem__)
    rows += [[f"MLlib, rank {best[0]}, λ {best[1]}", f"{errors[best]:.4f}"]]
    rows += [["encore / MLlib", f"{error_of(model, test) / errors[best]:.4f}"]]
    print(f"\nsynthetic ratings, {len(test):,} held out; {' '.join(tuning)}")
    print(table(["", "rmse"], rows))


def error_of(model: Path, test: pd.DataFrame) -> float:
    """Return the RMSE of an ALSModel over the pairs of known users and tracks, clamped to 1 to 5."""
    users, tracks = (
        pd.read_parquet(model / side).set_index("id")["features"] for side in ("userFactors", "itemFactors")
    )
    known = test[test["user"].isin(users.index) & test["track"].isin(tracks.index)]
    own, theirs = (np.stack(side.loc[known[name]].to_numpy()) for side, name in ((users, "user"), (tracks, "track")))
    predicted = np.clip((own * theirs).sum(axis=1), 1, 5)
    return float(((predicted - known["value"]) ** 2).mean() ** 0.5)


# -- data ------------------------------------------------------------------------------------------------------------


def lastfm(source: Path, root: Path) -> Data:
    """Return Last.fm 2k: plays of artists."""
    shutil.copytree(source, root / "raw", copy_function=shutil.copyfile)
    plays = pd.read_csv(source / "user_artists.dat", sep="\t", header=None, dtype=str)
    plays = plays[plays[2].str.isdigit()].astype({2: float})
    data = split("Last.fm 2k", plays)
    rest = data.rest.tocoo()
    hidden = {(data.users[user], data.tracks[track]) for user, track in zip(*data.held_out.nonzero(), strict=True)}
    keep_tags(source, root, lambda pair: pair not in hidden)
    with (root / "raw" / "user_artists.dat").open("w", encoding="utf-8", newline="") as file:
        lines = zip(rest.row, rest.col, rest.data, strict=True)
        csv.writer(file, delimiter="\t").writerows(
            (data.users[user], data.tracks[track], int(value)) for user, track, value in lines
        )
    return data


def tagging(source: Path, root: Path) -> Data:
    """Return how many tags users gave to artists; mostly other artists than those they played."""
    (root / "raw").mkdir()
    for name in ("artists.dat", "tags.dat"):
        shutil.copyfile(source / name, root / "raw" / name)
    lines = (source / TAGGED).read_text(encoding="utf-8").splitlines()[1:]
    pairs = pd.DataFrame([line.split("\t")[:2] for line in lines]).value_counts().reset_index()
    data = split("Last.fm tagging", pairs.set_axis([0, 1, 2], axis=1))
    kept = {(data.users[user], data.tracks[track]) for user, track in zip(*data.rest.nonzero(), strict=True)}
    keep_tags(source, root, kept.__contains__)
    (root / "tagging.toml").write_text(TAGGING, encoding="utf-8")
    return data


TAGGED = "user_taggedartists.dat"
TAGGING = f"""
title = "Last.fm tagging"

[interactions]
path = "{TAGGED}"
separator = "\\t"
user = "userID"
track = "artistID"
feedback = "events"
duplicates = "sum"

[tracks]
path = "artists.dat"
separator = "\\t"
quote = ""
id = "id"
title = "name"

[tags]
path = "{TAGGED}"
separator = "\\t"
track = "artistID"
tag = "tagID"
"""


def keep_tags(source: Path, root: Path, wanted: Callable[[tuple[str, str]], bool]) -> None:
    """Write only the tags of the given users and artists."""
    first, *lines = (source / TAGGED).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if wanted(tuple(line.split("\t")[:2]))]  # type: ignore[arg-type]
    (root / "raw" / TAGGED).write_text("\n".join([first, *kept]) + "\n", encoding="utf-8")


def synthetic(source: Path, root: Path) -> Data:
    """Return ratings of generated users."""
    (root / "raw").mkdir()
    generate(SyntheticSizes(2_000, 1_500, 80_000, SEED), root / "raw")
    ratings = pd.read_csv(root / "raw" / "ratings.csv", dtype=str).drop_duplicates(["user_id", "track_id"], keep="last")
    ratings = ratings.astype({"rating": float})
    data = split("synthetic listeners", ratings[["user_id", "track_id", "rating"]].set_axis([0, 1, 2], axis=1))
    rest = {(data.users[user], data.tracks[track]) for user, track in zip(*data.rest.nonzero(), strict=True)}
    kept = [pair in rest for pair in zip(ratings["user_id"], ratings["track_id"], strict=True)]
    ratings[kept].to_csv(root / "raw" / "ratings.csv", index=False)
    (root / "listeners.toml").write_text(PLAYS, encoding="utf-8")
    return data


RATINGS = """
title = "Synthetic ratings"

[interactions]
path = "ratings.csv"
user = "user_id"
track = "track_id"
value = "rating"
feedback = "rating"
rating_range = [1, 5]
duplicates = "mean"

[tracks]
path = "tracks.csv"
id = "track_id"
title = "title"
artist = "artist"
genre = "genre"
"""
PLAYS = RATINGS.replace('"rating"\nrating_range = [1, 5]\nduplicates = "mean"', '"plays"\nduplicates = "max"')
MAKERS: dict[str, Callable[[Path, Path], Data]] = {"lastfm": lastfm, "tagging": tagging, "synthetic": synthetic}


def split(name: str, rows: pd.DataFrame) -> Data:
    """Hold out int(0.2 · n) of each user's tracks after a shuffle."""
    users, user = np.unique(rows[0], return_inverse=True)
    tracks, track = np.unique(rows[1], return_inverse=True)
    matrix = sparse.csr_matrix((rows[2].to_numpy(float), (user, track)), (len(users), len(tracks)))
    rest, held_out = halves(matrix, HELD_OUT, SEED)
    return Data(name, users.tolist(), tracks.tolist(), rest, held_out)


def halves(matrix: sparse.csr_matrix, fraction: float, seed: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return the remaining and the held-out interactions."""
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


def run(name: str, root: Path, dataset: str, more: list[str]) -> None:
    """Run the pipeline with its command line."""
    command = [
        str(Path(sys.executable).with_name("luigi")), "--module", "workflow", "RecommendAll", "--local-scheduler",
        "--dataset", dataset, "--raw-dir", str(root / "raw"), "--recommend-k", str(DEPTH),
        "--paths-data-root", str(root / "data"), "--paths-models-root", str(root / "models"), *more,
    ]  # fmt: skip
    print(f"{name}: the pipeline …", file=sys.stderr)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    print(done.stdout)


def published(data: Data, root: Path, tuning: list[str]) -> Lists:
    """Return the lists that the pipeline publishes."""
    described = list(root.glob("*.toml"))
    dataset = str(described[0]) if described else "lastfm-2k"
    run(data.name, root, dataset, tuning)
    versions = root / "models" / Path(dataset).stem
    rows = pd.read_parquet(versions / (versions / "current").read_text().strip() / "recommendations")
    lists = np.full((len(data.users), DEPTH), -1)
    user, track = (pd.Index(names).get_indexer(rows[key]) for names, key in
                   ((data.users, "user_id"), (data.tracks, "track_id")))  # fmt: skip
    lists[user, rows["rank"].to_numpy() - 1] = track
    return lists


def popularity(data: Data) -> Lists:
    """Return the most popular tracks."""
    counts = np.diff(data.rest.tocsc().indptr).astype(float)
    return best_of(lambda some: np.tile(counts, (len(some), 1)), data.rest)


def ease(data: Data) -> Lists:
    """Return EASE (Steck 2019) with the best of four λ."""

    def with_penalty(rest: sparse.csr_matrix, penalty: float) -> Lists:
        ones = binary(rest)
        kept = np.flatnonzero(np.diff(ones.tocsc().indptr) >= 2)
        part = ones[:, kept]
        inverse = np.linalg.inv((part.T @ part).toarray() + penalty * np.eye(len(kept), dtype=np.float32))
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0)

        def scores(some: NDArray[np.int64]) -> NDArray[np.float64]:
            scored = np.zeros((len(some), rest.shape[1]))
            scored[:, kept] = part[some] @ weights
            return scored

        return best_of(scores, rest)

    return tuned(with_penalty, [(30.0,), (100.0,), (300.0,), (1000.0,)], data)


def implicit_als(data: Data) -> Lists:
    """Return implicit's ALS on the remaining interactions, 15 iterations."""
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
    """Return implicit's item neighbours, by cosine or BM25."""
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
    """Return the lists with the settings that are best on a fifth of the remaining interactions."""
    rest, validation = halves(data.rest, HELD_OUT, SEED + 1)
    scores = [per_user(peer(rest, *settings), validation)[0].mean() for settings in grid]
    return peer(data.rest, *grid[int(np.argmax(scores))])


def binary(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with all values 1."""
    ones = matrix.astype(np.float32)
    ones.data[:] = 1
    return ones


def listed(model: object, matrix: sparse.csr_matrix) -> Lists:
    """Return the lists of an implicit model."""
    users = np.arange(matrix.shape[0])
    tracks, scores = model.recommend(users, matrix, N=DEPTH, filter_already_liked_items=True)  # type: ignore[attr-defined]
    return np.where(scores > np.finfo(np.float32).min, tracks, -1).astype(np.int64)


def best_of(scores: Callable[[NDArray[np.int64]], NDArray[np.float64]], rest: sparse.csr_matrix) -> Lists:
    """Return the tracks with the highest scores, without training tracks."""
    lists = []
    for start in range(0, rest.shape[0], 512):
        some = np.arange(start, min(start + 512, rest.shape[0]))
        values = scores(some).astype(float)
        values[rest[some].nonzero()] = -np.inf
        top = np.argpartition(-values, DEPTH, axis=1)[:, :DEPTH]
        order = np.argsort(-np.take_along_axis(values, top, axis=1), axis=1, kind="stable")
        lists.append(np.take_along_axis(top, order, axis=1))
    return np.concatenate(lists)


# -- the judge ---------------------------------------------------------------------------------------------------------


def per_user(lists: Lists, held_out: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ndcg@10 and recall@20 of each user with held-out tracks."""
    discounts = 1 / np.log2(np.arange(2, 12))
    ndcg, recall = [], []
    for user, wanted in relevant(held_out):
        hits = np.isin(lists[user], wanted)
        ndcg.append((hits[:10] * discounts).sum() / discounts[: len(wanted)].sum())
        recall.append(hits[:20].sum() / len(wanted))
    return np.array(ndcg), np.array(recall)


def relevant(held_out: sparse.csr_matrix) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each user with held-out tracks, and the tracks."""
    for user, (low, high) in enumerate(itertools.pairwise(held_out.indptr.tolist())):
        if high > low:
            yield user, held_out.indices[low:high]


def paired_ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the ratio of the means, and its 95 % bootstrap interval over users."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(ours), np.full(len(ours), 1 / len(ours)), size=RESAMPLES)
    ratios = (weights @ ours) / (weights @ theirs)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(ours.mean() / theirs.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
