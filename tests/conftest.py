"""What the tests share: one Spark session, and published versions small enough to check by eye."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from pyspark.sql import SparkSession
from support import published
from support.pipeline import Ran, Roots
from support.processes import eventually, unused_port

from common.durable import write_json
from config.paths import PROJECT, SUCCESS, Paths
from models.registry import VersionRegistry
from models.serving_store_writer import build_store
from spark.runtime.session import SessionOptions, close_session, open_session
from webapp import create_app

os.environ.setdefault("NUMBA_CACHE_DIR", str(Paths().compiled))  # compiled when the project was installed

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")

TRACKS = [
    ("t1", "Amber Dawn", "The Lanterns", "folk"),
    ("t2", "Paper Rivers", "The Signals", "pop"),
    ("t3", "Quiet Canyon", None, None),
    ("t4", None, None, None),
]
HEARD = {
    "42": [("t1", 3.0), ("t2", 5.0)],
    "alice": [("t2", 4.0)],
    "zoe": [("t1", 1.0), ("t2", 2.0), ("t3", 3.0), ("t4", 4.0)],
}
LISTS = {"42": [("t3", 0.75), ("t4", 0.5)], "alice": [("t1", 0.875), ("t3", 0.25), ("t4", 0.125)], "zoe": []}
BECAUSE = {("42", "t3"): ["t2", "t1"], ("alice", "t3"): ["t2"]}
SIMILAR = [("t1", 1, "t3", 0.75), ("t1", 2, "t2", 0.5), ("t3", 1, "t1", 0.75)]

MakeVersion = Callable[[Path, str], Path]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session that every Spark test shares."""
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    yield open_session(SessionOptions(master="local[2]", shuffle_partitions=2, log=log))
    close_session()


@pytest.fixture(scope="session")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Roots, Ran]:
    """A pipeline that ran once, on few synthetic listeners. Tests that go on from it take a copy: `pipeline`."""
    roots = Roots(tmp_path_factory.mktemp("pipeline"))
    return roots, roots.run()


@pytest.fixture
def pipeline(finished: tuple[Roots, Ran], tmp_path: Path) -> Roots:
    """A pipeline of the test's own, which ran once."""
    shutil.copytree(finished[0].root, tmp_path / "own")
    return Roots(tmp_path / "own")


@pytest.fixture
def free_port() -> int:
    """See `unused_port`."""
    return unused_port()


@pytest.fixture
def luigid_process(free_port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real luigid on loopback. What it keeps is in `tmp_path / "luigid"`."""
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
    """The port of a real luigid."""
    return free_port


@pytest.fixture(scope="session")
def make_version() -> MakeVersion:
    """Publishes a version of three users and four tracks (`TRACKS`, `HEARD`, `LISTS`) as `root/name`."""
    return _make_version


def _make_version(root: Path, name: str) -> Path:
    version = root / name
    for part in ("recommendations", "similar"):
        (version / part).mkdir(parents=True)
    track_index = {track[0]: index for index, track in enumerate(TRACKS)}
    pairs = [(user, track_index[track], value) for user, pair in enumerate(HEARD.values()) for track, value in pair]
    popularity = [sum(track == index for _, track, _ in pairs) for index in range(len(TRACKS))]
    track_rows = [(i, *track, popularity[i]) for i, track in enumerate(TRACKS)]
    user_rows = [(i, user, 30 + i, "SE", len(HEARD[user]), "model") for i, user in enumerate(HEARD)]
    lists = [
        (user, r, track, score, BECAUSE.get((user, track), []))
        for user, lines in LISTS.items()
        for r, (track, score) in enumerate(lines, 1)
    ]
    _write(
        version / "tracks.parquet",
        track_rows,
        {"index": pa.int32(), "track_id": pa.string(), "title": pa.string(), "artist": pa.string()}
        | {"genre": pa.string(), "popularity": pa.int64()},
    )
    _write(
        version / "users.parquet",
        user_rows,
        {"index": pa.int32(), "user_id": pa.string(), "age": pa.int32(), "country": pa.string()}
        | {"interactions": pa.int64(), "tier": pa.string()},
    )
    _write(
        version / "recommendations" / "part-0.parquet",
        lists,
        {"user_id": pa.string(), "rank": pa.int32(), "track_id": pa.string(), "score": pa.float32()}
        | {"because": pa.list_(pa.string())},
    )
    _write(
        version / "similar" / "part-0.parquet",
        SIMILAR,
        {"track_id": pa.string(), "rank": pa.int32(), "similar_id": pa.string(), "score": pa.float32()},
    )
    with TemporaryDirectory() as elsewhere:
        interactions = Path(elsewhere)
        _write(interactions / "part-0.parquet", pairs, {"user": pa.int32(), "track": pa.int32(), "value": pa.float64()})
        build_store(version, interactions)
    counts = {"users": len(HEARD), "tracks": len(TRACKS), "interactions": len(pairs)}
    VersionRegistry(root).write_manifest(version, {"version": name, "dataset": root.name, "counts": counts})
    write_json(version / SUCCESS, {"rows": len(lists)})
    return version


def _write(path: Path, rows: list[tuple[object, ...]], schema: dict[str, pa.DataType]) -> None:
    """Writes rows as Parquet."""
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.values(), strict=True)]
    pq.write_table(pa.table(arrays, names=list(schema)), path)


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir()
    data.mkdir()
    return models, data


@pytest.fixture
def bare(roots: tuple[Path, Path]) -> FlaskClient:
    """A client of an application that has nothing to show."""
    return create_app(*roots, {"TESTING": True, "TOKEN": published.TOKEN, "MAY_RUN": True}).test_client()


@pytest.fixture
def client(roots: tuple[Path, Path], bare: FlaskClient) -> FlaskClient:
    """A client of an application with one published version."""
    published.publish(roots[0])
    return bare
