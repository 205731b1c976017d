"""`python -m webapp`: serve the page with waitress."""

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
"""Worker threads: more would compete for the same few cores."""

MAX_BODY_READ = 1 << 20
"""Largest request body in bytes that waitress reads, so that the application can refuse it with a problem document."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that prints errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:].rstrip('.')}.\n")


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        for directory in (options.models, options.data):
            if directory is not None and not directory.is_dir():
                raise UserError(f"There is no directory {directory}.")
        settings, notice = _access_settings(options)
        listener = _listen(options.host, options.port)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it logs every request that waits for a thread
    with listener:
        server = waitress.create_server(
            create_app(options.models, options.data, settings),
            sockets=[listener],
            threads=THREADS,
            max_request_body_size=MAX_BODY_READ,
            ident=None,  # send no Server header
            **_proxy_settings(options.proxy),
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{listener.getsockname()[1]}/"
        print(f"Encore is at {address} (Ctrl-C stops it).", notice, sep="\n", flush=True)
        server.run()
    return 0


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Stop the server in order.

    Without a handler, the kernel ignores SIGTERM for process 1 of a container.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m webapp", description="Serve the page.", allow_abbrev=False)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=8000, help="0 chooses a free port (default: %(default)s)")
    add("--models", type=Path, metavar="DIR", help="published versions (default: models/)")
    add("--data", type=Path, metavar="DIR", help="data root, with the run records in runs/ (default: data/)")
    add("--allow-runs", action="store_true", help="allow starting runs from the page, with the token")
    luigid = ("127.0.0.1", 8082)
    add("--luigid", type=_address, default=luigid, metavar="HOST:PORT", help="target of links to the task graph")
    add("--trusted-host", action="append", default=[], metavar="NAME", help="a further host name to answer to")
    add("--proxy", metavar="ADDRESS", help="address of a reverse proxy whose X-Forwarded headers are trusted")
    return parser


def _access_settings(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the application's access settings and a notice about the token.

    Raises:
        UserError: the page would listen on another address than loopback without a token.
    """
    token, is_local = secret_files.given_token(), _is_loopback(options.host)
    if not is_local and not token:
        raise UserError(
            f"Other machines could reach {options.host}: set {secret_files.TOKEN_VARIABLE} to a long random token, "
            "which every reader then needs, or leave out --host."
        )
    directory = (options.data or Paths().data_root) / "web"
    notice = f"Changes require the token in {secret_files.TOKEN_VARIABLE}."
    key = None
    try:
        if token is None:
            token = secret_files.load_or_create_secret(directory / "token")
            notice = f"Changes require the token in {directory / 'token'}."
        key = secret_files.load_or_create_secret(directory / "secret_key")
    except OSError as error:  # a page without changes needs neither
        if not token:
            notice = f"The page is read-only: cannot write to {directory} ({error.strerror})."
    own_names = [] if options.host in ("0.0.0.0", "::") else [options.host]
    return ({"SECRET_KEY": key} if key else {}) | {
        "TOKEN": token,
        "READING_OPEN": is_local,
        "MAY_RUN": options.allow_runs,
        "LUIGID": options.luigid,
        "TRUSTED_HOSTS": [
            *LOOPBACK,
            *(f"[{host}]" if host.count(":") > 1 else host for host in (*own_names, *options.trusted_host)),
        ],
    }, notice


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy_settings(proxy: str | None) -> dict[str, Any]:
    """Return waitress's settings for a reverse proxy that terminates TLS."""
    if proxy is None:
        return {}
    headers = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
    return {"trusted_proxy": proxy, "trusted_proxy_headers": headers, "clear_untrusted_proxy_headers": True}


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address: expected host:port")
    return host, _port(port)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address.

    Raises:
        UserError: the port is in use, or this machine does not have the address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {port} on {host} is in use: stop the process that uses it, or choose another port with --port."
            ) from error
        raise UserError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error


if __name__ == "__main__":
    sys.exit(main())
