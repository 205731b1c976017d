"""`python -m webapp`: serves the page with waitress."""

from __future__ import annotations

import argparse
import errno
import socket
import sys
from pathlib import Path
from typing import NoReturn

import waitress

from config.errors import UserError
from webapp import create_app


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
        listener = _listen(given.host, given.port)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    with listener:
        server = waitress.create_server(create_app(given.models, given.data), sockets=[listener])
        host = f"[{given.host}]" if ":" in given.host else given.host
        print(f"Encore is at http://{host}:{listener.getsockname()[1]}/ (Ctrl-C stops it).", flush=True)
        server.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m webapp", description="Serves the page.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="published versions (default: models/)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="run records are in its runs/ (default: data/)")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number from 0 to 65535")
    return int(text)


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
