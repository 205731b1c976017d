"""The commands on published versions for `python -m models`. Each takes a dataset's registry and returns its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.directories import directory_size, remove_if_unlocked, remove_leftovers
from common.errors import StoreError, UserError
from common.files import read_json
from common.formatting import count_noun, format_bytes, format_timestamp
from common.terminal import text_table
from config.paths import SUCCESS, Paths
from models.audit_log import AuditEntry
from models.manifest import MANIFEST, read_manifest, verify_version
from models.promotion_gate import FALLBACK_METRIC
from models.registry import VersionRegistry, served_datasets
from run_records.record_files import active_runs

_AUDIT_LINES = 10
_VIA = "the command line"


def open_registry(paths: Paths, dataset: str) -> VersionRegistry:
    """Return the registry of a dataset.

    Raises:
        UserError: the dataset has no published version.
    """
    registry = VersionRegistry(paths.versions(dataset))
    if not dataset or not registry.version_ids():
        raise UserError(
            f"{dataset!r} has no version in {paths.models_root}. {publish_hint(paths.models_root, dataset)}"
        )
    return registry


def publish_hint(models_root: Path, dataset: str) -> str:
    """Return a sentence that names the published datasets, or the command that publishes one."""
    if known := ", ".join(served_datasets(models_root)):
        return f"Published datasets: {known}."
    return f"To publish one: make pipeline DATASET={dataset}."


def list_versions(registry: VersionRegistry) -> str:
    """Return a table of the versions, newest first, and the last entries of the audit log."""
    heading = ("", "version", "created (UTC)", "champion", "metric", "users", "tracks", "interactions", "size", "")
    rows = [_table_row(registry, version) for version in reversed(registry.versions())]
    entries = [_format_entry(registry, entry) for entry in registry.audit()[-_AUDIT_LINES:]]
    return "\n".join([text_table([heading, *rows], {0, 5, 6, 7, 8}), "", *entries])


def promote(registry: VersionRegistry, query: str) -> str:
    """Serve a version and remove a pin. For `query`, see `VersionRegistry.find`."""
    version, before, pinned = registry.find(query), registry.current(), registry.is_pinned()
    registry.promote(version, expected=before, by="user", via=_VIA)
    unpinned = " The pin is removed: runs promote again." if pinned else ""
    return f"{_serves(registry, version, before)}.{unpinned}"


def roll_back(registry: VersionRegistry, query: str) -> str:
    """Serve an earlier version again and pin it; without a query, the version that served before."""
    before = registry.current()
    version = registry.find(query) if query else registry.previously_served()
    if version is None:
        raise StoreError(f"{registry.dataset} has no version that served earlier: name one with VERSION=.")
    registry.roll_back(version, expected=before, via=_VIA)
    return (
        f"{_serves(registry, version, before)} and is pinned to it: runs publish, but do not promote, until you run "
        "make promote VERSION=…."
    )


def verify(registry: VersionRegistry, query: str) -> Iterator[str]:
    """Yield a line for each version, or for one, as soon as its files have been read.

    Raises:
        StoreError: at the end, if a version does not verify or the served version is missing.
    """
    versions = [registry.find(query)] if query else registry.versions()
    served, failed = registry.current(), list[str]()
    for version in versions:
        faults = verify_version(registry.root / version)
        failed += faults[:1]
        result = " ".join(faults) or f"ok, {count_noun(len(_read(registry, version)['files']), 'file')}"
        yield f"{registry.display_name(version)}{' (served)' if version == served else ''}: {result}"
    if failed:
        count = f"{len(failed)} of {count_noun(len(versions), 'version')}"
        raise StoreError(f"Verification failed for {count} of {registry.dataset}: {failed[0]}")
    if served and not query and served not in versions:
        raise StoreError(f"{registry.dataset}'s served version {served} is missing: promote another one.")


def forget(paths: Paths, registry: VersionRegistry, user_id: str) -> str:
    """Delete a user from every version, and remove the stage outputs, which may contain the user's data.

    Raises:
        StoreError: a run is active, a stage output is in use, or a version does not verify.
        UserError: no version contains the user, or ever did.
    """
    from models.forget import matches_deleted_user, remove_user, versions_with_user  # load numpy and Arrow only here

    dataset = registry.dataset
    if active := active_runs(paths.runs(dataset)):
        raise StoreError(f"Run {active[0]} of {dataset} is active and may publish the user again: wait for it to end.")
    affected = versions_with_user(registry, user_id)
    manifests = [_read(registry, version) for version in registry.versions()]
    deletions = [entry for manifest in manifests for entry in manifest.get("forgotten", ())]
    if not affected and not any(matches_deleted_user(entry, user_id) for entry in deletions):
        raise UserError(f"No version of {dataset} contains the user {user_id!r}.")
    for version in affected:
        remove_user(registry, version, user_id, via=_VIA)
    if not affected:
        registry.refresh()  # an earlier call may have been interrupted before it refreshed
    outputs = _remove_outputs(paths.work(dataset))
    names = ", ".join(map(registry.display_name, affected))
    deleted = f"Deleted the user from {count_noun(len(affected), 'version')} of {dataset}: {names}."
    raw = ", ".join(sorted({name for manifest in manifests for name in manifest.get("inputs", ())}))
    return (
        f"{deleted if affected else f'No version of {dataset} contains the user any more.'}\n"
        f"Removed {count_noun(outputs, 'stage output')} that may contain the user's data; the next run recreates what "
        "it needs.\n"
        f"The raw data{f' ({raw})' if raw else ''} may still contain the user: delete them there too, or the next "
        "version will include them again."
    )


def _remove_outputs(work: Path) -> int:
    """Remove all stage outputs of a dataset and return their number.

    Raises:
        StoreError: one of them is in use.
    """
    remove_leftovers(work, "*/*")
    outputs = [marker.parent for marker in work.glob(f"*/*/{SUCCESS}")]
    in_use = [output for output in outputs if not remove_if_unlocked(output)]
    if in_use:
        raise StoreError(f"{in_use[0]} is in use and may contain the user's data: run make forget again later.")
    return len(outputs)


def _serves(registry: VersionRegistry, version: str, before: str | None) -> str:
    """Return `tiny serves #2 aaaa33334444 instead of #3 0123456789ab`."""
    instead = f" instead of {registry.display_name(before)}" if before and before != version else ""
    return f"{registry.dataset} serves {registry.display_name(version)}{instead}"


def _table_row(registry: VersionRegistry, version: str) -> tuple[str, ...]:
    """Return a version's cells in the table, with a dash for what cannot be read."""
    directory, is_served = registry.root / version, version == registry.current()
    manifest, metrics = _read_or_empty(directory / MANIFEST), _read_or_empty(directory / "metrics.json")
    counts = manifest.get("counts", {})
    marks = {
        "served": is_served,
        "pinned": is_served and registry.is_pinned(),
        "damaged": bool(verify_version(directory, digests=False)),
    }
    return (
        f"#{manifest.get('sequence', '–')}",
        version[:12],
        format_timestamp(manifest.get("created_at", "")),
        str(metrics.get("champion", "–")),
        _headline_metric(metrics),
        *(f"{counts[name]:,}" if name in counts else "–" for name in ("users", "tracks", "interactions")),
        format_bytes(directory_size(directory)),
        ", ".join(mark for mark, applies in marks.items() if applies),
    )


def _headline_metric(metrics: dict[str, Any]) -> str:
    """Return the champion's value of the metric that selected it, or of the fallback metric: `ndcg@10 0.2746`."""
    champion = metrics.get("models", {}).get(metrics.get("champion"), {})
    names = (name for name in (metrics.get("select_by"), FALLBACK_METRIC) if name in champion)
    return next((f"{name} {champion[name]:.4f}" for name in names), "–")


def _format_entry(registry: VersionRegistry, entry: AuditEntry) -> str:
    """Return an audit entry as a line: time, action, the versions from → to, and where it was done."""
    versions = " → ".join(registry.display_name(entry[key]) for key in ("from", "to", "version") if entry.get(key))
    via = f", via {entry['via']}" if entry.get("via") else ""
    return f"{format_timestamp(str(entry.get('at', '')))}  {entry.get('action')}: {versions}{via}"


def _read(registry: VersionRegistry, version: str) -> dict[str, Any]:
    return read_manifest(registry.root / version)


def _read_or_empty(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        if isinstance(document := read_json(file), dict):
            return document
    return {}
