"""`python -m webapp`: serves the page with waitress."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import waitress

from common.errors import UserError
from config.paths import Paths
from webapp import LOOPBACK, create_app
from webapp.security import secret_files

THREADS = 4
"""More would wait for the same two or four cores."""

MOST_READ = 1 << 20
"""Bytes of a body that are read at all, so that it can be refused with a problem; beyond, waitress refuses it."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:].rstrip('.')}.\n")


def main(arguments: list[str] | None = None) -> int:
    """Serves until it is interrupted; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        for directory in (given.models, given.data):
            if directory is not None and not directory.is_dir():
                raise UserError(f"There is no directory {directory}.")
        config, said = _guarded(given)
        listener = _listen(given.host, given.port)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for every request that waits for a thread
    with listener:
        server = waitress.create_server(
            create_app(given.models, given.data, config),
            sockets=[listener],
            threads=THREADS,
            max_request_body_size=MOST_READ,
            ident=None,  # what serves is nobody's concern
            **_behind(given.proxy),
        )
        host = f"[{given.host}]" if ":" in given.host else given.host
        print(f"Encore is at http://{host}:{listener.getsockname()[1]}/ (Ctrl-C stops it).", said, sep="\n", flush=True)
        server.run()
    return 0


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Stop the server in order.

    Without a handler, the kernel ignores SIGTERM for process 1 of a container.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m webapp", description="Serves the page.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="published versions (default: models/)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="run records are in its runs/ (default: data/)")
    parser.add_argument("--allow-runs", action="store_true", help="runs can be started from the page, with the token")
    parser.add_argument("--luigid", type=_address, default=("127.0.0.1", 8082), metavar="HOST:PORT", help="for links")
    parser.add_argument("--trusted-host", action="append", default=[], metavar="NAME", help="another name of this host")
    parser.add_argument("--proxy", metavar="ADDRESS", help="of the proxy in front, whose X-Forwarded headers count")
    return parser


def _guarded(given: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The settings of who may do what, and what is said of them.

    Raises:
        UserError: another address than the machine's own is asked for, and no token is set.
    """
    token, is_local = secret_files.given_token(), _is_loopback(given.host)
    if not is_local and not token:
        raise UserError(
            f"Others could reach {given.host}: set {secret_files.TOKEN_VARIABLE} to a long random "
            "token, which every reader then needs, or leave --host out."
        )
    own = (given.data or Paths().data_root) / "web"
    said = f"What changes something asks for the token: the one in {secret_files.TOKEN_VARIABLE}."
    key = None
    try:
        if token is None:
            token = secret_files.load_or_create_secret(own / "token")
            said = f"What changes something asks for the token in {own / 'token'}."
        key = secret_files.load_or_create_secret(own / "secret_key")
    except OSError as error:  # a page that only reads does without
        said = said if token else f"Nothing can be changed: {own} cannot be written ({error.strerror})."
    named = [] if given.host in ("0.0.0.0", "::") else [given.host]
    return ({"SECRET_KEY": key} if key else {}) | {
        "TOKEN": token,
        "READING_OPEN": is_local,
        "MAY_RUN": given.allow_runs,
        "LUIGID": given.luigid,
        "TRUSTED_HOSTS": [
            *LOOPBACK,
            *(f"[{host}]" if host.count(":") > 1 else host for host in (*named, *given.trusted_host)),
        ],
    }, said


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _behind(proxy: str | None) -> dict[str, Any]:
    """Waitress's settings for a proxy that speaks TLS to the world."""
    if proxy is None:
        return {}
    headers = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
    return {"trusted_proxy": proxy, "trusted_proxy_headers": headers, "clear_untrusted_proxy_headers": True}


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address, host:port")
    return host, _port(port)


def _listen(host: str, port: int) -> socket.socket:
    """Binds the port.

    Raises:
        UserError: the port is taken, or this machine has no such address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {port} on {host} is in use: stop what holds it, or choose another one with --port."
            ) from error
        raise UserError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error


if __name__ == "__main__":
    sys.exit(main())
