"""The baseline of `web.py`: Flask's hello-world with the page's server and number of threads."""

from __future__ import annotations

import socket
import sys

import waitress
from flask import Flask


def main() -> None:
    """Serve on a free port and print it. The argument is the number of threads."""
    app = Flask(__name__)

    @app.get("/")
    def hello() -> str:
        return "Hello, world!"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = waitress.create_server(app, sockets=[listener], threads=int(sys.argv[1]))
        print(f"Hello is at http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        server.run()


if __name__ == "__main__":
    main()
