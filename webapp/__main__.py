"""`python -m webapp`: serve the page and the API with waitress."""

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
from common.terminal import EXIT_USAGE, CommandParser
from config.paths import Paths
from webapp import create_app
from webapp.security import secret_files
from webapp.security.trusted_hosts import LOOPBACK

THREADS = 4
"""Worker threads. More would compete for the same cores."""

MAX_READ_BYTES = 1 << 20
"""Size up to which waitress reads a request body, so that Flask can refuse it with a problem document."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        for directory in (args.models, args.data):
            if directory is not None and not directory.is_dir():
                raise UserError(f"There is no directory {directory}.")
        config, token_hint = _security_config(args)
        listener = _listen(args.host, args.port)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_USAGE
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits for a thread
    with listener:
        server = waitress.create_server(
            create_app(args.models, args.data, config),
            sockets=[listener],
            threads=THREADS,
            max_request_body_size=MAX_READ_BYTES,
            ident=None,  # no Server header
            **_proxy_config(args.proxy),
        )
        host = f"[{args.host}]" if ":" in args.host else args.host
        url = f"http://{host}:{listener.getsockname()[1]}/"
        print(f"Encore is at {url} (Ctrl-C stops it).", token_hint, sep="\n", flush=True)
        server.run()
    return 0


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Stop the server in order.

    Without a handler, the kernel ignores SIGTERM for process 1 of a container.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m webapp", description="Serve the page and the API.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8000, help="port to listen on; 0 picks a free one (default: %(default)s)"
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="published versions (default: models/)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="directory with the run records (default: data/)")
    parser.add_argument("--allow-runs", action="store_true", help="let the owner start runs from the page")
    parser.add_argument(
        "--luigid", type=_address, default=("127.0.0.1", 8082), metavar="HOST:PORT",
        help="luigid that the page links to (default: 127.0.0.1:8082)",
    )  # fmt: skip
    parser.add_argument(
        "--trusted-host", action="append", default=[], metavar="NAME",
        help="another host name under which the page may be opened; repeatable",
    )  # fmt: skip
    parser.add_argument("--proxy", metavar="ADDRESS", help="reverse proxy whose X-Forwarded headers are trusted")
    return parser


def _security_config(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the Flask settings for access, and a sentence that says where the token is.

    Raises:
        UserError: the address is reachable from other machines and no token is set.
    """
    token, is_local = secret_files.token_from_environment(), _is_loopback(args.host)
    if not is_local and not token:
        raise UserError(
            f"{args.host} is reachable from other machines: set {secret_files.TOKEN_VARIABLE} to a long random token, "
            "which every reader needs, or omit --host."
        )
    directory = (args.data or Paths().data_root) / "web"
    hint = f"Changing anything requires the token in {secret_files.TOKEN_VARIABLE}."
    key = None
    try:
        if token is None:
            token = secret_files.load_or_create_secret(directory / "token")
            hint = f"Changing anything requires the token in {directory / 'token'}."
        key = secret_files.load_or_create_secret(directory / "secret_key")
    except OSError as error:  # reading works without
        if not token:
            hint = f"Nothing can be changed, because {directory} is not writable ({error.strerror})."
    own_name = [] if args.host in ("0.0.0.0", "::") else [args.host]
    hosts = (f"[{host}]" if host.count(":") > 1 else host for host in (*own_name, *args.trusted_host))
    config = {
        "TOKEN": token,
        "PUBLIC_READ": is_local,
        "ALLOW_RUNS": args.allow_runs,
        "LUIGID": args.luigid,
        "TRUSTED_HOSTS": [*LOOPBACK, *hosts],
    }
    return ({"SECRET_KEY": key} if key else {}) | config, hint


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy_config(proxy: str | None) -> dict[str, Any]:
    """Return waitress's settings behind a reverse proxy that terminates TLS."""
    if proxy is None:
        return {}
    headers = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
    return {"trusted_proxy": proxy, "trusted_proxy_headers": headers, "clear_untrusted_proxy_headers": True}


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a whole number from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address: use host:port")
    return host, _port(port)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: the port is in use, or this machine does not have the address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Port {port} on {host} is in use: stop the other process, or choose another port with --port."
            ) from error
        raise UserError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error


if __name__ == "__main__":
    sys.exit(main())
