"""How the pipeline scales with users, tracks and interactions, and with a cluster of two workers.

python tests/benchmarks/scaling.py [--sizes 1 5 20] [--at 5]

From raw CSV to published version, for each size: seconds of every stage, bytes read and written, and the peak memory of
all processes together. Then `--at` million interactions once more on a cluster of two workers with one core each,
alternating with `local[2]`; the lists must be identical.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from measure import measured, table

from common.directories import directory_size
from spark.runtime.local_cluster import run_cluster

SIZES = {1: (50_000, 20_000), 5: (100_000, 30_000), 20: (1_000_000, 100_000)}
"""Users and tracks, by millions of interactions."""


@dataclass(frozen=True)
class Ran:
    """The measurements of a run."""

    seconds: float
    peak_bytes: int
    stages: dict[str, float]
    """Seconds, by the stage's name; of those that there are several of, in all."""
    read: dict[str, int]
    written: dict[str, int]
    """Bytes, likewise."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--at", type=int, choices=tuple(SIZES), default=5, help="millions, for the cluster")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        ran = {millions: _run_and_report(root / f"{millions}M", millions) for millions in given.sizes}
        print(_by_stage(ran))
        print("\n" + _in_all(ran))
        print("\n" + _on_cluster(root, given.at))


def run(root: Path, millions: int, master: str = "local[2]") -> Ran:
    """Run the pipeline on `millions` million interactions."""
    users, tracks = SIZES[millions]
    flags = {
        "paths-data-root": root / "data", "paths-models-root": root / "models", "spark-session-master": master,
        "synthetic-num-users": users, "synthetic-num-tracks": tracks,
        "synthetic-num-interactions": millions * 1_000_000, "selection-candidates": '["als"]',
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("luigi")), "--module", "workflow", "RecommendAll",
               "--local-scheduler", *(f"--{name}={value}" for name, value in flags.items())]  # fmt: skip
    did = measured(command, **({} if master.startswith("local") else {"SPARK_LOCAL_IP": "127.0.0.1"}))
    lines = [json.loads(line) for line in next((root / "data/runs/synthetic").glob("*.jsonl")).open(encoding="utf-8")]
    stages, read, written = dict[str, float](), dict[str, int](), dict[str, int]()
    sizes: dict[str, int] = {}
    for line in (line for line in lines if line["event"] == "stage"):
        name, label = line["stage"], " ".join(filter(None, (line["stage"], line["model"])))
        made = root / ("models/synthetic" if name == "Publish" else f"data/work/synthetic/{name}") / line["fingerprint"]
        sizes[label] = directory_size(made) if made.is_dir() else 0
        for of, value in ((stages, line["duration_s"]), (written, sizes[label])):
            of[name] = of.get(name, 0) + value
        read[name] = read.get(name, 0) + sum(sizes.get(before, 0) for before in line["requires"])
    return Ran(did.seconds, did.peak_bytes, stages, read, written)


def _run_and_report(root: Path, millions: int, master: str = "local[2]") -> Ran:
    print(f"{millions}M interactions, {SIZES[millions][0]:,} users, {SIZES[millions][1]:,} tracks, {master} …",
          file=sys.stderr)  # fmt: skip
    return run(root, millions, master)


def _by_stage(ran: dict[int, Ran]) -> str:
    """Format the seconds of each stage; for the two largest sizes also the exponent of growth."""
    *_, smaller, larger = (None, *ran)
    rows = []
    for stage in next(iter(ran.values())).stages:
        row = [stage, *(f"{did.stages[stage]:.1f}" for did in ran.values())]
        if smaller and larger and ran[smaller].stages[stage] > 0.5:
            grown = ran[larger].stages[stage] / ran[smaller].stages[stage]
            row.append(f"{math.log(grown) / math.log(larger / smaller):.2f}")
        else:
            row.append("")
        did = ran[larger or smaller or next(iter(ran))]
        rows.append([*row, f"{did.read[stage] / 1e6:,.0f}", f"{did.written[stage] / 1e6:,.0f}"])
    sizes = [f"{millions}M, s" for millions in ran]
    return table(["stage", *sizes, "grows as n^", "read, MB", "written, MB"], rows)


def _in_all(ran: dict[int, Ran]) -> str:
    rows = [
        [
            f"{millions}M", f"{did.seconds:.0f}", f"{did.seconds / millions:.1f}", f"{did.peak_bytes / 1e9:.1f}",
            f"{sum(did.read.values()) / 1e9:.2f}", f"{sum(did.written.values()) / 1e9:.2f}",
        ]
        for millions, did in ran.items()
    ]  # fmt: skip
    return table(["interactions", "s in all", "s a million", "peak, GB", "read, GB", "written, GB"], rows)


def _on_cluster(root: Path, millions: int) -> str:
    """Run the same work locally and on two workers, alternating."""
    local = _run_and_report(root / "local", millions)
    with run_cluster(root / "cluster", port=_free_port(), workers=2, cores=1, memory="2g") as running:
        there = _run_and_report(root / "there", millions, running.address)
    same = _lists(root / "local").equals(_lists(root / "there"))
    rows = [["local[2]", f"{local.seconds:.1f}", "1", f"{local.peak_bytes / 1e9:.1f}"],
            ["two workers of one core", f"{there.seconds:.1f}", f"{there.seconds / local.seconds:.2f}",
             "of the driver alone"]]  # fmt: skip
    return table([f"{millions}M interactions", "s", "×", "peak, GB"], rows) + (
        "\nThe lists are the same." if same else "\nThe lists DIFFER."
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _lists(root: Path) -> Any:
    models = root / "models/synthetic"
    version = (models / "current").read_text().strip()
    lists = pq.read_table(models / version / "recommendations", columns=["user_id", "rank", "track_id"])
    return lists.take(pc.sort_indices(lists, sort_keys=[("user_id", "ascending"), ("rank", "ascending")]))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
