"""`make bench-web`: latency of the page and the API over a large store, relative to Flask's hello-world.

python tests/benchmarks/web.py [--users 1000000 --tracks 100000] [--rounds 5] [--requests 1000] [--store DIR]

Eight clients send requests at once, for uniformly drawn users and for typed words, in turns with hello-world on the
same server; /healthz shows the cost of access control and metrics. Then versions are promoted under load. The store is
created once and kept. Each figure is printed with its goal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import big_version
import psutil
import pyarrow.parquet as pq
from big_version import Size, track_id, user_id
from load import Load, get, load, post
from measure import table, tree_bytes

from config.paths import PROJECT, Paths
from models.registry import VersionRegistry
from models.serving_store import FILE
from webapp import __main__ as page

HEARD = 20
MAX_MB, MAX_START_S, MAX_FOLD_IN_MS = 300, 1.0, 50.0
SWITCH_S, SWITCH_EVERY_S = 6.0, 0.1
MARK = "of the second version"
"""The genre of all tracks in the second version, which reveals a response that mixes versions."""

Make = Callable[[random.Random, int], bytes]
"""Creates a request for the server at a port."""


@dataclass(frozen=True)
class Route:
    """A kind of request, with the maximum of p50, p99 and CPU time relative to hello-world."""

    name: str
    make: Make
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None
    p99_ms: float | None = None
    share: float = 1.0
    """Share of the number of requests; smaller for slow ones."""


@dataclass
class Server:
    """A server process."""

    pid: int
    port: int
    first_answer_s: float

    def cpu_s(self) -> float:
        """Return the CPU time of all threads."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def megabytes(self) -> float:
        """Return the proportional set size."""
        return tree_bytes(self.pid) / 1e6


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--requests", type=int, default=1_000, help="requests per route and round (default: %(default)s)"
    )
    parser.add_argument("--store", type=Path, default=Paths().data_root / "bench-web", help="(default: %(default)s)")
    given = parser.parse_args()
    size = Size(given.users, given.tracks)
    models = given.store.resolve() / f"{size.users}x{size.tracks}-{_sources()}"
    print(f"The store is in {models}.", file=sys.stderr)
    first = big_version.publish(models / "big", size)
    second = _second(first, size)
    for version in (first, second):  # fills the page cache, so that the disk is not measured
        with (version / FILE).open("rb") as file:
            while file.read(1 << 24):
                pass
    routes = _routes(size, _typed(first))
    with tempfile.TemporaryDirectory() as data:
        command = ["-m", "webapp", "--port", "0", "--models", str(models), "--data", data]
        hello_command = [str(Path(__file__).with_name("hello.py")), str(getattr(page, "THREADS", 4))]
        with started(hello_command, "/") as hello, started(command, f"/api/v1/users/{user_id(0)}") as web:
            idle = web.megabytes()
            missed = compare(routes, hello, web, given.rounds, given.requests)
            missed += switch(web, first, second, size)
            figures = (("memory at start, MB", idle, MAX_MB), ("memory at the end, MB", web.megabytes(), MAX_MB),
                       ("start to first answer, s", web.first_answer_s, MAX_START_S),
                       ("start to first answer of hello, s", hello.first_answer_s, None))  # fmt: skip
            missed += _printed(figures)
    print("\n" + (f"Missed: {'; '.join(missed)}." if missed else "All goals are met."))


def compare(routes: list[Route], hello: Server, web: Server, rounds: int, requests: int) -> list[str]:
    """Measure hello and each route in turns, print the table, and return the missed goals."""
    yardstick = Route("hello", lambda rng, port: get("/", port))
    did = {route.name: Load() for route in (yardstick, *routes)}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds} …", file=sys.stderr)  # round 0 is the warm-up
        for route in routes:
            for what, server in ((yardstick, hello), (route, web)):
                rng = random.Random(f"{number} {route.name}")
                asked = [what.make(rng, server.port) for _ in range(int(requests * route.share))]
                before = server.cpu_s()
                done = load(server.port, asked)
                done.cpu_s = server.cpu_s() - before
                if number:
                    did[what.name].add(done)
    rows, missed = [], []
    for route in (yardstick, *routes):
        row, goals = _compared(route, did[route.name], did["hello"])
        rows.append(row)
        missed += [f"{route.name}: {goal.said}" for goal in goals if goal.is_missed]
        missed += [f"{route.name} answered {error}" for error in did[route.name].errors[:1]]
    print(table(["", "p50 ms", "× hello", "p99 ms", "× hello", "CPU ms", "× hello", "errors", "goals"], rows))
    return missed


