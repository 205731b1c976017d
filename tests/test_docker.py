"""What of the containers can be checked without an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from luigi.cmdline_parser import CmdlineParser
from support.processes import eventually, unused_port

from common.errors import UserError
from config.paths import PROJECT
from spark.runtime import standalone
from webapp import __main__ as page
from webapp import create_app
from workflow import __main__ as runs

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JAVA = {"worker", "pipeline"}
"""What runs stages' work in Java, which loads compression libraries that it unpacks into /tmp."""


def test_the_services_are_those_of_the_project() -> None:
    assert set(SERVICES) == {"luigid", "web", "master", "worker", "pipeline"}
    assert {service["image"] for service in SERVICES.values()} == {"encore:local"}
    assert [service["build"] for service in SERVICES.values() if "build" in service] == ["."]
    assert set(COMPOSE["volumes"]) == {"data", "models"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp:mode=1777,exec" if name in JAVA else "/tmp:mode=1777"]
    assert service["mem_limit"] == ("4g" if name in JAVA else "1g")
    assert service["cpus"] and service["pids_limit"]
    assert service["volumes"] == ["data:/srv/data", "models:/srv/models"]
    assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_the_two_pages_are_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"luigid": ["127.0.0.1:8082:8082"], "web": ["127.0.0.1:8000:8000"]}


def test_a_run_is_a_job_and_the_rest_stays_up() -> None:
    assert [name for name, service in SERVICES.items() if "restart" not in service] == ["pipeline"]
    assert SERVICES["pipeline"]["profiles"] == ["pipeline"]
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", SERVICES)
def test_whom_a_service_waits_for_says_when_it_is_healthy(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"] == ["CMD", "/opt/encore/docker-entrypoint.sh", "health"]
    needed = service.get("depends_on", {})
    assert all(needed[other] == {"condition": "service_healthy"} and other in SERVICES for other in needed)
    assert set(needed) == {"pipeline": {"luigid", "worker"}, "worker": {"master"}}.get(name, set())


def given(name: str, tmp_path: Path) -> list[str]:
    """What a service's entrypoint starts, word by word."""
    environment = {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}
    return called(tmp_path, *SERVICES[name]["command"], **environment)


def test_the_page_s_command_guards_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every address, so behind the token; it answers to this machine's names and to the service's."""
    command = given("web", tmp_path)
    assert command[:3] == ["python", "-m", "webapp"]
    assert SERVICES["web"]["environment"]["ENCORE_TOKEN"].startswith("${ENCORE_TOKEN:?")
    asked = page._parser().parse_args([word.replace("/srv", str(tmp_path)) for word in command[3:]])
    assert (asked.host, asked.port) == ("0.0.0.0", 8000)
    with pytest.raises(UserError, match="ENCORE_TOKEN"):
        page._guarded(asked)
    monkeypatch.setenv("ENCORE_TOKEN", "a long random text")
    settings, _ = page._guarded(asked)
    for root in (tmp_path / "models", tmp_path / "data"):
        root.mkdir(exist_ok=True)
    client = create_app(tmp_path / "models", tmp_path / "data", settings).test_client()

    def status(path: str, host: str, token: str = "") -> int:
        headers = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
        return client.get(path, headers=headers).status_code

    assert [status("/healthz", host) for host in ("127.0.0.1:8000", "localhost:8000", "web:8000")] == [200] * 3
    assert status("/healthz", "elsewhere.example:8000") == 400
    assert status("/metrics", "web:8000") == 302
    assert status("/metrics", "web:8000", "a long random text") == 200


def test_luigid_s_command_is_one_that_there_is(tmp_path: Path) -> None:
    command = given("luigid", tmp_path)
    assert command[:3] == ["python", "-m", "workflow"]
    asked = runs._parser().parse_args(command[3:])
    assert (asked.address, asked.port, asked.data) == ("0.0.0.0", 8082, Path("/srv/data"))


def test_the_workers_and_the_run_know_where_the_master_is(tmp_path: Path) -> None:
    command = given("master", tmp_path)
    assert command[:3] == ["python", "-m", "spark.runtime.standalone"]
    master = standalone.parser().parse_args(command[3:])
    assert (master.role, master.host, master.page) == ("master", "master", 8080)
    worker = standalone.parser().parse_args(given("worker", tmp_path)[3:])
    assert (worker.role, worker.address, worker.page) == ("worker", f"spark://{master.host}:{master.port}", 8081)
    assert SERVICES["pipeline"]["environment"]["SPARK_MASTER"] == worker.address
    assert f"{worker.directory}/".startswith("/srv/data/")


def test_the_run_s_command_is_one_that_luigi_takes(tmp_path: Path) -> None:
    command = given("pipeline", tmp_path)
    assert command[0] == "luigi"
    taken = CmdlineParser(command[1:]).known_args
    said = (taken.core_scheduler_host, taken.spark_session_master, taken.paths_data_root, taken.core_local_scheduler)
    assert said == ("luigid", "spark://master:7077", "/srv/data", False)
    assert "luigid" in SERVICES


def test_the_image_runs_as_somebody_without_rights_and_writes_to_its_volumes() -> None:
    instructions = re.findall(r"^([A-Z]+) (.+)$", DOCKERFILE, re.MULTILINE)
    assert [value for name, value in instructions if name == "USER"] == ["10001:10001"]
    assert dict(instructions)["VOLUME"] == '["/srv/data", "/srv/models"]'
    assert "NUMBA_CACHE_DIR=/srv/data/" in DOCKERFILE
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["python:3.12-slim-bookworm"] * 2
    assert "--require-hashes" in DOCKERFILE
    assert "uninstall --yes setuptools wheel pip" in DOCKERFILE
    assert dict(instructions)["HEALTHCHECK"].endswith(' CMD ["/opt/encore/docker-entrypoint.sh", "health"]')


def called(tmp_path: Path, *arguments: str, **environment: str) -> list[str]:
    """What the entrypoint starts, word by word."""
    for program in ("luigi", "python"):
        (tmp_path / program).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / program).chmod(0o755)
    return entered(tmp_path, *arguments, **environment).stdout.splitlines()


def entered(
    tmp_path: Path, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the entrypoint where `tmp_path` has programs that stand for the real ones."""
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["sh", str(PROJECT / "docker-entrypoint.sh"), *arguments]
    known = {"PATH": path, "TMPDIR": str(tmp_path), "SPARK_LOCAL_HOSTNAME": "10.0.0.7"}
    return subprocess.run(command, env=known | environment, capture_output=True, text=True, check=check)


def test_the_entrypoint_knows_its_verbs(tmp_path: Path) -> None:
    top = ["luigi", "--module", "workflow", "RecommendAll"]
    roots = ["--paths-data-root", "/srv/data", "--paths-models-root", "/srv/models"]
    assert called(tmp_path, "pipeline", "--als-rank", "6 4") == [*top, *roots, "--local-scheduler", "--als-rank", "6 4"]
    assert called(tmp_path, "pipeline", LUIGID="luigid") == [*top, *roots, "--scheduler-host", "luigid"]
    assert called(tmp_path, "serve")[:5] == ["python", "-m", "webapp", "--host", "0.0.0.0"]
    assert called(tmp_path, "luigid") == [
        "python",
        "-m",
        "workflow",
        "luigid",
        "--address",
        "0.0.0.0",
        "--data",
        "/srv/data",
    ]
    node = ["python", "-m", "spark.runtime.standalone"]
    assert called(tmp_path, "master", "--host", "master") == [*node, "master", "--host", "master"]
    assert called(tmp_path, "worker", "spark://m:1") == [
        *node,
        "worker",
        "--directory",
        "/srv/data/cluster",
        "spark://m:1",
    ]
    assert called(tmp_path, "echo", "a  b") == ["a  b"]


def test_executors_are_told_the_address_of_the_run(tmp_path: Path) -> None:
    """And not a name, which nobody knows of a container that `compose run` starts."""
    (tmp_path / "luigi").write_text('#!/bin/sh\necho "$SPARK_LOCAL_HOSTNAME"\n')
    (tmp_path / "luigi").chmod(0o755)
    (tmp_path / "hostname").write_text("#!/bin/sh\necho 172.18.0.5 172.19.0.3\n")
    (tmp_path / "hostname").chmod(0o755)
    cluster = {"SPARK_MASTER": "spark://master:7077", "SPARK_LOCAL_HOSTNAME": ""}
    assert entered(tmp_path, "pipeline", **cluster).stdout == "172.18.0.5\n"


def healthy(tmp_path: Path, verb: str, port: int) -> bool:
    """What the health check says of a service that listens on another port than in its container."""
    (tmp_path / "encore-verb").write_text(verb)
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "$1" "$2" "$(echo "$3" | sed "s/:80[0-9]*/:{port}/")"\n'
    )
    (tmp_path / "python").chmod(0o755)
    return entered(tmp_path, "health", check=False, http_proxy="http://127.0.0.1:9").returncode == 0


