"""Starts pipeline runs from the page: one at a time, as processes that outlive the page."""

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
from webapp.serving.published_versions import flatten_settings

_SETTING = re.compile(r"\[(?P<section>[a-z_]+)\]\s*(?P<key>[a-z_]+)\s*=\s*(?P<value>.*)")
_FILE_SETTINGS = ("[recommend] blocked",)
"""Settings that name a file on this machine, which must not be chosen from a page."""


def editable_settings(settings: Mapping[str, dict[str, object]]) -> dict[str, str]:
    """Return the settings that can be changed from the page, by `[section] key`, with their values.

    Args:
        settings: the settings in a manifest: those that affect results.
    """
    return {name: value for name, value in flatten_settings(dict(settings)).items() if name not in _FILE_SETTINGS}


def parse_settings(text: str, available: Mapping[str, str]) -> dict[str, str]:
    """Parse lines of `[section] key = value`.

    Args:
        available: the settings that may be changed.

    Raises:
        UserError: a line has another form, or names a setting that is not available.
    """
    settings = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _SETTING.fullmatch(line)
        if match is None or not line.isprintable():
            raise UserError(f"{line[:80]!r} is not a setting. Write one setting per line, such as [als] rank = 64.")
        name = f"[{match['section']}] {match['key']}"
        if name not in available:
            raise UserError(f"There is no setting {name} that the page can change{did_you_mean(name, available)}.")
        settings[name] = match["value"].strip()
    return settings


def active_run(paths: Paths) -> RecordedRun | None:
    """Return a run of any dataset that is in progress, wherever it was started."""
    records = paths.runs("").glob("*/*.jsonl")
    return next((reader.read_run(record) for record in records if is_running(record)), None)


def launch(
    paths: Paths, dataset: str, settings: Mapping[str, str], as_of: str = ""
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a run and return its id, which determines where it is recorded, and its process.

    Args:
        dataset: the name of a shipped description.
        settings: overrides of luigi.cfg.
        as_of: use interactions before this day only, such as 2026-03-01; empty: all.

    Raises:
        UserError: `as_of` is not a day, another run is in progress, or the process cannot be started.
    """
    if as_of:
        parse_date(as_of, "As of")
    if other := active_run(paths):
        raise UserError(f"Run {other.id} of {other.dataset} is in progress. Wait for it to finish.")
    run_id, directory = new_run_id(), paths.runs(dataset)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The process inherits the lock, so it is held until the run ends, even if the page stops first.
        with (paths.runs("") / "launched.lock").open("a") as lock, (directory / f"{run_id}.out").open("wb") as output:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError("A run that this page started is in progress. Wait for it to finish.") from None
            process = subprocess.Popen(
                _command(paths, dataset, run_id, settings, as_of), cwd=PROJECT, env=_environment(),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                pass_fds=(lock.fileno(),),
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"The run cannot be started: {os_error_message(error, directory)}") from error
    return run_id, process


def _command(paths: Paths, dataset: str, run_id: str, settings: Mapping[str, str], as_of: str) -> list[str]:
    roots = [f"--paths-data-root={paths.data_root}", f"--paths-models-root={paths.models_root}"]
    task = [f"--dataset={dataset}", f"--run-id={run_id}", *([f"--as-of={as_of}"] if as_of else [])]
    overrides = [f"--{re.sub(r'[^a-z]+', '-', name.strip('['))}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "luigi", "--module", "workflow", "RecommendAll", *task, *roots, *overrides]


def _environment() -> dict[str, str]:
    """Return the environment without the page's token."""
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
