"""`python -m spark.runtime.local_cluster`: runs a standalone Spark cluster on this machine until Ctrl-C.

For trying a cluster without having one: the processes are those of a real cluster, and listen on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from spark.runtime.standalone import MASTER, WORKER, spark_command

_HOST = "127.0.0.1"
_PATIENCE_S = 60.0


@dataclass
class Cluster:
    """The processes of a cluster that runs."""

    address: str
    """What `[spark_session] master` takes."""
    directory: Path
    """Logs, and what executors leave."""
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, cores: int, memory: str) -> None:
        """Starts one more."""
        name = f"worker-{len(self.workers)}"
        options = ["-c", str(cores), "-m", memory, "--work-dir", str(self.directory / name), self.address]
        self.workers.append(_start(WORKER, *options, log=self.directory / f"{name}.log"))


@contextmanager
def run_cluster(
    directory: Path, *, port: int, workers: int = 2, cores: int = 1, memory: str = "1g"
) -> Iterator[Cluster]:
    """Runs a cluster while the block runs.

    Raises:
        UserError: the master did not start; something else may have its port.
    """
    directory.mkdir(parents=True, exist_ok=True)
    master = _start(MASTER, "--port", str(port), log=directory / "master.log")
    running = Cluster(f"spark://{_HOST}:{port}", directory, master)
    try:
        _wait_for(port, master, directory / "master.log")
        for _ in range(workers):
            running.add_worker(cores, memory)
        yield running
    finally:
        for process in (*running.workers, master):
            process.terminate()
        for process in (*running.workers, master):
            process.wait()


def _start(what: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
    """Starts a master or a worker; what it prints goes to the log."""
    command, environment = spark_command(what, "--host", _HOST, "--webui-port", "0", *options)
    with log.open("ab") as output:
        # Ctrl-C is for whoever started the cluster, who then ends the processes in order.
        return subprocess.Popen(
            command,
            env=environment | {"SPARK_LOCAL_IP": _HOST},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for(port: int, master: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the master listens."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and master.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise UserError(f"The cluster's master does not listen on {_HOST}:{port}; {log} says why.")


def main() -> int:
    """Runs a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--port", type=int, default=7077)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1, help="of each worker")
    parser.add_argument("--memory", default="1g", help="of each worker's executor")
    parser.add_argument("--directory", type=Path, default=Path("data/cluster"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sizes = {"workers": given.workers, "cores": given.cores, "memory": given.memory}
        with run_cluster(given.directory.absolute(), port=given.port, **sizes) as running:
            print(f"A cluster of {given.workers} workers is at {running.address}; Ctrl-C ends it. Try, elsewhere:")
            print(f"  make pipeline SPARK_MASTER={running.address}", flush=True)
            running.master.wait()
    except KeyboardInterrupt:
        return 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 1


if __name__ == "__main__":
    sys.exit(main())
