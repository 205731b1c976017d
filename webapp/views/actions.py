"""What changes something: signing in, promoting, rolling back, pruning, starting a run.

Each is asked for on a page that says what will happen, and done by a POST from there. Who may is decided in `access`.
"""

from __future__ import annotations

import threading

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from common.errors import StoreError, UserError
from common.redaction import redact
from config.dataset import shipped
from webapp.rendering.links import link
from webapp.security import access
from webapp.serving import run_launcher
from webapp.serving.query_args import get_arg, get_int, get_number
from webapp.serving.request_context import NothingPublished, current_version, for_the_header, paths
from webapp.serving.version_comparison import VersionFacts, find, versions

KEPT, MOST_KEPT = 5, 1_000

blueprint = Blueprint("changes", __name__)


# -- signing in --------------------------------------------------------------------------------------------------------


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """Asks for the token."""
    for_the_header()
    return render_template("login.html", next=_inside(request.args.get("next")), wrong=False)


@blueprint.post("/login")
def sign_in() -> ResponseReturnValue:
    """Begins a session for whoever knows the token."""
    onwards = _inside(request.form.get("next"))
    access.need_token()
    if not access.is_token(request.form.get("token", "").strip()):
        for_the_header()
        page = render_template("login.html", next=onwards, wrong=True)
        return page, 401, {"WWW-Authenticate": access.BEARER.to_header()}
    access.begin_session()
    return redirect(onwards)


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Ends the session."""
    session.clear()
    return redirect(link("overview"))


# -- what is served ----------------------------------------------------------------------------------------------------


@blueprint.get("/models/<version>/promote", endpoint="confirm_promote")
@blueprint.get("/models/<version>/roll-back", endpoint="confirm_roll_back")
def confirm(version: str) -> ResponseReturnValue:
    """Says what promoting a version, or rolling back to it, will do."""
    here = current_version()
    rolling_back = request.endpoint == "changes.confirm_roll_back"
    return render_template(
        "confirm_version.html", shown=here, version=_known(version), rolling_back=rolling_back,
        promoted=here.registry.current(), pinned=here.registry.is_pinned(),
    )  # fmt: skip


@blueprint.post("/models/<version>/promote")
def promote(version: str) -> ResponseReturnValue:
    """Makes a version the one that is served, and ends a pin."""
    return _switch(version, rolling_back=False)


@blueprint.post("/models/<version>/roll-back")
def roll_back(version: str) -> ResponseReturnValue:
    """Serves an earlier version again, and pins it."""
    return _switch(version, rolling_back=True)


def _switch(version: str, *, rolling_back: bool) -> ResponseReturnValue:
    here, there = current_version(), _known(version)
    expected = request.form.get("expected") or None
    try:
        if rolling_back:
            here.registry.roll_back(version, expected=expected, via=_via())
            flash(f"Rolled back: version {there.sequence} is served, and pinned.")
        else:
            here.registry.promote(version, expected=expected, by="user", via=_via())
            flash(f"Promoted: version {there.sequence} is served.")
    except StoreError as error:
        abort(409, str(error))
    return redirect(link("versions"))


@blueprint.get("/prune")
def confirm_prune() -> ResponseReturnValue:
    """Says which versions pruning would remove."""
    here, keep = current_version(), get_int("keep", KEPT, MOST_KEPT)
    names = here.registry.prunable(keep)
    known = {version.name: version for version in versions(here.registry)}
    return render_template(
        "confirm_prune.html", shown=here, keep=keep, most=MOST_KEPT, count=len(names),
        going=[known[name] for name in names if name in known], damaged=[name for name in names if name not in known],
    )  # fmt: skip


@blueprint.post("/prune")
def prune() -> ResponseReturnValue:
    """Removes old versions for good."""
    keep = get_number("keep", get_arg("keep", request.form) or "", MOST_KEPT)
    removed = current_version().registry.prune(keep, via=_via())
    flash(f"Pruned: {len(removed)} version{'' if len(removed) == 1 else 's'} removed.")
    return redirect(link("versions"))


def _known(version: str) -> VersionFacts:
    here = current_version()
    found = find(here.registry, version)
    if found is None:
        abort(404, f"There is no version {version[:80]!r} of {here.dataset}.")
    return found


# -- runs --------------------------------------------------------------------------------------------------------------


@blueprint.get("/pipeline")
def pipeline() -> ResponseReturnValue:
    """Asks what to run."""
    return _ask()


@blueprint.post("/pipeline")
def start() -> ResponseReturnValue:
    """Starts a run."""
    if not current_app.config["MAY_RUN"]:
        abort(403, "No run can be started from here: start the page with --allow-runs.")
    written, as_of = request.form.get("settings", ""), request.form.get("as_of", "")
    dataset = request.form.get("name", "")
    if dataset not in shipped():
        abort(400, f"There is no description of a dataset {dataset[:40]!r}.")
    try:
        run_id, process = run_launcher.launch(paths(), dataset, run_launcher.parse(written, _changeable()), as_of)
    except UserError as error:
        return _ask(written, as_of, dataset, redact(str(error))), 409
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie
    return redirect(url_for("pages.run", run_id=run_id))


def _ask(written: str = "", as_of: str = "", chosen: str | None = None, error: str | None = None) -> str:
    for_the_header()
    return render_template(
        "pipeline.html", may=current_app.config["MAY_RUN"], known=shipped(), settings=_changeable(), written=written,
        as_of=as_of, chosen=chosen, error=error, busy=run_launcher.busy(paths()),
    )  # fmt: skip


def _changeable() -> dict[str, str]:
    try:
        return run_launcher.changeable(current_version().manifest.get("settings", {}))
    except NothingPublished:
        return {}


def _via() -> str:
    return f"the page, from {request.remote_addr}"


def _inside(address: str | None) -> str:
    """Where to go on: only to a page of ours."""
    if address and address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable():
        return address
    return link("overview")
