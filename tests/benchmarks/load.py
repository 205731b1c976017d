"""A client that costs little beside the server that it measures: one process, so many connections, kept open.

It speaks just enough HTTP for that: answers come with a Content-Length, as waitress's do.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

CLIENTS = 8

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"

Check = Callable[[int, bytes, bytes], str | None]
"""Given status, head and body of an answer: what is wrong with it, if anything."""


@dataclass
class Load:
    """What came of a number of requests."""

    seconds: list[float] = field(default_factory=list)
    """Of each request, from the first byte sent to the last one received."""
    errors: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    """What they cost the server."""

    @property
    def cpu_ms(self) -> float:
        """The same, of one request, in milliseconds."""
        return self.cpu_s / max(len(self.seconds), 1) * 1e3

    def add(self, other: Load) -> None:
        """Counts another one in."""
        self.seconds += other.seconds
        self.errors += other.errors
        self.cpu_s += other.cpu_s

    def percentile(self, percent: float) -> float:
        """Of the times, in milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1e3


def is_ok(status: int, head: bytes, body: bytes) -> str | None:
    """Whether the answer is 200 and not empty."""
    return None if status == 200 and body else f"{status}: {body[:200]!r}"


def get(path: str, port: int) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def post(path: str, port: int, body: bytes) -> bytes:
    """A request with JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """One at a time: sends a request, and gathers the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""
        self._wanted = -1
        self.since = 0.0

    def send(self, request: bytes) -> None:
        self._answer, self._wanted = b"", -1
        self.since = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes, bytes] | None:
        """The answer once it is whole.

        Raises:
            ConnectionError: the server hung up, or the answer does not say how long it is.
        """
        came = self.socket.recv(1 << 18)
        if not came:
            raise ConnectionError("the server hung up")
        self._answer += came
        if self._wanted < 0:
            if (end := self._answer.find(_END)) < 0:
                return None
            length = _LENGTH.search(self._answer, 0, end)
            if length is None:
                raise ConnectionError("an answer without a Content-Length")
            self._wanted = end + len(_END) + int(length[1])
        if len(self._answer) < self._wanted:
            return None
        head, _, body = self._answer.partition(_END)
        return int(head[9:12]), head, body


def load(port: int, requests: Iterable[bytes], check: Check = is_ok, clients: int = CLIENTS) -> Load:
    """Sends the requests, so many at a time, each as soon as one of the connections is free."""
    done, waiting = Load(), iter(requests)
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            _begin(selector, port, waiting, done)
        while selector.get_map():
            for key, _ in selector.select():
                _go_on(selector, port, key.data, waiting, done, check)
    return done


def _begin(selector: selectors.BaseSelector, port: int, waiting: Iterator[bytes], done: Load) -> None:
    if (request := next(waiting, None)) is not None:
        try:
            connection = _Connection(port)
            connection.send(request)
        except OSError as error:
            done.errors.append(f"no connection: {error}")
            return
        selector.register(connection.socket, selectors.EVENT_READ, connection)


def _go_on(
    selector: selectors.BaseSelector, port: int, connection: _Connection, waiting: Iterator[bytes], done: Load,
    check: Check,
) -> None:  # fmt: skip
    try:
        answer = connection.receive()
        if answer is None:
            return
        done.seconds.append(time.perf_counter() - connection.since)
        if fault := check(*answer):
            done.errors.append(fault)
        if (request := next(waiting, None)) is not None:
            connection.send(request)
            return
        selector.unregister(connection.socket)
        connection.socket.close()
    except OSError as error:
        done.errors.append(str(error))
        selector.unregister(connection.socket)
        connection.socket.close()
        _begin(selector, port, waiting, done)
