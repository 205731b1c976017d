"""`python -m models COMMAND`: print a user's recommendations, and manage published versions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import StoreError, UserError
from common.full_disk import os_error_message
from common.terminal import EXIT_REFUSED, EXIT_USAGE, CommandParser, text_table
from config.paths import Paths
from models import version_commands

if TYPE_CHECKING:
    import pandas as pd

_COMMANDS = {
    "recommend": "print a user's recommendations",
    "versions": "list the versions, newest first, and the end of the audit log",
    "promote": "serve a version",
    "rollback": "serve an earlier version again, and pin it",
    "verify": "compare files with their published checksums",
    "forget": "delete a user's data from every version",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code."""
    args = _parser().parse_args(argv)
    try:
        for text in _run(args):
            print(text, flush=True)
    except StoreError as error:
        return _print_error(error, EXIT_REFUSED)
    except UserError as error:
        return _print_error(error, EXIT_USAGE)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _print_error(UserError(os_error_message(error, args.models)), EXIT_REFUSED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m models", description="Read and manage published versions.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, text in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--dataset", default="synthetic", help="name of the dataset (default: synthetic)")
        command.add_argument("--models", type=Path, default=Paths().models_root, help="directory of the versions")
        if name in ("recommend", "forget"):
            command.add_argument("user_id", nargs="?", default="", help="the user's own id")
        if name in ("promote", "rollback", "verify"):
            command.add_argument("version", nargs="?", default="", help="sequence number, id, or beginning of the id")
        if name == "recommend":
            command.add_argument("-k", type=int, default=10, help="number of tracks (default: 10)")
        if name == "forget":
            command.add_argument(
                "--data", type=Path, default=Paths().data_root, help="data directory, with stage outputs"
            )
    return parser


def _run(args: argparse.Namespace) -> Iterable[str]:
    """Run the command and return its output, line by line as it becomes known."""
    if args.command in ("recommend", "forget") and not args.user_id:
        raise UserError(f"Name a user: make {args.command} ID=42.")
    if args.command == "recommend":
        return _recommend(args)
    paths = Paths(getattr(args, "data", Paths().data_root), args.models)
    registry = version_commands.open_registry(paths, args.dataset)
    match args.command:
        case "versions":
            return [version_commands.list_versions(registry)]
        case "promote":
            return [version_commands.promote(registry, args.version)]
        case "rollback":
            return [version_commands.roll_back(registry, args.version)]
        case "verify":
            return version_commands.verify(registry, args.version)
        case _:
            return [version_commands.forget(paths, registry, args.user_id)]


def _recommend(args: argparse.Namespace) -> list[str]:
    from models.recommender import recommend

    try:
        frame = recommend(args.models / args.dataset, args.user_id, args.k)
    except FileNotFoundError as error:
        hint = version_commands.publish_hint(args.models, args.dataset)
        raise UserError(f"{error} {hint}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    return [
        frame.attrs["reason"] or f"User {args.user_id} of {args.dataset}, version {frame.attrs['version']}:",
        as_table(frame) if len(frame) else "There is nothing to recommend: this user has heard every track.",
    ]


def as_table(frame: pd.DataFrame) -> str:
    """Return recommendations as a text table, with a dash for missing values."""
    cells: pd.DataFrame = frame.astype({"rank": str}).assign(score=frame["score"].map(_format_score))
    cells = cells.astype(object).where(frame.notna(), "–").loc[:, ["rank", "title", "artist", "score", "track_id"]]
    rows = [list(cells.columns), *cells.to_numpy().tolist()]
    return text_table([[str(cell) for cell in row] for row in rows], numbers={0, 3})


def _format_score(score: float) -> str:
    return f"{score:,.0f}" if score >= 1_000 else f"{score:.4g}"


def _print_error(error: UserError, code: int) -> int:
    print(f"Error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
