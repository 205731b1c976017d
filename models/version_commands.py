"""What a person does with the versions of a dataset, for `python -m models`: each verb returns what is to be said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.durable import directory_size, read_json, remove_if_unlocked, remove_leftovers
from common.errors import StoreError, UserError
from common.terminal import count_noun, format_bytes, format_time, text_table
from config.paths import SUCCESS, Paths
from models import registry
from models.promotion_gate import FALLBACK_METRIC
from run_records.reader import active_runs

_LAST_LINES = 10
_VIA = "the command line"


def root_of(paths: Paths, dataset: str) -> Path:
    """The directory of a dataset's versions.

    Raises:
        UserError: it has none.
    """
    root = paths.versions(dataset)
    if not dataset or not registry.names(root):
        known = ", ".join(registry.datasets(paths.models_root))
        there = f"published are: {known}" if known else f"make pipeline DATASET={dataset} makes one"
        raise UserError(f"There is no version of {dataset} in {paths.models_root}; {there}.")
    return root


def versions(root: Path) -> str:
    """The versions, the newest first, and the last lines of the audit."""
    heading = ("", "version", "made (UTC)", "champion", "metric", "users", "tracks", "interactions", "size", "")
    rows = [_row(root, version) for version in reversed(registry.versions(root))]
    entries = registry.audit(root)[-_LAST_LINES:]
    return "\n".join([text_table([heading, *rows], {0, 5, 6, 7, 8}), "", *(_told(root, entry) for entry in entries)])


def promote(root: Path, asked: str) -> str:
    """Serves a version, and ends a pin."""
    version, before, pinned = registry.find(root, asked), registry.current(root), registry.is_pinned(root)
    registry.promote(root, version, expected=before, by="user", via=_VIA)
    ended = " The pin has ended: runs promote again." if pinned else ""
    return f"{root.name} serves {registry.display_name(root, version)}{_instead_of(root, version, before)}.{ended}"


def roll_back(root: Path, asked: str) -> str:
    """Serves an earlier version again, by default the one that served before, and pins it."""
    before = registry.current(root)
    version = registry.find(root, asked) if asked else registry.served_before(root)
    if version is None:
        raise StoreError(f"No other version of {root.name} has served that still is there: name one with VERSION=.")
    registry.roll_back(root, version, expected=before, via=_VIA)
    return (
        f"{root.name} serves {registry.display_name(root, version)} again{_instead_of(root, version, before)}, and is "
        "pinned to it: runs publish, but do not promote, until make promote VERSION=… ends that."
    )


def verify(root: Path, asked: str) -> Iterator[str]:
    """A line for each version, or for one, once its files have been read.

    Raises:
        StoreError: at the end, if one of them is not what was published, or the one that is promoted is not there.
    """
    wanted = [registry.find(root, asked)] if asked else registry.versions(root)
    served, first, bad = registry.current(root), "", 0
    for version in wanted:
        faults = registry.verify(root / version)
        bad += bool(faults)
        first = first or next(iter(faults), "")
        found = " ".join(faults) or f"ok, {count_noun(len(registry.manifest(root / version)['files']), 'file')}"
        yield f"{registry.display_name(root, version)}{' (served)' if version == served else ''}: {found}"
    if bad:
        raise StoreError(f"{bad} of {count_noun(len(wanted), 'version')} of {root.name} does not verify: {first}")
    if served and not asked and served not in wanted:
        raise StoreError(f"{root.name} is to serve {served}, which is not there.")


def forget(paths: Paths, root: Path, user_id: str) -> str:
    """Takes a user out of every version, and removes the stage outputs, which may name them.

    Raises:
        StoreError: a run goes on, or an output is in use, or a version does not verify.
        UserError: no version knows the user, nor has known them.
    """
    from models import forget as forgetting  # brings numpy and Arrow, which the other verbs do without

    dataset = root.name
    if busy := active_runs(paths.runs(dataset)):
        raise StoreError(f"Run {busy[0]} of {dataset} goes on and may bring the user back: wait until it has ended.")
    knowing = forgetting.versions_with_user(root, user_id)
    kept = registry.versions(root)
    before = [entry for each in kept for entry in registry.manifest(root / each).get("forgotten", ())]
    if not knowing and not any(forgetting.matches_erased_user(entry, user_id) for entry in before):
        raise UserError(f"No version of {dataset} knows a user {user_id!r}.")
    for version in knowing:
        forgetting.forget(root, version, user_id, via=_VIA)
    if not knowing:
        registry.refresh(root)  # the last time may have ended before readers were told
    remove_leftovers(paths.work(dataset), "*/*")
    outputs = [marker.parent for marker in paths.work(dataset).glob(f"*/*/{SUCCESS}")]
    held = [output for output in outputs if not remove_if_unlocked(output)]
    if held:
        raise StoreError(f"{held[0]} is in use and may name the user: do the same again when it is not.")
    which = ", ".join(registry.display_name(root, version) for version in knowing) or "none any more"
    raw = sorted({name for each in kept for name in registry.manifest(root / each).get("inputs", ())})
    source = f"The raw files ({', '.join(raw)})" if raw else "What the dataset is made of"
    return (
        f"The user is taken out of {count_noun(len(knowing), 'version')} of {dataset}: {which}.\n"
        f"Removed as well, as they may name the user: {count_noun(len(outputs), 'stage output')}; a run makes what it "
        "needs again.\n"
        f"{source} may still name them: take them out of there too, or the next version brings them back."
    )


def _row(root: Path, version: str) -> tuple[str, ...]:
    """A version in the table; what cannot be read is a dash."""
    manifest, metrics = (_document(root / version / name) for name in (registry.MANIFEST, "metrics.json"))
    counts = manifest.get("counts", {})
    marks = [
        *(["served"] if version == registry.current(root) else []),
        *(["pinned"] if version == registry.current(root) and registry.is_pinned(root) else []),
        *(["damaged"] if registry.verify(root / version, digests=False) else []),
    ]
    return (
        f"#{manifest.get('sequence', '–')}",
        version[:12],
        format_time(manifest.get("created_at", "")),
        str(metrics.get("champion", "–")),
        _headline(metrics),
        *(f"{counts[what]:,}" if what in counts else "–" for what in ("users", "tracks", "interactions")),
        format_bytes(directory_size(root / version)),
        ", ".join(marks),
    )


def _headline(metrics: dict[str, Any]) -> str:
    """The champion's value of what chose it, or of what champions are compared by: ndcg@10 0.2746."""
    of_champion = metrics.get("models", {}).get(metrics.get("champion"), {})
    names = (name for name in (metrics.get("select_by"), FALLBACK_METRIC) if name in of_champion)
    return next((f"{name} {of_champion[name]:.4f}" for name in names), "–")


def _document(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        if isinstance(found := read_json(file), dict):
            return found
    return {}


def _told(root: Path, entry: dict[str, Any]) -> str:
    """A line of the audit: when, what, from which version to which, and through what."""
    named = [registry.display_name(root, entry[key]) for key in ("from", "to", "version") if entry.get(key)]
    via = f", through {entry['via']}" if entry.get("via") else ""
    return f"{format_time(str(entry.get('at', '')))}  {entry.get('action')}: {' → '.join(named)}{via}"


def _instead_of(root: Path, version: str, before: str | None) -> str:
    return f", instead of {registry.display_name(root, before)}" if before and before != version else ""
