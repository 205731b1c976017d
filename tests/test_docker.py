"""What of the containers can be checked without an engine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.paths import PROJECT

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["luigid", "pipeline", "web"])
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["volumes"] == ["data:/srv/data", "models:/srv/models"]
    assert not {"privileged", "user", "network_mode", "pid", "cap_add"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_stays_up_has_a_health_check() -> None:
    lasting = {name: service for name, service in COMPOSE["services"].items() if service.get("restart")}
    assert set(lasting) == {"luigid", "web"}
    for service in lasting.values():
        (port,) = service["ports"]
        assert port.split(":")[-1] in service["healthcheck"]["test"][-1]
        compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_the_pipeline_registers_with_luigid() -> None:
    pipeline = COMPOSE["services"]["pipeline"]
    assert pipeline["environment"]["LUIGID"] in COMPOSE["services"]
    assert pipeline["depends_on"]["luigid"]["condition"] == "service_healthy"


def test_the_image_runs_as_somebody_without_rights_and_writes_to_its_volumes() -> None:
    instructions = re.findall(r"^([A-Z]+) (.+)$", DOCKERFILE, re.MULTILINE)
    assert [value for name, value in instructions if name == "USER"] == ["10001"]
    assert dict(instructions)["VOLUME"] == '["/srv/data", "/srv/models"]'
    assert "NUMBA_CACHE_DIR=/srv/data/" in DOCKERFILE
    assert re.search(r"^FROM python:3\.1[123]-slim$", DOCKERFILE, re.MULTILINE)


def called(tmp_path: Path, *arguments: str, **environment: str) -> list[str]:
    """What the entrypoint starts, word by word."""
    for program in ("luigi", "python"):
        (tmp_path / program).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / program).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["sh", str(PROJECT / "docker-entrypoint.sh"), *arguments]
    ran = subprocess.run(command, env={"PATH": path, **environment}, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


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
    assert called(tmp_path, "echo", "a  b") == ["a  b"]