def _compared(route: Route, own: Load, base: Load) -> tuple[list[str], list[_Goal]]:
    """Return a row of the table and its goals."""
    row, goals = [route.name], []
    for what, figure, yardstick, most in (
        ("p50", own.percentile(50), base.percentile(50), route.p50),
        ("p99", own.percentile(99), base.percentile(99), route.p99),
        ("CPU", own.cpu_ms, base.cpu_ms, route.cpu),
    ):
        row += [f"{figure:.2f}", f"{figure / yardstick:.2f}"]
        goals.append(_Goal(what, figure / yardstick, most, "×"))
    goals.append(_Goal("p99", own.percentile(99), route.p99_ms, " ms"))
    said = ", ".join(str(goal) for goal in goals if goal.most is not None)
    return [*row, str(len(own.errors)), said], goals


@dataclass(frozen=True)
class _Goal:
    what: str
    figure: float
    most: float | None
    unit: str

    @property
    def is_missed(self) -> bool:
        return self.most is not None and self.figure > self.most

    @property
    def said(self) -> str:
        return f"{self.what} {self.figure:.3g}{self.unit}, goal {self.most:g}{self.unit}"

    def __str__(self) -> str:
        return f"{self.what} ≤ {self.most:g}{self.unit}{' ✗' if self.is_missed else ''}"


def switch(web: Server, first: Path, second: Path, size: Size) -> list[str]:
    """Promote two versions in turns under load, print the results, and return the missed goals."""
    registry, ended = VersionRegistry(first.parent), time.monotonic() + SWITCH_S
    switches, seen = 0, Counter[str]()

    def promote() -> None:
        nonlocal switches
        for version in cycle((second.name, first.name)):
            registry.promote(version, expected=registry.current(), by="user")
            switches += 1
            if time.monotonic() > ended and version == first.name:
                return
            time.sleep(SWITCH_EVERY_S)

    def asked() -> Iterator[bytes]:
        rng = random.Random(0)
        while promoting.is_alive():
            yield get(f"/api/v1/users/{user_id(rng.randrange(size.users))}/recommendations", web.port)

    def agrees(status: int, head: bytes, body: bytes) -> str | None:
        if status != 200:
            return f"failed: {status} {body[:200]!r}"
        said = json.loads(body)
        seen[said["version"]] += 1
        marked = {line["track"]["genre"] == MARK for line in said["recommendations"]}
        tag = re.search(rb"\r\netag: *(.*)", head, re.IGNORECASE)
        if marked != {said["version"] == second.name} or tag is None or said["version"].encode() not in tag[1]:
            return f"disagrees: {tag and tag[1]!r}, version {said['version']}, lines of the second {marked}"
        return None

    promoting = threading.Thread(target=promote)
    promoting.start()
    done = load(web.port, asked(), agrees)
    promoting.join()
    failed = [error for error in done.errors if not error.startswith("disagrees")]
    print(f"\n{switches} promotions under load: {len(done.seconds):,} responses, of which "
          f"{' and '.join(f'{count:,} from {name}' for name, count in sorted(seen.items()))}; "
          f"p99 {done.percentile(99):.1f} ms")  # fmt: skip
    return (
        _printed((("failed", len(failed), 0), ("with data of both versions", len(done.errors) - len(failed), 0)))
        + done.errors[:1]
    )


