"""Fingerprints: sixteen hex digits over everything that determines a result, and the name of its directory."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def compute_fingerprint(*parts: Any) -> str:
    """Sixteen hex digits over values that JSON can hold; the order of mapping keys does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