def test_the_health_check_asks_luigid(tmp_path: Path, luigid: int, luigid_process: subprocess.Popen[bytes]) -> None:
    assert healthy(tmp_path, "luigid", luigid)
    luigid_process.kill()
    luigid_process.wait()
    assert not healthy(tmp_path, "luigid", luigid)


def test_the_health_check_asks_the_page(tmp_path: Path, free_port: int) -> None:
    """Which is not well when it cannot serve what is promoted."""
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir(), data.mkdir()
    command = ["-m", "webapp", "--port", str(free_port), "--models", str(models), "--data", str(data)]
    with started(command):
        eventually(lambda: healthy(tmp_path, "serve", free_port))
        (models / "lost").mkdir()
        (models / "lost" / "current").write_text("v1\n")
        eventually(lambda: not healthy(tmp_path, "serve", free_port))


def test_the_health_check_asks_master_and_worker(tmp_path: Path) -> None:
    port, *pages = unused_port(), unused_port(), unused_port()
    master = ["master", "--host", "127.0.0.1", "--port", str(port), "--page", str(pages[0])]
    worker = ["worker", "--host", "127.0.0.1", "--page", str(pages[1]), "--directory", str(tmp_path / "work")]
    with started(["-m", "spark.runtime.standalone", *master]):
        eventually(lambda: healthy(tmp_path, "master", pages[0]))
        assert not healthy(tmp_path, "worker", pages[1])
        with started(["-m", "spark.runtime.standalone", *worker, f"spark://127.0.0.1:{port}"]):
            eventually(lambda: healthy(tmp_path, "worker", pages[1]))


@contextmanager
def started(command: list[str]) -> Iterator[None]:
    """Runs Python while the block runs."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *command], cwd=PROJECT, **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_run_has_no_health_but_its_exit_code(tmp_path: Path) -> None:
    assert healthy(tmp_path, "pipeline", 9)


def test_the_build_sees_what_it_needs_and_no_more() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert {".*", "tests", "docs", "data/*", "models/*"} <= set(ignored)
    needed = ["README.md", "LICENSE", "luigi.cfg", "pyproject.toml", "requirements.txt", "docker-entrypoint.sh"]
    packages = ["config", "spark", "models", "workflow", "webapp"]
    assert all((PROJECT / name).exists() and not {name, f"{name}/"} & set(ignored) for name in needed + packages)