def _printed(figures: tuple[tuple[str, float, float | None], ...]) -> list[str]:
    """Print figures with their goals, and return the missed goals."""
    goals = [_Goal(what, figure, most, "") for what, figure, most in figures]
    rows = [[goal.what, f"{goal.figure:,.4g}", "" if goal.most is None else f"≤ {goal.most:g}"] for goal in goals]
    print("\n" + table(["", "", "goal"], rows))
    return [goal.said for goal in goals if goal.is_missed]


@contextmanager
def started(arguments: list[str], path: str) -> Iterator[Server]:
    """Run a Python server until the block ends. It has to print its address when it listens."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        address = re.search(r":(\d+)/", process.stdout.readline())
        if address is None:
            sys.exit(f"{' '.join(arguments)} did not start.")
        port = int(address[1])
        if faults := load(port, [get(path, port)], clients=1).errors:
            sys.exit(f"{path} answers {faults[0]}")
        yield Server(process.pid, port, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


def _routes(size: Size, typed: Callable[[random.Random], str]) -> list[Route]:
    def user(rng: random.Random) -> str:
        return user_id(rng.randrange(size.users))

    def search(path: str) -> Make:
        return lambda rng, port: get(f"{path}?q={quote(typed(rng))}", port)

    def new_user(rng: random.Random, port: int) -> bytes:
        heard = [track_id(index) for index in rng.sample(range(size.tracks), HEARD)]
        return post("/api/v1/recommendations", port, json.dumps({"tracks": heard}).encode())

    listed: Make = lambda rng, port: get(f"/api/v1/users/{user(rng)}/recommendations", port)  # noqa: E731
    shown: Make = lambda rng, port: get(f"/users/{user(rng)}", port)  # noqa: E731
    return [
        Route("a user's recommendations, API", listed, p50=2.2, p99=2.5),
        Route("a user's page", shown, p99=5.0),
        Route("search, API", search("/api/v1/tracks"), p99=5.0),
        Route("search, page", search("/tracks"), p99=5.0),
        Route("health check, /healthz", lambda rng, port: get("/healthz", port)),
        Route("fold-in of 20 tracks, API", new_user, p99_ms=MAX_FOLD_IN_MS, share=0.3),
    ]


def _typed(version: Path) -> Callable[[random.Random], str]:
    """Return a function that draws search texts: title words by frequency, mostly their first two to four letters."""
    titles = pq.read_table(version / "tracks.parquet", columns=["title"])["title"].to_pylist()

    def typed(rng: random.Random) -> str:
        words = rng.choice(titles).lower().split()
        kind = rng.random()
        if kind < 0.6:
            return rng.choice(words)[: rng.randint(2, 4)]
        return " ".join(words[: 1 if kind < 0.8 else 2])

    return typed


def _second(first: Path, size: Size) -> Path:
    """Return a second version with the same files, whose tracks all have the genre `MARK`."""
    registry, version = VersionRegistry(first.parent), first.with_name("v2")
    if not registry.has_version(version.name):
        shutil.rmtree(version, ignore_errors=True)
        changed = {first / FILE, first / "manifest.json", first / "_SUCCESS", first / "metrics.json"}
        shutil.copytree(
            first, version, copy_function=os.link,
            ignore=lambda directory, names: [name for name in names if Path(directory, name) in changed],
        )  # fmt: skip
        shutil.copyfile(first / FILE, version / FILE)
        with closing(sqlite3.connect(version / FILE)) as db, db:
            db.execute("UPDATE tracks SET genre = ?", (MARK,))
        text = (first / "metrics.json").read_text(encoding="utf-8")
        (version / "metrics.json").write_text(text.replace(f'"{first.name}"', f'"{version.name}"'), encoding="utf-8")
        big_version.seal(version, {"users": size.users, "tracks": size.tracks})
    if registry.current() != first.name:  # an earlier benchmark was interrupted
        registry.promote(first.name, expected=registry.current(), by="user")
    return version


def _sources() -> str:
    """Return a digest of the code that writes the store, so that a store of older code is not measured."""
    writers = [PROJECT / "models" / name for name in ("serving_store_writer.py", "track_audience.py")]
    files = [Path(big_version.__file__), *writers]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


if __name__ == "__main__":
    main()
