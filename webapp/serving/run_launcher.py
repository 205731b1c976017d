"""Starts a run of the pipeline as a process of its own, which goes on when the page ends. One at a time."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Mapping

from common.dates import parse_date
from common.errors import UserError, did_you_mean
from common.full_disk import os_error_message
from config.paths import PROJECT, Paths
from run_records import reader
from run_records.record_files import is_running, new_run_id
from run_records.recorded_run import RecordedRun
from webapp.security.secret_files import TOKEN_VARIABLE
from webapp.serving.version_comparison import flat

_LINE = re.compile(r"\[(?P<section>[a-z_]+)\]\s*(?P<key>[a-z_]+)\s*=\s*(?P<value>.*)")
_PATHS = ("[recommend] blocked",)
"""Settings that name a file of the machine's: not for a page to choose."""


def changeable(settings: Mapping[str, dict[str, object]]) -> dict[str, str]:
    """The settings that can be changed from the page, by `[section] key`, with the value they have.

    Args:
        settings: a manifest's; it has only what a result depends on.
    """
    return {name: value for name, value in flat(dict(settings)).items() if name not in _PATHS}


def parse(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """Settings as somebody wrote them, `[section] key = value` a line.

    Args:
        known: the settings there are.

    Raises:
        UserError: a line is none, or names a setting that is not there.
    """
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None or not line.isprintable():
            raise UserError(f"{line[:80]!r} is no setting: write it as [als] rank = 64, one a line.")
        name = f"[{match['section']}] {match['key']}"
        if name not in known:
            raise UserError(f"There is no setting {name} to be changed from here{did_you_mean(name, known)}.")
        found[name] = match["value"].strip()
    return found


def busy(paths: Paths) -> RecordedRun | None:
    """A run that goes on, of whatever dataset, wherever it was started."""
    records = paths.runs("").glob("*/*.jsonl")
    return next((reader.read_run(record) for record in records if is_running(record)), None)


def launch(
    paths: Paths, dataset: str, settings: Mapping[str, str], as_of: str = ""
) -> tuple[str, subprocess.Popen[bytes]]:
    """Starts a run and returns its id, from which follows where it is recorded, and its process.

    Args:
        dataset: the name of a description that is shipped.
        settings: what is not as in luigi.cfg.
        as_of: only what happened before this day counts, such as 2026-03-01; all if empty.

    Raises:
        UserError: that is no day, a run goes on already, or the process cannot be started.
    """
    if as_of:
        parse_date(as_of, "As of")
    if other := busy(paths):
        raise UserError(f"Run {other.id} of {other.dataset} goes on: wait for its end.")
    run_id, directory = new_run_id(), paths.runs(dataset)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The process inherits the lock, which so lasts as long as the run does, whatever becomes of this page.
        with (paths.runs("") / "launched.lock").open("a") as lock, (directory / f"{run_id}.out").open("wb") as out:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError("A run that was started from here goes on: wait for its end.") from None
            process = subprocess.Popen(
                _command(paths, dataset, run_id, settings, as_of), cwd=PROJECT, env=_environment(),
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                pass_fds=(lock.fileno(),),
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"The run cannot be started: {os_error_message(error, directory)}") from error
    return run_id, process


def _command(paths: Paths, dataset: str, run_id: str, settings: Mapping[str, str], as_of: str) -> list[str]:
    roots = [f"--paths-data-root={paths.data_root}", f"--paths-models-root={paths.models_root}"]
    named = [f"--dataset={dataset}", f"--run-id={run_id}", *([f"--as-of={as_of}"] if as_of else [])]
    changed = [f"--{re.sub(r'[^a-z]+', '-', name.strip('['))}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "luigi", "--module", "workflow", "RecommendAll", *named, *roots, *changed]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
