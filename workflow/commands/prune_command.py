"""The command `prune`: remove old versions and unused stage outputs of a dataset."""

from __future__ import annotations

import argparse

from common.directories import directory_size
from common.errors import UserError
from common.formatting import count_noun, format_bytes
from config.paths import Paths
from config.settings import resolve
from models.registry import VersionRegistry
from run_records.record_files import active_runs
from workflow.outputs import retention


def run(options: argparse.Namespace) -> str:
    """Remove, or with `--dry-run` list, what `[publish]` does not keep; return a table with the sizes.

    Raises:
        UserError: the dataset has neither versions nor stage outputs, or `--keep` is not a valid number.
    """
    limits, paths, dataset = resolve()["publish"], Paths(options.data, options.models), str(options.dataset)
    registry = VersionRegistry(paths.versions(dataset))
    if not registry.root.is_dir() and not paths.work(dataset).is_dir():
        raise UserError(
            f"{dataset} has no versions in {options.models} and no stage outputs in {options.data / 'work'}."
        )
    keep = limits["keep_versions"] if options.keep is None else options.keep
    versions = _prune_versions(registry, keep, dry_run=options.dry_run)
    running = active_runs(paths.runs(dataset))
    days, gigabytes = limits["keep_days"], limits["keep_gb"]
    if options.dry_run:
        outputs = [] if running else retention.unused(paths.work(dataset), days, gigabytes)
    else:
        outputs = retention.prune(paths, dataset, days, gigabytes)
    removed = [*versions, *((output.label, output.bytes) for output in outputs)]
    counts = f"{count_noun(len(versions), 'version')} and {count_noun(len(outputs), 'stage output')} of {dataset}"
    verb, total = "Would remove" if options.dry_run else "Removed", format_bytes(sum(size for _, size in removed))
    lines = [f"  {label:<34} {format_bytes(size):>8}" for label, size in removed]
    lines.append(f"{verb} {counts}: {total}.")
    if running:
        lines.append(f"Stage outputs are kept while run {running[0]} is active.")
    return "\n".join(lines)


def _prune_versions(registry: VersionRegistry, keep: int, *, dry_run: bool) -> list[tuple[str, int]]:
    """The display names and sizes of the versions that are removed, or would be."""
    try:
        prunable = {
            version: (registry.display_name(version), directory_size(registry.root / version))
            for version in registry.prunable(keep)
        }
        removed = list(prunable) if dry_run else registry.prune(keep, via="the command line")
    except ValueError as error:
        raise UserError(str(error)) from error
    return [prunable[version] for version in removed if version in prunable]
