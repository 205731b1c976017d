"""Rate limit for wrong tokens."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque

MAX_ATTEMPTS, WINDOW_S = 5, 60.0
"""Wrong tokens allowed per address within the window."""


class LoginAttempts:
    """Recent wrong tokens by address. Shared by all threads."""

    def __init__(self) -> None:
        self._failures: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def record_failure(self, address: str) -> None:
        """Record a wrong token."""
        with self._lock:
            self._drop_old()
            self._failures[address].append(time.monotonic())

    def seconds_to_wait(self, address: str) -> float:
        """Return the seconds until the address may try again; 0 if it may try now."""
        with self._lock:
            self._drop_old()
            times = self._failures.get(address, ())
            if len(times) < MAX_ATTEMPTS:
                return 0.0
            return max(times[-MAX_ATTEMPTS] + WINDOW_S - time.monotonic(), 0.0)

    def _drop_old(self) -> None:
        """Bound the memory: drop the addresses whose last failure is outside the window."""
        oldest = time.monotonic() - WINDOW_S
        for address in [address for address, times in self._failures.items() if times[-1] < oldest]:
            del self._failures[address]
