"""A cheap HTTP load generator: one process with a fixed number of kept-alive connections.

Responses need a Content-Length, as waitress sends it.
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
"""Returns what is wrong with a response, given its status, head and body; None if nothing is."""


@dataclass
class Load:
    """The results of a number of requests."""

    seconds: list[float] = field(default_factory=list)
    """Latency of each request, from the first byte sent to the last byte received."""
    errors: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    """CPU time of the server."""

    @property
    def cpu_ms(self) -> float:
        """CPU time of the server per request in milliseconds."""
        return self.cpu_s / max(len(self.seconds), 1) * 1e3

    def add(self, other: Load) -> None:
        """Add the results of other requests."""
        self.seconds += other.seconds
        self.errors += other.errors
        self.cpu_s += other.cpu_s

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1e3


def is_ok(status: int, head: bytes, body: bytes) -> str | None:
    """Check that the response is 200 and not empty."""
    return None if status == 200 and body else f"{status}: {body[:200]!r}"


def get(path: str, port: int) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def post(path: str, port: int, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """A connection with one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._response = b""
        self._expected = -1
        self.started = 0.0

    def send(self, request: bytes) -> None:
        self._response, self._expected = b"", -1
        self.started = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes, bytes] | None:
        """Return status, head and body once the response is complete, else None.

        Raises:
            ConnectionError: the server closed the connection, or the response has no Content-Length.
        """
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._response += received
        if self._expected < 0:
            if (end := self._response.find(_END)) < 0:
                return None
            length = _LENGTH.search(self._response, 0, end)
            if length is None:
                raise ConnectionError("a response without Content-Length")
            self._expected = end + len(_END) + int(length[1])
        if len(self._response) < self._expected:
            return None
        head, _, body = self._response.partition(_END)
        return int(head[9:12]), head, body


def load(port: int, requests: Iterable[bytes], check: Check = is_ok, clients: int = CLIENTS) -> Load:
    """Send the requests over `clients` connections, each request when a connection becomes free."""
    done, waiting = Load(), iter(requests)
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            _start(selector, port, waiting, done)
        while selector.get_map():
            for key, _ in selector.select():
                _continue(selector, port, key.data, waiting, done, check)
    return done


def _start(selector: selectors.BaseSelector, port: int, waiting: Iterator[bytes], done: Load) -> None:
    if (request := next(waiting, None)) is not None:
        try:
            connection = _Connection(port)
            connection.send(request)
        except OSError as error:
            done.errors.append(f"no connection: {error}")
            return
        selector.register(connection.socket, selectors.EVENT_READ, connection)


def _continue(
    selector: selectors.BaseSelector, port: int, connection: _Connection, waiting: Iterator[bytes], done: Load,
    check: Check,
) -> None:  # fmt: skip
    try:
        response = connection.receive()
        if response is None:
            return
        done.seconds.append(time.perf_counter() - connection.started)
        if error := check(*response):
            done.errors.append(error)
        if (request := next(waiting, None)) is not None:
            connection.send(request)
            return
        selector.unregister(connection.socket)
        connection.socket.close()
    except OSError as error:
        done.errors.append(str(error))
        selector.unregister(connection.socket)
        connection.socket.close()
        _start(selector, port, waiting, done)
