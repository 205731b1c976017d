"""Which stage outputs are kept: those that a run needed of late, as long as there is room.

Every run touches the markers of the outputs that it looks at, whether it makes them or finds them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.durable import STAGING, directory_size, remove_if_unlocked
from config.paths import SUCCESS, Paths
from run_records.reader import active_runs

_DAY_S, _GB = 86_400, 10**9
_SAFE_DAYS = 1.0
"""What was used within so many days is kept however little room there is."""


@dataclass(frozen=True)
class Output:
    """A whole stage output."""

    directory: Path
    used: float
    """When a run last needed it, in seconds since 1970."""
    bytes: int

    @property
    def label(self) -> str:
        """The stage, and as much of the fingerprint as tells it apart: Train/2acbe394be89."""
        return f"{self.directory.parent.name}/{self.directory.name[:12]}"


def touch(output: Path) -> None:
    """Says that a run needs an output, if it is there."""
    with suppress(OSError):  # it is not, or it is another user's
        os.utime(output / SUCCESS)


def unused(work: Path, keep_days: float, keep_gb: float) -> list[Output]:
    """The outputs below `data/work/<dataset>` that may go, the longest unused first.

    Those are the ones that no run has needed for `keep_days`, and further ones until the rest has at most `keep_gb`,
    but none that was needed within a day.
    """
    outputs = []
    for marker in work.glob(f"*/*/{SUCCESS}"):
        if not marker.parent.name.endswith(STAGING):
            with suppress(FileNotFoundError):  # somebody else removes it
                outputs.append(Output(marker.parent, _used(marker.parent), directory_size(marker.parent)))
    outputs.sort(key=lambda output: output.used)
    going, left = list[Output](), sum(output.bytes for output in outputs)
    for output in outputs:
        days = (time.time() - output.used) / _DAY_S
        if days > keep_days or (days > _SAFE_DAYS and left > keep_gb * _GB):
            going.append(output)
            left -= output.bytes
    return going


def prune(paths: Paths, dataset: str, keep_days: float, keep_gb: float, *, own_run: str | None = None) -> list[Output]:
    """Removes the outputs that are unused; returns those that went.

    While another run of the dataset goes on, none: a run that takes days needs what it found when it began. One that is
    locked stays, and so does one that a run has needed since it was looked at.
    """
    if set(active_runs(paths.runs(dataset))) - {own_run}:
        return []
    return [
        output
        for output in unused(paths.work(dataset), keep_days, keep_gb)
        if remove_if_unlocked(output.directory, partial(_is_unused, output))
    ]


def _is_unused(output: Output) -> bool:
    """Whether an output is there, and no run has needed it since it was looked at."""
    try:
        return _used(output.directory) == output.used
    except FileNotFoundError:
        return False


def _used(output: Path) -> float:
    return (output / SUCCESS).stat().st_mtime
