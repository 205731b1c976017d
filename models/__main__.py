"""`python -m models VERB`: one user's list; and what a person does with the versions, see `models.version_commands`."""

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

_VERBS = {
    "recommend": "prints one user's recommendations",
    "versions": "lists the versions, the newest first, and what was done with them",
    "promote": "serves a version",
    "rollback": "serves an earlier version again, and pins it",
    "verify": "compares files with what was published",
    "forget": "takes a user out of every version",
}


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        for text in _answer(asked):
            print(text, flush=True)
    except StoreError as error:
        return _refuse(error, EXIT_REFUSED)
    except UserError as error:
        return _refuse(error, EXIT_USAGE)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _refuse(UserError(os_error_message(error, asked.models)), EXIT_REFUSED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m models", description="Looks at the published versions.", allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="VERB")
    for name, text in _VERBS.items():
        verb = verbs.add_parser(name, help=text, allow_abbrev=False)
        verb.add_argument("--dataset", default="synthetic", help="default: synthetic")
        verb.add_argument("--models", type=Path, default=Paths().models_root, help="where the versions are")
        if name in ("recommend", "forget"):
            verb.add_argument("user_id", nargs="?", default="", help="the user's own id")
        if name in ("promote", "rollback", "verify"):
            verb.add_argument("version", nargs="?", default="", help="its number, or its id or the beginning of it")
        if name == "recommend":
            verb.add_argument("-k", type=int, default=10, help="how many (default: 10)")
        if name == "forget":
            verb.add_argument("--data", type=Path, default=Paths().data_root, help="stage outputs are in its work/")
    return parser


def _answer(asked: argparse.Namespace) -> Iterable[str]:
    """What is to be said, line by line as it becomes known."""
    if asked.verb in ("recommend", "forget") and not asked.user_id:
        raise UserError(f"Name a user: make {asked.verb} ID=42.")
    if asked.verb == "recommend":
        return _recommend(asked)
    paths = Paths(getattr(asked, "data", Paths().data_root), asked.models)
    registry = version_commands.open_registry(paths, asked.dataset)
    if asked.verb == "versions":
        return [version_commands.list_versions(registry)]
    if asked.verb == "promote":
        return [version_commands.promote(registry, asked.version)]
    if asked.verb == "rollback":
        return [version_commands.roll_back(registry, asked.version)]
    if asked.verb == "verify":
        return version_commands.verify(registry, asked.version)
    return [version_commands.forget(paths, registry, asked.user_id)]


def _recommend(asked: argparse.Namespace) -> list[str]:
    from models.recommender import recommend

    try:
        frame = recommend(asked.models / asked.dataset, asked.user_id, asked.k)
    except FileNotFoundError as error:
        hint = version_commands.publish_hint(asked.models, asked.dataset)
        raise UserError(f"{error} {hint}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    return [
        frame.attrs["reason"] or f"User {asked.user_id} of {asked.dataset}, version {frame.attrs['version']}:",
        as_table(frame) if len(frame) else "Nothing is left to recommend: this user has heard everything.",
    ]


def as_table(frame: pd.DataFrame) -> str:
    """The frame as text, a dash where nothing is known."""
    shown: pd.DataFrame = frame.astype({"rank": str}).assign(score=frame["score"].map(_number))
    shown = shown.astype(object).where(frame.notna(), "–").loc[:, ["rank", "title", "artist", "score", "track_id"]]
    rows = [list(shown.columns), *shown.to_numpy().tolist()]
    return text_table([[str(cell) for cell in row] for row in rows], numbers={0, 3})


def _number(score: float) -> str:
    return f"{score:,.0f}" if score >= 1_000 else f"{score:.4g}"


def _refuse(error: UserError, code: int) -> int:
    print(f"Error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
