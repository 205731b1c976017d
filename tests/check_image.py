"""`make test-image`: build the image and test it, alone and with compose.yaml, on this machine's Docker Engine.

Without an engine the check is skipped with one sentence. It uses a separate image tag, compose project and
volumes, which it removes at the end, and free ports. Arguments are passed on to `docker build`.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = "encore:test-image"
NAME = "encore-test-image"
VOLUMES = ("--volume", f"{NAME}_data:/srv/data", "--volume", f"{NAME}_models:/srv/models")
TOKEN = secrets.token_hex(24)

STOP_LIMIT_S = 2
"""Longest time between SIGTERM and the end of the page's process."""

HEALTHY_LIMIT_S = 180
"""Longest time until a started container is healthy."""

FREE_PORTS = """\
services:
  luigid: {ports: !override ["127.0.0.1::8082"]}
  web: {ports: !override ["127.0.0.1::8000"]}
"""
"""Addition to compose.yaml: the engine chooses the published ports, so that the check can run beside other services."""


class CheckFailed(Exception):
    """A container does not behave as documented."""


def docker(*arguments: str, expected_code: int | None = 0, token: str | None = TOKEN) -> str:
    """Run docker and return its standard output.

    Args:
        expected_code: the exit code that counts as success; None accepts every code.
        token: the value of ENCORE_TOKEN; None leaves it unset.

    Raises:
        CheckFailed: another exit code; the message has the end of the output.
    """
    environment = {name: value for name, value in os.environ.items() if name != "ENCORE_TOKEN"}
    environment |= {} if token is None else {"ENCORE_TOKEN": token}
    ran = subprocess.run(["docker", *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True)
    if expected_code not in (None, ran.returncode):
        output = "\n".join((ran.stdout + ran.stderr).splitlines()[-40:])
        raise CheckFailed(f"`docker {' '.join(arguments)}` exited with {ran.returncode}:\n{output}")
    return ran.stdout


def check(condition: object, message: str) -> None:
    """Raise CheckFailed unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def status_of(address: str, path: str, token: str = "") -> int:
    """Return the status of a GET request to `host:port`."""
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    status = connection.getresponse().status
    connection.close()
    return status


def wait_until_healthy(container: str) -> None:
    """Wait for the health check of a container."""
    deadline = time.monotonic() + HEALTHY_LIMIT_S
    while docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() != "healthy":
        check(time.monotonic() < deadline, f"{container} is not healthy after {HEALTHY_LIMIT_S} s")
        time.sleep(1)


def build() -> None:
    """The image builds."""
    docker("build", "--tag", IMAGE, *sys.argv[1:], ".")
    size = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"    size: {size / 1e9:.2f} GB")


def print_usage() -> None:
    """`docker run encore --help` succeeds."""
    check("pipeline" in docker("run", "--rm", IMAGE, "--help"), "--help does not name the command `pipeline`")


def refuse_page_without_token() -> None:
    """The page does not start without a token."""
    docker("run", "--rm", "--env", "ENCORE_TOKEN=", IMAGE, "serve", expected_code=2)


def start_services() -> None:
    """All services of compose.yaml become healthy."""
    docker("compose", "up", "--detach", "--wait")


def run_on_the_cluster() -> None:
    """A run on the cluster publishes a version and prints no address inside the containers' network."""
    output = docker("compose", "run", "--rm", "-T", "pipeline")
    check("http://luigid" not in output, "the run prints an address that only containers can reach")
    docker("compose", "run", "--rm", "-T", "--no-deps", "pipeline", "recommend", "1")


def request_pages() -> None:
    """The published ports answer, and the page asks for the token."""
    page, luigid = (docker("compose", "port", *port).strip() for port in (("web", "8000"), ("luigid", "8082")))
    for address, path, token, expected in (
        (page, "/healthz", "", 200),
        (page, "/", TOKEN, 200),
        (page, "/", "", 302),
        (page, "/users/1", TOKEN, 200),
        (page, "/api/v1/users/1/recommendations", "", 401),
        (luigid, "/static/visualiser/index.html", "", 200),
    ):
        status = status_of(address, path, token)
        check(status == expected, f"http://{address}{path} answers with {status} instead of {expected}")


def services_have_not_restarted() -> None:
    """No service ended, for example for lack of memory."""
    for container in docker("compose", "ps", "--quiet").split():
        state = json.loads(docker("inspect", container))[0]
        check(state["RestartCount"] == 0, f"{state['Name']} has restarted {state['RestartCount']} times")


def manage_services_without_token() -> None:
    """`docker compose ps` and `down` do not need ENCORE_TOKEN."""
    docker("compose", "ps", token=None)
    docker("compose", "down", token=None)


def run_alone() -> None:
    """A run without luigid and cluster reuses the outputs in the volumes; flags need no command."""
    docker("run", "--rm", *VOLUMES, IMAGE, "--als-rank", "32")


def stop_page_on_sigterm() -> None:
    """The page ends on SIGTERM without an init process."""
    docker("run", "--detach", "--name", NAME, "--env", f"ENCORE_TOKEN={TOKEN}", *VOLUMES, IMAGE, "serve")
    wait_until_healthy(NAME)
    with subprocess.Popen(["docker", "wait", NAME], stdout=subprocess.PIPE, text=True) as waiting:
        docker("kill", "--signal", "TERM", NAME)
        begun = time.monotonic()
        code = waiting.communicate()[0].strip()
        duration = time.monotonic() - begun
    check(code in ("0", "143"), f"the page exits with {code} after SIGTERM")
    check(duration <= STOP_LIMIT_S, f"the page ends {duration:.1f} s after SIGTERM")


STEPS: tuple[Callable[[], None], ...] = (
    build,
    print_usage,
    refuse_page_without_token,
    start_services,
    run_on_the_cluster,
    request_pages,
    services_have_not_restarted,
    manage_services_without_token,
    run_alone,
    stop_page_on_sigterm,
)


@contextmanager
def own_compose_project() -> Iterator[None]:
    """Point docker compose at a project of this check; remove its containers, volumes and image at the end."""
    with tempfile.TemporaryDirectory() as directory:
        ports = Path(directory) / "ports.yaml"
        ports.write_text(FREE_PORTS, encoding="utf-8")
        os.environ |= {
            "COMPOSE_FILE": f"{PROJECT / 'compose.yaml'}{os.pathsep}{ports}",
            "COMPOSE_PROJECT_NAME": NAME,
            "ENCORE_IMAGE": IMAGE,
        }
        try:
            yield
        finally:
            docker("rm", "--force", NAME, expected_code=None)
            docker("compose", "--profile", "*", "down", "--volumes", expected_code=None)
            docker("image", "rm", IMAGE, expected_code=None)


def missing_tool() -> str | None:
    """Return why the check cannot run here; None if it can."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    tools = {"info": "Docker Engine does not answer", "compose version": "Docker Compose is missing"}
    for command, reason in tools.items():
        if subprocess.run(["docker", *command.split()], capture_output=True).returncode != 0:
            return reason
    return None


def main() -> int:
    """Run the steps in order; return 1 after the first that fails."""
    if reason := missing_tool():
        print(f"Skipped the image check: {reason} on this machine.")
        return 0
    with own_compose_project():
        for step in STEPS:
            begun = time.monotonic()
            try:
                step()
            except (CheckFailed, OSError) as error:
                print(f"FAILED  {step.__name__}: {error}", file=sys.stderr)
                return 1
            print(f"ok  {step.__doc__} ({time.monotonic() - begun:.1f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
