"""`python -m spark.runtime.standalone master` or `worker ADDRESS`: becomes one process of a standalone cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pyspark

from common.errors import UserError
from spark.runtime.session import find_java

MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"

_NO_REST = "-Dspark.master.rest.enabled=false"
"""Spark's master would take programs from anybody over HTTP, on port 6066; runs bring theirs another way."""


def spark_command(what: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that start a master or a worker.

    Raises:
        UserError: `JAVA_HOME` does not hold a Java.
    """
    find_java()
    home = Path(pyspark.__file__).parent
    environment = {"SPARK_MASTER_OPTS": _NO_REST} | os.environ | {"SPARK_HOME": str(home)}
    return [str(home / "bin" / "spark-class"), what, *options], environment


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    top = argparse.ArgumentParser(prog="python -m spark.runtime.standalone", description=__doc__, allow_abbrev=False)
    roles = top.add_subparsers(required=True, dest="role", metavar="ROLE")
    for name, page in (("master", 8080), ("worker", 8081)):
        role = roles.add_parser(name, allow_abbrev=False)
        role.add_argument("--host", help="its own name, by which the others reach it (default: its address)")
        role.add_argument("--page", type=int, default=page, help="the port of Spark's page (default: %(default)s)")
        if name == "master":
            role.add_argument("--port", type=int, default=7077, help="default: %(default)s")
        else:
            role.add_argument("address", help="the master's, such as spark://host:7077")
            role.add_argument("--cores", type=int, default=1, help="default: %(default)s")
            role.add_argument("--memory", default="1g", help="of its executors (default: %(default)s)")
            role.add_argument(
                "--directory", type=Path, default=Path("data/cluster"), help="what executors print, and ship"
            )
    return top


def options_of(given: argparse.Namespace) -> list[str]:
    """The same in Spark's words."""
    options = ["--webui-port", str(given.page), *(["--host", given.host] if given.host else [])]
    if given.role == "master":
        return [*options, "--port", str(given.port)]
    sizes = ["-c", str(given.cores), "-m", given.memory, "--work-dir", str(given.directory.absolute())]
    return [*options, *sizes, given.address]


def main(arguments: list[str] | None = None) -> int:
    """Becomes that process; returns only where it cannot."""
    given = parser().parse_args(arguments)
    try:
        command, environment = spark_command(MASTER if given.role == "master" else WORKER, *options_of(given))
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main())
