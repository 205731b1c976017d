"""Promoting, rolling back and pruning versions. Each has a confirmation page, whose form does it by POST."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from common.errors import StoreError
from common.formatting import count_noun
from webapp.rendering.links import link
from webapp.serving.published_versions import PublishedVersion, find_version, read_versions
from webapp.serving.query_args import get_arg, get_int, parse_int
from webapp.serving.request_context import current_version

DEFAULT_KEEP, MAX_KEEP = 5, 1_000


def confirm_promote(version: str) -> ResponseReturnValue:
    """Ask whether to promote a version."""
    return _confirm(version, is_rollback=False)


def confirm_roll_back(version: str) -> ResponseReturnValue:
    """Ask whether to roll back to a version."""
    return _confirm(version, is_rollback=True)


def promote(version: str) -> ResponseReturnValue:
    """Serve a version, and end a pin."""
    published = _find(version)
    try:
        current_version().registry.promote(version, expected=_expected(), by="user", via=_via())
    except StoreError as error:
        abort(409, str(error))
    flash(f"Version {published.sequence} is promoted and served.")
    return redirect(link("versions"))


def roll_back(version: str) -> ResponseReturnValue:
    """Serve an earlier version again, and pin it."""
    published = _find(version)
    try:
        current_version().registry.roll_back(version, expected=_expected(), via=_via())
    except StoreError as error:
        abort(409, str(error))
    flash(f"Rolled back: version {published.sequence} is served and pinned.")
    return redirect(link("versions"))


def confirm_prune() -> ResponseReturnValue:
    """List the versions that pruning would delete."""
    served, keep = current_version(), get_int("keep", DEFAULT_KEEP, MAX_KEEP)
    names = served.registry.prunable(keep)
    readable = {version.name: version for version in read_versions(served.registry)}
    return render_template(
        "confirm_prune.html",
        served=served,
        keep=keep,
        max_keep=MAX_KEEP,
        count=len(names),
        prunable=[readable[name] for name in names if name in readable],
        damaged=[name for name in names if name not in readable],
    )


def prune() -> ResponseReturnValue:
    """Delete old versions."""
    keep = parse_int("keep", get_arg("keep", request.form) or "", MAX_KEEP)
    removed = current_version().registry.prune(keep, via=_via())
    flash(f"{count_noun(len(removed), 'version')} deleted.")
    return redirect(link("versions"))


def _confirm(version: str, *, is_rollback: bool) -> str:
    served = current_version()
    return render_template(
        "confirm_version.html",
        served=served,
        version=_find(version),
        is_rollback=is_rollback,
        promoted=served.registry.current(),
        pinned=served.registry.is_pinned(),
    )


def _find(version: str) -> PublishedVersion:
    served = current_version()
    published = find_version(served.registry, version)
    if published is None:
        abort(404, f"{served.dataset} has no version {version[:80]!r}.")
    return published


def _expected() -> str | None:
    """Return the version that was served when the confirmation page was shown."""
    return request.form.get("expected") or None


def _via() -> str:
    """Return the origin of a change for the audit log."""
    return f"the page, from {request.remote_addr}"
