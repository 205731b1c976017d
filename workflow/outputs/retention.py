"""Retention of stage outputs: keep those used recently, within a size limit.

Every run touches the markers of the outputs it uses, whether it creates or reuses them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.directories import directory_size, remove_if_unlocked
from common.files import STAGING
from config.paths import SUCCESS, Paths
from run_records.record_files import active_runs

_DAY_S, _GB = 86_400, 10**9
_MIN_AGE_DAYS = 1.0
"""Outputs used within this time are kept even above the size limit."""


@dataclass(frozen=True)
class StageOutput:
    """A complete stage output."""

    directory: Path
    last_used: float
    """Seconds since 1970."""
    bytes: int

    @property
    def label(self) -> str:
        """The stage and the first digits of the fingerprint: Train/2acbe394be89."""
        return f"{self.directory.parent.name}/{self.directory.name[:12]}"


def touch(output: Path) -> None:
    """Mark an output as used now, if it exists."""
    with suppress(OSError):  # it does not exist, or another user owns it
        os.utime(output / SUCCESS)


def unused(work: Path, keep_days: float, keep_gb: float) -> list[StageOutput]:
    """The outputs below `data/work/<dataset>` that may be removed, the longest unused first.

    An output may be removed if no run has used it for `keep_days`, or if all more recent ones take more than `keep_gb`
    and no run has used it for a day.
    """
    outputs = []
    for marker in work.glob(f"*/*/{SUCCESS}"):
        if not marker.parent.name.endswith(STAGING):
            with suppress(FileNotFoundError):  # another process is removing it
                outputs.append(StageOutput(marker.parent, _last_used(marker.parent), directory_size(marker.parent)))
    outputs.sort(key=lambda output: output.last_used)
    removable, remaining = list[StageOutput](), sum(output.bytes for output in outputs)
    for output in outputs:
        days = (time.time() - output.last_used) / _DAY_S
        if days > keep_days or (days > _MIN_AGE_DAYS and remaining > keep_gb * _GB):
            removable.append(output)
            remaining -= output.bytes
    return removable


def prune(
    paths: Paths, dataset: str, keep_days: float, keep_gb: float, *, own_run: str | None = None
) -> list[StageOutput]:
    """Remove the unused outputs of a dataset; return those that were removed.

    Nothing is removed while another run of the dataset is active: it relies on the outputs that existed when it
    started. Locked outputs, and those that a run has used in the meantime, stay.
    """
    if set(active_runs(paths.runs(dataset))) - {own_run}:
        return []
    return [
        output
        for output in unused(paths.work(dataset), keep_days, keep_gb)
        if remove_if_unlocked(output.directory, partial(_is_still_unused, output))
    ]


def _is_still_unused(output: StageOutput) -> bool:
    """Whether an output exists and no run has used it since it was listed."""
    try:
        return _last_used(output.directory) == output.last_used
    except FileNotFoundError:
        return False


def _last_used(output: Path) -> float:
    return (output / SUCCESS).stat().st_mtime
