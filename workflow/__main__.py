"""`python -m workflow COMMAND`: list, show and draw runs; fill a range of days; prune; start luigid."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from common.errors import UserError
from common.full_disk import os_error_message
from common.redaction import redact
from common.terminal import EXIT_REFUSED, EXIT_USAGE, CommandParser
from config.paths import Paths
from workflow.commands import backfill, prune_command, run_commands
from workflow.scheduler import luigid


def main(arguments: list[str] | None = None) -> int:
    """Run a command and print its text; return the exit code."""
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    if others and options.command is not backfill.run:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.luigi_arguments = others
    try:
        print(redact(options.command(options)), flush=True)
    except UserError as error:
        print(redact(f"Error: {error}"), file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(redact(f"Error: {os_error_message(error, options.data)}"), file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m workflow", description="Inspect runs and manage what they leave on disk.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, function, text in (
        ("runs", run_commands.list_runs, "list the runs, newest first"),
        ("run", run_commands.show, "show a run (default: the last one)"),
        ("graph", run_commands.draw, "draw the stages of a run as an SVG file (default: the last run)"),
    ):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.set_defaults(command=function)
        command.add_argument("--data", type=Path, default=Paths().data_root, help="data root; run records are in runs/")
        command.add_argument("--dataset", help="only runs of this dataset")
        if name != "runs":
            command.add_argument("id", nargs="?", default="", help="the run's id, or its first characters")

    command = commands.add_parser("prune", help="remove old versions and unused stage outputs", allow_abbrev=False)
    command.set_defaults(command=prune_command.run)
    command.add_argument("--data", type=Path, default=Paths().data_root, help="data root; stage outputs are in work/")
    command.add_argument("--models", type=Path, default=Paths().models_root, help="models root, with the versions")
    command.add_argument("--dataset", default="synthetic", help="default: %(default)s")
    command.add_argument("--keep", type=int, help="versions to keep, the newest (default: [publish] keep_versions)")
    command.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")

    command = commands.add_parser(
        "backfill",
        help="publish a version as of each day of a range; further arguments are Luigi's",
        allow_abbrev=False,
    )
    command.set_defaults(command=backfill.run)
    command.add_argument("--dataset", default="synthetic", help="default: %(default)s")
    command.add_argument("--raw-dir", default="", help="directory of the raw files (default: data/raw/<dataset>)")
    command.add_argument("--from", dest="first", required=True, help="first day, such as 2026-03-01")
    command.add_argument("--to", dest="last", required=True, help="last day")

    command = commands.add_parser("luigid", help="start luigid, the scheduler with a web page", allow_abbrev=False)
    command.set_defaults(command=luigid.run)
    command.add_argument("--data", type=Path, default=Paths().data_root, help="data root; the state is in luigid/")
    command.add_argument("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument("--port", type=int, default=8082, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
