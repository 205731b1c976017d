"""Commands and addresses printed at the end of a run, for the environment that the user runs in."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

DEFAULT_DATASET = "synthetic"

CONTAINER_VARIABLE = "ENCORE_CONTAINER"
"""Environment variable set in containers: `docker` by the image, `compose` by compose.yaml."""


def next_steps(dataset: str, user_id: str, log: Path) -> list[str]:
    """Return aligned lines, each a command, address or file and its purpose.

    Args:
        user_id: a user with stored recommendations, for the example.
        log: of the run.
    """
    container = os.environ.get(CONTAINER_VARIABLE)
    option = "" if dataset == DEFAULT_DATASET else f"--dataset {shlex.quote(dataset)} "
    user = f"-- {shlex.quote(user_id)}" if user_id.startswith("-") else shlex.quote(user_id)
    if container == "compose":
        steps = {
            "http://127.0.0.1:8000": "metrics and recommendations for every user; asks for ENCORE_TOKEN",
            f"docker compose run --rm pipeline recommend {option}{user}": "recommendations for one user",
            "http://127.0.0.1:8082": "the task graph",
            str(log): "the log of Luigi and Spark, in the volume data",
        }
    elif container:
        steps = {
            "docker run … encore serve": "a page with metrics and recommendations for every user, on port 8000",
            f"docker run … encore recommend {option}{user}": "recommendations for one user",
            str(log): "the log of Luigi and Spark, in the volume at /srv/data",
        }
    else:
        variable = "" if dataset == DEFAULT_DATASET else f" DATASET={shlex.quote(dataset)}"
        steps = {
            "make serve": "a page with metrics and recommendations for every user, at http://127.0.0.1:8000",
            f"make recommend ID={shlex.quote(user_id)}{variable}": "recommendations for one user",
            "make luigid": "the task graph of runs with SCHEDULER=luigid, at http://127.0.0.1:8082",
            shorten_path(log): "the log of Luigi and Spark",
        }
    width = max(map(len, steps)) + 3
    return [f"  {step:<{width}}{purpose}" for step, purpose in steps.items()]


def task_graph_address(url: str) -> str:
    """Return the address at which the user's browser finds luigid, given its URL in this process."""
    return "http://127.0.0.1:8082/" if os.environ.get(CONTAINER_VARIABLE) == "compose" else f"{url.rstrip('/')}/"


def shorten_path(path: Path) -> str:
    """Return the path relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
