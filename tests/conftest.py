"""Fixtures of several test modules: the Spark session, a finished pipeline, luigid, and a client of the page."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from flask.testing import FlaskClient
from pyspark.sql import SparkSession
from support import published
from support.pipeline import Ran, Roots
from support.processes import eventually, unused_port

from config.paths import PROJECT, Paths
from spark.runtime.session import SessionOptions, close_session, open_session
from webapp import create_app

os.environ.setdefault("NUMBA_CACHE_DIR", str(Paths().compiled))  # numba's cache, filled by the installation
# Background jobs of a shell ignore SIGINT, and the processes that the tests start would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The Spark session that all tests share."""
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    yield open_session(SessionOptions(master="local[2]", shuffle_partitions=2, log=log))
    close_session()


@pytest.fixture(scope="session")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Roots, Ran]:
    """Run a pipeline once, on a few synthetic users. Tests must not change it; `pipeline` is a copy for that."""
    roots = Roots(tmp_path_factory.mktemp("pipeline"))
    return roots, roots.run()


@pytest.fixture
def pipeline(finished: tuple[Roots, Ran], tmp_path: Path) -> Roots:
    """A copy of the finished pipeline, which the test may change."""
    shutil.copytree(finished[0].root, tmp_path / "own")
    return Roots(tmp_path / "own")


@pytest.fixture
def free_port() -> int:
    """A free port of the loopback interface."""
    return unused_port()


@pytest.fixture
def luigid_process(free_port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running luigid, with its state in `tmp_path / "luigid"`."""
    command = [sys.executable, "-m", "workflow", "luigid", "--port", str(free_port), "--data", str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", free_port)) == 0

    eventually(answers)
    yield process
    process.terminate()
    process.wait()


@pytest.fixture
def luigid(luigid_process: subprocess.Popen[bytes], free_port: int) -> int:
    """The port of a running luigid."""
    return free_port


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir()
    data.mkdir()
    return models, data


@pytest.fixture
def bare(roots: tuple[Path, Path]) -> FlaskClient:
    """A client of an application without versions."""
    return create_app(*roots, {"TESTING": True, "TOKEN": published.TOKEN, "ALLOW_RUNS": True}).test_client()


@pytest.fixture
def client(roots: tuple[Path, Path], bare: FlaskClient) -> FlaskClient:
    """A client of an application with one published version."""
    published.publish(roots[0])
    return bare
