"""The command `backfill`: publish a version as of each day of a range that has none yet."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date, timedelta

from common.dates import parse_date
from common.errors import UserError


def run(options: argparse.Namespace) -> str:
    """Run Luigi over the range of days, and exit with its code.

    Raises:
        UserError: a date is invalid, or the last day is before the first.
    """
    from luigi.retcodes import run_with_retcodes

    first, last = parse_date(options.first, "--from"), parse_date(options.last, "--to")
    if last < first:
        raise UserError(f"The last day, {last}, is before the first, {first}.")
    parameters = {"dataset": options.dataset, "raw_dir": options.raw_dir}
    run_with_retcodes(range_daily_arguments(first, last, parameters, options.luigi_arguments))
    return ""


def range_daily_arguments(first: date, last: date, parameters: dict[str, str], others: Sequence[str] = ()) -> list[str]:
    """Luigi's arguments for a version as of each day from `first` to `last`.

    By default, RangeDaily looks at most a hundred days back and schedules at most fifty tasks.

    Args:
        parameters: the parameters of `RecommendAsOf` besides the date.
        others: further arguments, passed on as they are.
    """
    today, days = date.today(), (last - first).days + 1
    limits = {"days-back": (today - first).days + 2, "days-forward": (last - today).days + 2, "task-limit": days}
    limit_options = [f"--{name}={max(0, value)}" for name, value in limits.items()]
    span = ["--start", str(first), "--stop", str(last + timedelta(days=1))]
    task = ["--of", "RecommendAsOf", "--param-name", "date", "--of-params", json.dumps(parameters)]
    return ["--module", "workflow", "RangeDaily", *task, *span, *limit_options, *others]
