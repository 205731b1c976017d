"""Training on a standalone Spark cluster on loopback gives the same results as locally, even if processes die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from pyspark.sql import SparkSession
from support import cluster_job
from support.cluster_job import OBJECTIVE, TASK_COST
from support.interactions import MATRIX, write_interactions
from support.pipeline import Ran, Roots
from support.processes import PATIENCE_S, eventually, unused_port

from config.paths import PROJECT, SUCCESS
from spark.algorithms.als import half_iteration, training
from spark.runtime.local_cluster import run_cluster
from spark.storage.interaction_matrix import build_interaction_matrix

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a standalone cluster of two workers."""
    with run_cluster(tmp_path_factory.mktemp("cluster"), port=unused_port()) as running:
        yield running.address


@pytest.fixture(scope="module")
def matrix(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interaction matrix of `MATRIX`."""
    directory = tmp_path_factory.mktemp("matrix")
    build_interaction_matrix(
        spark, [write_interactions(MATRIX, directory / "interactions")], *MATRIX.shape, directory / "matrix"
    )
    return directory / "matrix"


def trained(master: str, matrix: Path, into: Path, *options: str) -> tuple[dict[str, Any], list[bytes]]:
    """Return the output of the job and the bytes of the factors."""
    command = [sys.executable, cluster_job.__file__, master, str(matrix), str(into), *options]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("user-0", "track-0"):
        assert np.isfinite(np.fromfile(into / name, np.float32)).all()
    return json.loads(done.stdout.splitlines()[-1]), [(into / name).read_bytes() for name in ("user-0", "track-0")]


@pytest.fixture(scope="module")
def local_factors(spark: SparkSession, matrix: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The factors that the tests' local session computes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half_iteration, "_COST_PER_TASK", TASK_COST)
        files = training.train(spark, matrix, tmp_path_factory.mktemp("home"), OBJECTIVE, iterations=4, steps=3, seed=5)
    return [file.read_bytes() for file in files]


def test_local_cluster_gives_the_same_bytes(matrix: Path, tmp_path: Path, local_factors: list[bytes]) -> None:
    output, factors = trained("local-cluster[2,1,1024]", matrix, tmp_path / "out")
    assert output["workers"] == 2
    assert factors == local_factors


def test_killed_executor_does_not_change_the_result(
    master: str, matrix: Path, tmp_path: Path, local_factors: list[bytes]
) -> None:
    output, factors = trained(master, matrix, tmp_path / "out", "--kill")
    assert output["killed"]
    assert output["workers"] >= 2
    assert factors == local_factors


def test_run_that_loses_a_worker_publishes_the_same_version(finished: tuple[Roots, Ran], tmp_path: Path) -> None:
    """The worker's executor dies with it; the other worker repeats its tasks."""
    roots = Roots(tmp_path / "own")
    with run_cluster(tmp_path / "cluster", port=unused_port()) as running:
        command = roots.command("--local-scheduler", f"--spark-session-master={running.address}")
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        run = subprocess.Popen(command, cwd=PROJECT, text=True, **pipes)  # type: ignore[call-overload]
        eventually(lambda: list(roots.data.glob("work/synthetic/Split/*/" + SUCCESS)) or run.poll() is not None)
        executors = list((tmp_path / "cluster" / "worker-0").glob("app-*/*/stderr"))
        running.workers[0].kill()
        running.workers[0].wait()
        assert run.poll() is None
        _, err = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, err
    assert len(executors) == 1
    assert "Lost executor" in next(roots.data.glob("runs/synthetic/*.log")).read_text()
    local, clustered = (pipeline.models / "synthetic" / pipeline.current() for pipeline in (finished[0], roots))
    assert local.name == clustered.name
    lists = [ds.dataset(version / "recommendations").to_table() for version in (local, clustered)]
    assert lists[0].equals(lists[1])
    shipped = [path for path in (roots.data / "code").iterdir() if path.is_dir()]
    assert [(shipped[0] / "spark" / "lists" / "topk.py").is_file(), len(shipped)] == [True, 1]
