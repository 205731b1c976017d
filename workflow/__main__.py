"""`python -m workflow VERB`: lists, shows and draws runs; fills a range of days; prunes; and starts luigid."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from common.dates import parse_date
from common.durable import directory_size, write_atomically
from common.errors import UserError
from common.formatting import count_noun, format_bytes
from common.full_disk import os_error_message
from common.redaction import redact
from common.terminal import EXIT_REFUSED, EXIT_USAGE, CommandParser
from config.paths import Paths
from config.settings import resolve
from models.registry import VersionRegistry
from run_records.reader import active_runs, find_run, last_runs, newest_first, run_directories
from run_records.report import show_run, table_of_runs
from workflow import retention


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = _parser()
    asked, others = parser.parse_known_args(arguments)
    if others and asked.answer is not _backfill:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    asked.others = others
    try:
        print(redact(asked.answer(asked)), flush=True)
    except UserError as error:
        print(redact(f"Error: {error}"), file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(redact(f"Error: {os_error_message(error, asked.data)}"), file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m workflow", description="What the runs did and left.", allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, answer, text in (
        ("runs", _runs, "lists the runs, newest first"),
        ("run", _run, "shows a run, by default the last one"),
        ("graph", _graph, "draws the stages of a run, by default of the last one, as an SVG file"),
    ):
        verb = verbs.add_parser(name, help=text, allow_abbrev=False)
        verb.set_defaults(answer=answer)
        verb.add_argument("--data", type=Path, default=Paths().data_root, help="run records are in its runs/")
        verb.add_argument("--dataset", help="only runs of this one")
        if name != "runs":
            verb.add_argument("id", nargs="?", default="", help="the run's id, or as much of it as tells it apart")
    verb = verbs.add_parser("prune", help="removes old versions and unused stage outputs", allow_abbrev=False)
    verb.set_defaults(answer=_prune)
    verb.add_argument("--data", type=Path, default=Paths().data_root, help="stage outputs are in its work/")
    verb.add_argument("--models", type=Path, default=Paths().models_root, help="where the versions are")
    verb.add_argument("--dataset", default="synthetic", help="default: %(default)s")
    verb.add_argument("--keep", type=int, help="newest versions to keep (default: [publish] keep_versions)")
    verb.add_argument("--dry-run", action="store_true", help="says what would go, and removes nothing")
    verb = verbs.add_parser(
        "backfill", help="makes a version as of each day of a range that has none; passes on Luigi's arguments",
        allow_abbrev=False,
    )  # fmt: skip
    verb.set_defaults(answer=_backfill)
    verb.add_argument("--dataset", default="synthetic", help="default: %(default)s")
    verb.add_argument("--raw-dir", default="", help="where the raw files are (default: data/raw/<dataset>)")
    verb.add_argument("--from", dest="first", required=True, help="the first day, such as 2026-03-01")
    verb.add_argument("--to", dest="last", required=True, help="the last day")
    verb = verbs.add_parser("luigid", help="starts the scheduler that has a page", allow_abbrev=False)
    verb.set_defaults(answer=_luigid)
    verb.add_argument("--data", type=Path, default=Paths().data_root, help="its state is kept in its luigid/")
    verb.add_argument("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    verb.add_argument("--port", type=int, default=8082, help="default: %(default)s")
    return parser


def _runs(asked: argparse.Namespace) -> str:
    directories = run_directories(asked.data / "runs", asked.dataset)
    runs = newest_first([run for directory in directories for run in last_runs(directory)])
    return table_of_runs(runs) if runs else "There are no runs yet: make pipeline makes one."


def _run(asked: argparse.Namespace) -> str:
    return show_run(find_run(asked.data / "runs", asked.dataset, asked.id), asked.data / "runs")


def _graph(asked: argparse.Namespace) -> str:
    from run_records.graph_drawing import draw_graph

    run = find_run(asked.data / "runs", asked.dataset, asked.id)
    file: Path = asked.data / "runs" / run.dataset / f"{run.run}.svg"
    write_atomically(file, draw_graph(run))
    return str(file)


def _prune(asked: argparse.Namespace) -> str:
    kept, paths, dataset = resolve()["publish"], Paths(asked.data, asked.models), str(asked.dataset)
    registry, days, gb = VersionRegistry(paths.versions(dataset)), kept["keep_days"], kept["keep_gb"]
    if not registry.root.is_dir() and not paths.work(dataset).is_dir():
        raise UserError(f"There is nothing of {dataset} in {asked.models}, nor in {asked.data / 'work'}.")
    keep = kept["keep_versions"] if asked.keep is None else asked.keep
    try:
        old = {
            name: (registry.display_name(name), directory_size(registry.root / name))
            for name in registry.prunable(keep)
        }
        versions = list(old) if asked.dry_run else registry.prune(keep, via="the command line")
    except ValueError as error:
        raise UserError(str(error)) from error
    busy = active_runs(paths.runs(dataset))
    if asked.dry_run:
        outputs = [] if busy else retention.unused(paths.work(dataset), days, gb)
    else:
        outputs = retention.prune(paths, dataset, days, gb)
    going = [old[name] for name in versions if name in old] + [(output.label, output.bytes) for output in outputs]
    what = f"{count_noun(len(versions), 'version')} and {count_noun(len(outputs), 'stage output')} of {dataset}"
    return "\n".join([
        *(f"  {label:<34} {format_bytes(count):>8}" for label, count in going),
        f"{'Would remove' if asked.dry_run else 'Removed'} {what}: {format_bytes(sum(count for _, count in going))}.",
        *([f"Stage outputs stay while run {busy[0]} goes on."] if busy else []),
    ])  # fmt: skip


def _backfill(asked: argparse.Namespace) -> str:
    """Ends the process with Luigi's exit code."""
    from luigi.retcodes import run_with_retcodes

    first, last = parse_date(asked.first, "--from"), parse_date(asked.last, "--to")
    if last < first:
        raise UserError(f"The last day, {last}, is before the first, {first}.")
    run_with_retcodes(range_of_days(first, last, {"dataset": asked.dataset, "raw_dir": asked.raw_dir}, asked.others))
    return ""


def range_of_days(first: date, last: date, of: dict[str, str], others: Sequence[str] = ()) -> list[str]:
    """Luigi's arguments for a version as of each of the days; left to itself, it looks at the last hundred at most."""
    today, days = date.today(), (last - first).days + 1
    reach = {"days-back": (today - first).days + 2, "days-forward": (last - today).days + 2, "task-limit": days}
    limits = [f"--{name}={max(0, value)}" for name, value in reach.items()]
    span = ["--start", str(first), "--stop", str(last + timedelta(days=1))]
    task = ["--of", "RecommendAsOf", "--param-name", "date", "--of-params", json.dumps(of)]
    return ["--module", "workflow", "RangeDaily", *task, *span, *limits, *others]


def _luigid(asked: argparse.Namespace) -> str:
    from workflow.luigid import serve

    try:
        socket.create_server((asked.address, asked.port)).close()
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(f"luigid cannot listen on {asked.address}, port {asked.port}: {why}.") from error
    print(f"The task graph of runs with SCHEDULER=luigid is at http://{asked.address}:{asked.port}/,", flush=True)
    print("tasks that have ended are at /history (Ctrl-C ends).", flush=True)
    serve(asked.address, asked.port, asked.data / "luigid")
    return ""


if __name__ == "__main__":
    sys.exit(main())
