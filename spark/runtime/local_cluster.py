"""`python -m spark.runtime.local_cluster`: run a standalone Spark cluster on this machine until Ctrl-C.

The processes are those of a real cluster, and listen on 127.0.0.1 only.
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
_START_TIMEOUT_S = 60.0


@dataclass
class Cluster:
    """The processes of a running cluster."""

    address: str
    """The value for `[spark_session] master`."""
    directory: Path
    """Holds logs and the files of executors."""
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, cores: int, memory: str) -> None:
        """Start another worker."""
        name = f"worker-{len(self.workers)}"
        options = ["-c", str(cores), "-m", memory, "--work-dir", str(self.directory / name), self.address]
        self.workers.append(_start(WORKER, *options, log=self.directory / f"{name}.log"))


@contextmanager
def run_cluster(
    directory: Path, *, port: int, workers: int = 2, cores: int = 1, memory: str = "1g"
) -> Iterator[Cluster]:
    """Run a cluster for the duration of the block.

    Raises:
        UserError: the master does not start; another process may be using its port.
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


def _start(main_class: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a master or a worker; its output goes to the log."""
    command, environment = spark_command(main_class, "--host", _HOST, "--webui-port", "0", *options)
    with log.open("ab") as output:
        # In a new session, Ctrl-C reaches only this process, which then stops the workers before the master.
        return subprocess.Popen(
            command,
            env=environment | {"SPARK_LOCAL_IP": _HOST},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_for(port: int, master: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the master listens."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and master.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise UserError(f"The cluster's master does not listen on {_HOST}:{port}: see {log}.")


def main() -> int:
    """Run a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--port", type=int, default=7077)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1, help="cores of each worker")
    parser.add_argument("--memory", default="1g", help="memory of each worker's executor")
    parser.add_argument("--directory", type=Path, default=Path("data/cluster"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sizes = {"workers": arguments.workers, "cores": arguments.cores, "memory": arguments.memory}
        with run_cluster(arguments.directory.absolute(), port=arguments.port, **sizes) as running:
            print(
                f"A cluster of {arguments.workers} workers runs at {running.address}. Stop it with Ctrl-C. To use it:"
            )
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
