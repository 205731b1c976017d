"""The owner's authentication: the token as a bearer token, or a session cookie that was issued for it."""

from __future__ import annotations

import hmac
import math
import time
from hashlib import sha256

from flask import Flask, Request, abort, current_app, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests

from webapp.security.login_attempts import LoginAttempts

LIFETIME_S = 12 * 3600
"""Lifetime of a session."""

BEARER = WWWAuthenticate("bearer")


class SecureSessions(SecureCookieSessionInterface):
    """Session cookies that are marked `Secure` if the request came over TLS."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session; an empty one without cryptography if there is no cookie, as in most API requests."""
        if self.get_cookie_name(app) not in request.environ.get("HTTP_COOKIE", ""):
            return SecureCookieSession()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the request came over TLS."""
        return request.is_secure


def require_configured_token() -> None:
    """Raise 403 if the page was started without a token, so that nobody can authenticate."""
    if not current_app.config["TOKEN"]:
        abort(403, "Nothing can be changed here, because the page was started without a token.")


def is_owner() -> bool:
    """Whether the request carries the token or a valid session."""
    if not current_app.config["TOKEN"]:
        return False
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return verify_token(token.strip())
    return has_session()


def has_session() -> bool:
    """Whether the request carries a session that has not expired and was issued for the current token."""
    token, started = current_app.config["TOKEN"], session.get("started", 0.0)
    if not token or time.time() - started >= LIFETIME_S:
        return False
    return hmac.compare_digest(str(session.get("token_mac", "")), _token_mac(token))


def start_session() -> None:
    """Issue a session for the current token."""
    session.clear()
    session.permanent = True
    session.update(started=time.time(), token_mac=_token_mac(current_app.config["TOKEN"]))


def verify_token(token: str) -> bool:
    """Whether the token is correct.

    Raises:
        TooManyRequests: too many wrong tokens came from this address.
    """
    attempts: LoginAttempts = current_app.extensions["login_attempts"]
    address, expected = request.remote_addr or "", current_app.config["TOKEN"]
    if wait := attempts.seconds_to_wait(address):
        seconds = math.ceil(wait)
        raise TooManyRequests(f"Too many wrong tokens. Try again in {seconds} seconds.", retry_after=seconds)
    is_correct = hmac.compare_digest(_digest(token), _digest(expected or ""))
    if not is_correct or not expected:
        attempts.record_failure(address)
        return False
    return True


def _token_mac(token: str) -> str:
    """Return a code that ties a session to its token: another token ends the session."""
    key = current_app.secret_key
    assert key
    return hmac.new(key if isinstance(key, bytes) else key.encode(), token.encode(), sha256).hexdigest()


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
