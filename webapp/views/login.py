"""Signing in with the token, and signing out."""

from __future__ import annotations

from flask import redirect, render_template, request, session
from flask.typing import ResponseReturnValue

from webapp.rendering.links import link
from webapp.security.sessions import BEARER, require_configured_token, start_session, verify_token
from webapp.serving.request_context import select_dataset


def login() -> ResponseReturnValue:
    """Show the form for the token."""
    select_dataset()
    return render_template("login.html", next=_safe_target(request.args.get("next")), is_wrong=False)


def sign_in() -> ResponseReturnValue:
    """Check the token and start a session."""
    target = _safe_target(request.form.get("next"))
    require_configured_token()
    if not verify_token(request.form.get("token", "").strip()):
        select_dataset()
        page = render_template("login.html", next=target, is_wrong=True)
        return page, 401, {"WWW-Authenticate": BEARER.to_header()}
    start_session()
    return redirect(target)


def sign_out() -> ResponseReturnValue:
    """End the session."""
    session.clear()
    return redirect(link("overview"))


def _safe_target(address: str | None) -> str:
    """Return the address if it is a page of this site, else the overview."""
    if address and address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable():
        return address
    return link("overview")
