"""Who may do what. One function decides before every request, and what it does not know is the owner's alone.

Reading is open where the page is only reached from its own machine. What changes something needs the token: as
`Authorization: Bearer …`, or once at `/login`, for a session.
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections import defaultdict, deque
from hashlib import sha256
from urllib.parse import urlsplit

from flask import Flask, Request, abort, current_app, redirect, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import SecurityError, TooManyRequests, Unauthorized

ANYONE, READER, OWNER = "anyone", "reader", "owner"

ACCESS = {
    ANYONE: ("static", "health.healthz", "health.readyz", "changes.login", "changes.sign_in", "changes.logout"),
    READER: (
        "health.metrics", "pages.overview", "pages.runs", "pages.run", "pages.graph_style", "pages.versions",
        "pages.version", "pages.leaderboard", "pages.data", "pages.users", "pages.user", "pages.tracks", "pages.track",
        "pages.try_it", "pages.api",
        "openapi.spec", "api.users", "api.user", "api.recommendations", "api.recommendations_csv", "api.newcomer",
        "api.tracks", "api.track", "api.similar", "api.versions", "api.version", "api.metrics", "api.last_runs",
    ),
    OWNER: (
        "changes.confirm_promote", "changes.promote", "changes.confirm_roll_back", "changes.roll_back",
        "changes.confirm_prune", "changes.prune", "changes.pipeline", "changes.start",
    ),
}  # fmt: skip
"""Every endpoint, by who may ask it; a test compares them with the routes there are."""

_WHO = {endpoint: who for who, endpoints in ACCESS.items() for endpoint in endpoints}
_SAFE = ("GET", "HEAD", "OPTIONS")

LIFETIME_S = 12 * 3600
"""Of a session."""

BEARER = WWWAuthenticate("bearer")
"""How the token is brought."""

ATTEMPTS, WINDOW_S = 5, 60.0
"""So many wrong tokens may come from an address in so many seconds."""


def decide() -> ResponseReturnValue | None:
    """Refuses what may not be asked; None lets it through."""
    if isinstance(request.routing_exception, SecurityError):  # another host is meant: nobody answers, nor redirects
        return None
    if request.method not in _SAFE:
        _refuse_other_sites()
    who = _WHO.get(request.endpoint or "", OWNER if request.endpoint else READER)
    if who == ANYONE or (who == READER and current_app.config["READING_OPEN"]) or is_owner():
        return None
    need_token()
    if request.path.startswith("/api/") or request.method != "GET":
        raise Unauthorized("This needs the token: as Authorization: Bearer …, or sign in at /login.", None, BEARER)
    return redirect(url_for("changes.login", next=request.full_path.rstrip("?")))


def need_token() -> None:
    """Refuses where there is no token that anybody could bring."""
    if not current_app.config["TOKEN"]:
        abort(403, "Nothing can be changed here: the page was started without a token.")


def is_owner() -> bool:
    """Whether the request brings the token, or a session that was begun with it."""
    token = current_app.config["TOKEN"]
    if not token:
        return False
    scheme, _, brought = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return is_token(brought.strip())
    return in_session()


def in_session() -> bool:
    """Whether the request comes with a session that was begun with the token, of late."""
    token, begun = current_app.config["TOKEN"], session.get("begun", 0.0)
    if not token or time.time() - begun >= LIFETIME_S:
        return False
    return hmac.compare_digest(str(session.get("of", "")), _mark(token))


def is_token(brought: str) -> bool:
    """Whether it is the token; aborts where too many wrong ones came from the same address."""
    attempts: Attempts = current_app.extensions["attempts"]
    address = request.remote_addr or ""
    if wait := attempts.wait(address):
        seconds = math.ceil(wait)
        raise TooManyRequests(f"Too many wrong tokens: try again in {seconds} seconds.", retry_after=seconds)
    right = hmac.compare_digest(_digest(brought), _digest(current_app.config["TOKEN"] or ""))
    if not right or not current_app.config["TOKEN"]:
        attempts.failed(address)
        return False
    return True


def begin_session() -> None:
    """The one who asks has shown the token."""
    session.clear()
    session.permanent = True
    session.update(begun=time.time(), of=_mark(current_app.config["TOKEN"]))


class Attempts:
    """Wrong tokens of late, by address."""

    def __init__(self) -> None:
        self._failed: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def failed(self, address: str) -> None:
        """A wrong one came."""
        with self._lock:
            self._forget()
            self._failed[address].append(time.monotonic())

    def wait(self, address: str) -> float:
        """Seconds until that address may try again; 0 where it may now."""
        with self._lock:
            self._forget()
            times = self._failed.get(address, ())
            return max(times[-ATTEMPTS] + WINDOW_S - time.monotonic(), 0.0) if len(times) >= ATTEMPTS else 0.0

    def _forget(self) -> None:
        """Drops what is older than the window, so that this stays small."""
        oldest = time.monotonic() - WINDOW_S
        for address in [address for address, times in self._failed.items() if times[-1] < oldest]:
            del self._failed[address]


class Sessions(SecureCookieSessionInterface):
    """Cookies that only come back to where they are from: over TLS, only over TLS."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """An empty session for those who bring none: most look-ups, which need not wait for cryptography."""
        if self.get_cookie_name(app) not in request.environ.get("HTTP_COOKIE", ""):
            return SecureCookieSession()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the request came over TLS."""
        return request.is_secure


def _refuse_other_sites() -> None:
    """A browser says where a request comes from; other programs do not, and bring no session either."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign = site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc != request.host)
    if foreign:
        abort(403, "This came from another site, or the browser does not say from where: start from this page.")


def _mark(token: str) -> str:
    """Ties a session to the token it was begun with: with another token, it ends."""
    key = current_app.secret_key
    assert key
    return hmac.new(key if isinstance(key, bytes) else key.encode(), token.encode(), sha256).hexdigest()


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
