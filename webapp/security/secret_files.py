"""The two secrets of the page: the token that its owner signs in with, and the key that signs the session's cookie."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from common.errors import UserError

TOKEN_VARIABLE = "ENCORE_TOKEN"
SHORTEST_TOKEN = 16


def given_token() -> str | None:
    """The token from the environment; None where it has none.

    Raises:
        UserError: it is too short.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and len(token) < SHORTEST_TOKEN:
        raise UserError(f"{TOKEN_VARIABLE} is too short: {SHORTEST_TOKEN} characters are the least.")
    return token or None


def load_or_create_secret(file: Path) -> str:
    """A random secret that only the file's owner can read: made when it is asked for first.

    Raises:
        UserError: others may read the file, or it is too short.
        OSError: it cannot be made or read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if file.stat().st_mode & 0o077:
            raise UserError(f"Others may read {file}: chmod 600 it, or remove it for a new one.") from None
    else:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
            os.fsync(new.fileno())
    found = file.read_text(encoding="utf-8").strip()
    if len(found) < SHORTEST_TOKEN:
        raise UserError(f"{file} holds too short a secret: remove it for a new one.")
    return found
