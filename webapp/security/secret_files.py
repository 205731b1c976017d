"""The page's two secrets: the owner's token, and the key that signs session cookies."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from common.errors import UserError

TOKEN_VARIABLE = "ENCORE_TOKEN"
MIN_LENGTH = 16


def token_from_environment() -> str | None:
    """Return the token in `ENCORE_TOKEN`; None if it is unset or empty.

    Raises:
        UserError: the token is too short.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and len(token) < MIN_LENGTH:
        raise UserError(f"{TOKEN_VARIABLE} is too short: use at least {MIN_LENGTH} characters.")
    return token or None


def load_or_create_secret(file: Path) -> str:
    """Return the secret in a file. If the file does not exist, create it with a random secret and mode 0600.

    Raises:
        UserError: other users can read the file, or the secret is too short.
        OSError: the file cannot be created or read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if file.stat().st_mode & 0o077:
            raise UserError(
                f"Other users can read {file}: run chmod 600 on it, or delete it to get a new one."
            ) from None
    else:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
            os.fsync(new.fileno())
    secret = file.read_text(encoding="utf-8").strip()
    if len(secret) < MIN_LENGTH:
        raise UserError(f"The secret in {file} is too short: delete the file to get a new one.")
    return secret
