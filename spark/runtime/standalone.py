"""`python -m spark.runtime.standalone master` or `worker ADDRESS`: run one process of a standalone cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pyspark

from common.errors import UserError
from spark.runtime.java_home import set_java_home

MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"

_NO_REST = "-Dspark.master.rest.enabled=false"
"""Disables the master's HTTP interface on port 6066, through which anybody could submit programs."""


def spark_command(main_class: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that start a master or a worker.

    Args:
        main_class: `MASTER` or `WORKER`.

    Raises:
        UserError: JAVA_HOME is set, and has no `bin/java`.
    """
    set_java_home()
    home = Path(pyspark.__file__).parent
    environment = {"SPARK_MASTER_OPTS": _NO_REST} | os.environ | {"SPARK_HOME": str(home)}
    return [str(home / "bin" / "spark-class"), main_class, *options], environment


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m spark.runtime.standalone", description=__doc__, allow_abbrev=False)
    roles = top.add_subparsers(required=True, dest="role", metavar="ROLE")
    for name, page in (("master", 8080), ("worker", 8081)):
        role = roles.add_parser(name, allow_abbrev=False)
        role.add_argument("--host", help="host name under which the other processes reach it (default: its address)")
        role.add_argument("--page", type=int, default=page, help="port of Spark's web page (default: %(default)s)")
        if name == "master":
            role.add_argument("--port", type=int, default=7077, help="default: %(default)s")
        else:
            role.add_argument("address", help="address of the master, such as spark://host:7077")
            role.add_argument("--cores", type=int, default=1, help="default: %(default)s")
            role.add_argument("--memory", default="1g", help="memory of its executors (default: %(default)s)")
            role.add_argument(
                "--directory",
                type=Path,
                default=Path("data/cluster"),
                help="directory for files of executors",
            )
    return top


def spark_options(arguments: argparse.Namespace) -> list[str]:
    """Return the options of Spark's own command line."""
    options = ["--webui-port", str(arguments.page), *(["--host", arguments.host] if arguments.host else [])]
    if arguments.role == "master":
        return [*options, "--port", str(arguments.port)]
    sizes = ["-c", str(arguments.cores), "-m", arguments.memory, "--work-dir", str(arguments.directory.absolute())]
    return [*options, *sizes, arguments.address]


def main(argv: list[str] | None = None) -> int:
    """Replace this process by the master or worker; return an exit code if that fails."""
    arguments = parser().parse_args(argv)
    try:
        command, environment = spark_command(
            MASTER if arguments.role == "master" else WORKER, *spark_options(arguments)
        )
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main())
