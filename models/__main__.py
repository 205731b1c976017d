"""`python -m models recommend ID`: one user's list as a table, for `make recommend`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from config.paths import Paths
from models.recommender import recommend
from models.registry import datasets

MISUSED = 2
"""Exit code for what the user can put right."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models", description="Answers from the published versions.")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("recommend", help="prints one user's recommendations")
    verb.add_argument("user_id", help="the user's own id")
    verb.add_argument("-k", type=int, default=10, help="how many (default: 10)")
    verb.add_argument("--dataset", default="synthetic", help="default: synthetic")
    verb.add_argument("--models", type=Path, default=Paths().models_root, help="where the versions are")
    asked = parser.parse_args(arguments)
    if not asked.user_id:
        return _refuse("Name a user: make recommend ID=42.")
    try:
        frame = recommend(asked.models / asked.dataset, asked.user_id, asked.k)
    except FileNotFoundError as error:
        known = ", ".join(datasets(asked.models))
        there = f"published are: {known}" if known else f"make pipeline DATASET={asked.dataset} makes one"
        return _refuse(f"{str(error).rstrip('.')}; {there}.")
    except ValueError as error:
        return _refuse(str(error))
    print(frame.attrs["reason"] or f"User {asked.user_id} of {asked.dataset}, version {frame.attrs['version']}:")
    print(as_table(frame) if len(frame) else "Nothing is left to recommend: this user has heard everything.")
    return 0


def as_table(frame: pd.DataFrame) -> str:
    """The frame as text: words to the left, numbers to the right, a dash where nothing is known."""
    shown = frame.astype({"rank": str}).assign(score=frame["score"].map(_number))
    shown = shown.astype(object).where(frame.notna(), "–").loc[:, ["rank", "title", "artist", "score", "track_id"]]
    rows = [list(shown.columns), *shown.to_numpy().tolist()]
    widths = [max(len(str(row[place])) for row in rows) for place in range(len(rows[0]))]
    numbers = {shown.columns.get_loc("rank"), shown.columns.get_loc("score")}
    return "\n".join(
        "  ".join(
            str(cell).rjust(width) if place in numbers else str(cell).ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _number(score: float) -> str:
    return f"{score:,.0f}" if score >= 1_000 else f"{score:.4g}"


def _refuse(sentence: str) -> int:
    print(f"Error: {sentence}", file=sys.stderr)
    return MISUSED


if __name__ == "__main__":
    sys.exit(main())
