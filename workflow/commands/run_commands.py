"""The commands `runs`, `run` and `graph`: list, show and draw recorded runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.files import write_atomically
from run_records.reader import find_run, last_runs, newest_first, run_directories
from run_records.report import show_run, table_of_runs


def list_runs(options: argparse.Namespace) -> str:
    """A table of the runs, newest first."""
    directories = run_directories(options.data / "runs", options.dataset)
    runs = newest_first([run for directory in directories for run in last_runs(directory)])
    return table_of_runs(runs) if runs else "There are no runs yet: start one with make pipeline."


def show(options: argparse.Namespace) -> str:
    """The details of one run."""
    records = options.data / "runs"
    return show_run(find_run(records, options.dataset, options.id), records)


def draw(options: argparse.Namespace) -> str:
    """Write the SVG drawing of a run beside its record; return the path."""
    from run_records.graph_drawing import draw_graph

    run = find_run(options.data / "runs", options.dataset, options.id)
    file: Path = options.data / "runs" / run.dataset / f"{run.id}.svg"
    write_atomically(file, draw_graph(run))
    return str(file)
