"""Dockerfile, compose.yaml and the entrypoint without a container engine; tests/check_image.py uses an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from luigi.cmdline_parser import CmdlineParser
from support.docker_context import context_filter
from support.processes import eventually, unused_port

from common.errors import UserError
from config.paths import PROJECT
from config.settings import spark_session
from models import __main__ as models_cli
from spark.runtime import standalone
from webapp import __main__ as webapp_cli
from webapp import create_app
from workflow import __main__ as workflow_cli

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MIB = 1 << 20

# -- the build context ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_context() -> Any:
    return context_filter((PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines())


def test_docker_ignores_the_trailing_slash_of_a_pattern() -> None:
    is_included = context_filter(["models/*/", "**/cache", "!models/kept.py"])
    assert not is_included("models/registry.py")
    assert is_included("models/kept.py")
    assert not is_included("a/b/cache/file")
    assert is_included("a/b/cached")


def test_context_has_every_module_and_data_file_of_the_packages(in_context: Any) -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    files = [file for name in setuptools["packages"] for file in (PROJECT / name.replace(".", "/")).glob("*.py")]
    for name, globs in setuptools["package-data"].items():
        data = [file for pattern in globs for file in (PROJECT / name.replace(".", "/")).glob(pattern)]
        assert data, f"package-data of {name} matches no file"
        files += data
    assert len(files) > len(setuptools["packages"])
    assert [str(file) for file in files if not in_context(str(file.relative_to(PROJECT)))] == []


def test_packages_are_all_declared() -> None:
    """A package that pyproject.toml does not list is neither installed nor imported by the image's build."""
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    roots = {name.split(".")[0] for name in setuptools["packages"]}
    packages = {
        ".".join(file.parent.relative_to(PROJECT).parts)
        for root in roots
        for file in (PROJECT / root).rglob("__init__.py")
    }
    assert packages == set(setuptools["packages"])


def test_context_has_what_the_dockerfile_and_the_installation_read(in_context: Any) -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for name in re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.MULTILINE) if name != "."]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*copied, project["readme"], *project["license-files"], "pyproject.toml", "luigi.cfg"]
    entrypoints = set(re.findall(r"/opt/encore/([\w.-]+)", dockerfile))
    assert [name for name in [*needed, *entrypoints] if not (PROJECT / name).is_file() or not in_context(name)] == []


@pytest.mark.parametrize(
    "path",
    [
        "models/synthetic/current",
        "models/synthetic/0123abcd/factors.bin",
        "models/songs/0123abcd/manifest.json",
        "data/raw/songs/plays.tsv",
        "data/web/token",
        "config/__pycache__/paths.pyc",
        ".git/HEAD",
        ".env",
        ".venv/bin/python",
        "tests/test_docker.py",
    ],
)
def test_context_has_no_versions_data_or_secrets(in_context: Any, path: str) -> None:
    assert not in_context(path)


# -- compose.yaml --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_variables_have_defaults() -> None:
    """A variable without a default would make `docker compose ps` and `down` fail."""
    text = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    variables = re.findall(r"\$\{[^}]*\}?", text)
    assert variables
    assert [variable for variable in variables if not re.fullmatch(r"\$\{\w+:-[^}]*\}", variable)] == []


def mebibytes(size: str) -> int:
    """Convert Docker's and Java's notation of a size."""
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1].lower()]


def test_java_fits_into_the_memory_limits() -> None:
    """Java uses up to 1.25 times its heap, and Python 512 MiB per core."""
    python_mib = 512
    for name in ("web", "luigid"):
        assert mebibytes(SERVICES[name]["mem_limit"]) >= 2 * python_mib
    master = SERVICES["master"]
    assert 1.25 * mebibytes(master["environment"]["SPARK_DAEMON_MEMORY"]) <= mebibytes(master["mem_limit"])
    worker = SERVICES["worker"]
    options = standalone.parser().parse_args(worker["command"])
    heaps = mebibytes(options.memory) + mebibytes(worker["environment"]["SPARK_DAEMON_MEMORY"])
    assert 1.25 * heaps + options.cores * python_mib <= mebibytes(worker["mem_limit"])
    pipeline = SERVICES["pipeline"]
    # The driver's Python process, and one Python worker per core for a run without a cluster.
    python = (1 + pipeline["cpus"]) * python_mib
    assert 1.25 * mebibytes(spark_session().driver_memory) + python <= mebibytes(pipeline["mem_limit"])


# -- the entrypoint ------------------------------------------------------------------------------------------------


def run_entrypoint(
    programs: Path, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint; programs in the given directory take precedence over real ones."""
    command = ["sh", str(PROJECT / "docker-entrypoint.sh"), *arguments]
    path = f"{programs}:{os.environ['PATH']}"
    base = {"PATH": path, "TMPDIR": str(programs), "SPARK_LOCAL_HOSTNAME": "10.0.0.7"}
    return subprocess.run(command, env=base | environment, capture_output=True, text=True, check=check)


def write_program(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def started_command(tmp_path: Path, *arguments: str, **environment: str) -> list[str]:
    """Return the program and the arguments that the entrypoint executes."""
    for program in ("luigi", "python"):
        write_program(tmp_path, program, 'printf "%s\\n" "${0##*/}" "$@"')
    return run_entrypoint(tmp_path, *arguments, **environment).stdout.splitlines()


def service_command(tmp_path: Path, name: str) -> list[str]:
    """Return the program and the arguments of a service of compose.yaml."""
    environment = {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}
    return started_command(tmp_path, *SERVICES[name]["command"], **environment)


PIPELINE = ["luigi", "--module", "workflow", "RecommendAll",
            "--paths-data-root", "/srv/data", "--paths-models-root", "/srv/models"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "environment", "options"),
    [
        ([], {}, ["--local-scheduler"]),
        (["--als-rank", "6 4"], {}, ["--local-scheduler", "--als-rank", "6 4"]),
        (["pipeline", "--als-rank", "6 4"], {}, ["--local-scheduler", "--als-rank", "6 4"]),
        (["pipeline"], {"LUIGID": "luigid"}, ["--scheduler-host", "luigid"]),
        (["pipeline"], {"SPARK_MASTER": "spark://m:1"}, ["--spark-session-master", "spark://m:1", "--local-scheduler"]),
    ],
)
def test_entrypoint_starts_the_pipeline(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], options: list[str]
) -> None:
    assert started_command(tmp_path, *arguments, **environment) == [*PIPELINE, *options]


@pytest.mark.parametrize("argument", ["--help", "-h", "help"])
def test_entrypoint_prints_its_usage(tmp_path: Path, argument: str) -> None:
    usage = run_entrypoint(tmp_path, argument).stdout
    script = (PROJECT / "docker-entrypoint.sh").read_text(encoding="utf-8")
    labels = re.findall(r"^    ([a-z |]+)\) *(?:$|exec)", script, re.MULTILINE)
    commands = {name for label in labels for name in label.split(" | ")} - {"health"}
    assert {"pipeline", "serve", "recommend", "prune"} <= commands
    assert [name for name in commands if not re.search(rf"\b{name}\b", usage)] == []


def test_entrypoint_runs_other_programs(tmp_path: Path) -> None:
    assert run_entrypoint(tmp_path, "echo", "a  b").stdout == "a  b\n"


@pytest.mark.parametrize(
    ("cli", "arguments"),
    [
        (models_cli, ["recommend", "--dataset", "songs", "--", "-7"]),
        (models_cli, ["versions"]),
        (models_cli, ["promote", "2"]),
        (models_cli, ["rollback"]),
        (models_cli, ["verify"]),
        (models_cli, ["forget", "42"]),
        (workflow_cli, ["runs"]),
        (workflow_cli, ["run", "--", "2026"]),
        (workflow_cli, ["graph"]),
        (workflow_cli, ["prune", "--dry-run"]),
    ],
)
def test_entrypoint_passes_the_volumes_to_commands(tmp_path: Path, cli: Any, arguments: list[str]) -> None:
    program, flag, module, *rest = started_command(tmp_path, *arguments)
    assert (program, flag, f"{module}.__main__") == ("python", "-m", cli.__name__)
    options = vars(cli._parser().parse_args(rest))
    roots = {name: options[name] for name in ("data", "models") if name in options}
    assert roots
    assert roots.items() <= {"data": Path("/srv/data"), "models": Path("/srv/models")}.items()


def test_executors_connect_to_the_address_of_the_run(tmp_path: Path) -> None:
    """They cannot resolve the name of a container that `docker compose run` starts."""
    write_program(tmp_path, "luigi", 'echo "$SPARK_LOCAL_HOSTNAME"')
    write_program(tmp_path, "hostname", "echo 172.18.0.5 172.19.0.3")
    cluster = {"SPARK_MASTER": "spark://master:7077", "SPARK_LOCAL_HOSTNAME": ""}
    assert run_entrypoint(tmp_path, "pipeline", **cluster).stdout == "172.18.0.5\n"


# -- the services' commands, parsed by the programs that receive them ------------------------------------------------


def test_web_service_requires_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens on every address and answers to the names of this machine and of the service."""
    command = service_command(tmp_path, "web")
    assert command[:3] == ["python", "-m", "webapp"]
    options = webapp_cli._parser().parse_args([word.replace("/srv", str(tmp_path)) for word in command[3:]])
    assert (options.host, options.port) == ("0.0.0.0", 8000)
    monkeypatch.setenv("ENCORE_TOKEN", "")
    with pytest.raises(UserError, match="ENCORE_TOKEN"):
        webapp_cli._security_config(options)
    monkeypatch.setenv("ENCORE_TOKEN", "a long random text")
    settings, _ = webapp_cli._security_config(options)
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


def test_luigid_service_listens_on_the_published_port(tmp_path: Path) -> None:
    command = service_command(tmp_path, "luigid")
    assert command[:3] == ["python", "-m", "workflow"]
    options = workflow_cli._parser().parse_args(command[3:])
    assert (options.address, options.data) == ("0.0.0.0", Path("/srv/data"))
    assert [port.split(":")[-1] for port in SERVICES["luigid"]["ports"]] == [str(options.port)]


def test_workers_and_runs_know_the_address_of_the_master(tmp_path: Path) -> None:
    command = service_command(tmp_path, "master")
    assert command[:3] == ["python", "-m", "spark.runtime.standalone"]
    master = standalone.parser().parse_args(command[3:])
    assert (master.role, master.host) == ("master", "master")
    worker = standalone.parser().parse_args(service_command(tmp_path, "worker")[3:])
    assert (worker.role, worker.address) == ("worker", f"spark://{master.host}:{master.port}")
    assert SERVICES["pipeline"]["environment"]["SPARK_MASTER"] == worker.address
    assert worker.directory.is_relative_to("/srv/data")


def test_luigi_accepts_the_command_of_the_pipeline_service(tmp_path: Path) -> None:
    command = service_command(tmp_path, "pipeline")
    assert command[0] == "luigi"
    options = CmdlineParser(command[1:]).known_args
    assert options.core_scheduler_host in SERVICES
    assert not options.core_local_scheduler
    assert (options.spark_session_master, options.paths_data_root) == ("spark://master:7077", "/srv/data")


# -- health checks and signals -------------------------------------------------------------------------------------


@contextmanager
def python_process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python in the project's root while the context is active."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def is_healthy(tmp_path: Path, service: str, port: int) -> bool:
    """Run the health check against a service that listens on another port than in its container."""
    (tmp_path / "encore-service").write_text(service)
    script = f'exec "{sys.executable}" "$1" "$2" "$(echo "$3" | sed "s/:80[0-9]*/:{port}/")"'
    write_program(tmp_path, "python", script)
    return run_entrypoint(tmp_path, "health", check=False, http_proxy="http://127.0.0.1:9").returncode == 0


def test_health_check_of_luigid(tmp_path: Path, luigid: int, luigid_process: subprocess.Popen[bytes]) -> None:
    assert is_healthy(tmp_path, "luigid", luigid)
    luigid_process.kill()
    luigid_process.wait()
    assert not is_healthy(tmp_path, "luigid", luigid)


def test_health_check_of_the_page(tmp_path: Path, free_port: int) -> None:
    """It fails when the page cannot serve the promoted version."""
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir(), data.mkdir()
    arguments = ["--port", str(free_port), "--models", str(models), "--data", str(data)]
    with python_process("-m", "webapp", *arguments):
        eventually(lambda: is_healthy(tmp_path, "serve", free_port))
        (models / "lost").mkdir()
        (models / "lost" / "current").write_text("v1\n")
        eventually(lambda: not is_healthy(tmp_path, "serve", free_port))


@pytest.mark.slow
def test_health_check_of_master_and_worker(tmp_path: Path) -> None:
    port, *pages = unused_port(), unused_port(), unused_port()
    master = ["master", "--host", "127.0.0.1", "--port", str(port), "--page", str(pages[0])]
    worker = ["worker", "--host", "127.0.0.1", "--page", str(pages[1]), "--directory", str(tmp_path / "work")]
    with python_process("-m", "spark.runtime.standalone", *master):
        eventually(lambda: is_healthy(tmp_path, "master", pages[0]))
        assert not is_healthy(tmp_path, "worker", pages[1])
        with python_process("-m", "spark.runtime.standalone", *worker, f"spark://127.0.0.1:{port}"):
            eventually(lambda: is_healthy(tmp_path, "worker", pages[1]))


def test_health_check_succeeds_for_a_run(tmp_path: Path) -> None:
    assert run_entrypoint(tmp_path, "health").returncode == 0


def test_services_and_only_they_record_their_name(tmp_path: Path) -> None:
    for command in ("serve", "luigid", "master", "worker"):
        started_command(tmp_path, command)
        assert (tmp_path / "encore-service").read_text() == f"{command}\n"
    (tmp_path / "encore-service").unlink()
    started_command(tmp_path, "pipeline")
    assert not (tmp_path / "encore-service").exists()


def test_page_ends_on_sigterm(tmp_path: Path, free_port: int) -> None:
    """Exit code 0 shows that a handler runs: the kernel ignores the default action for process 1 of a container."""
    arguments = ["--port", str(free_port), "--models", str(tmp_path), "--data", str(tmp_path)]
    with python_process("-m", "webapp", *arguments) as page:
        eventually(lambda: is_healthy(tmp_path, "serve", free_port))
        page.terminate()
        assert page.wait(timeout=2) == 0


# -- make test-image -----------------------------------------------------------------------------------------------


def check_image(programs: Path) -> subprocess.CompletedProcess[str]:
    """Run the image check where only the given programs are installed."""
    command = [sys.executable, str(PROJECT / "tests" / "check_image.py")]
    return subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", [None, "exit 1", '[ "$1" = info ]'])
def test_image_check_is_skipped_without_an_engine(tmp_path: Path, script: str | None) -> None:
    if script is not None:
        write_program(tmp_path, "docker", script)
    skipped = check_image(tmp_path)
    assert skipped.returncode == 0
    assert re.fullmatch(r"Skipped the image check: [^\n]+\.\n", skipped.stdout)


def test_image_check_fails_with_the_output_of_the_build(tmp_path: Path) -> None:
    write_program(
        tmp_path, "docker", f'echo "$@" >> {tmp_path}/calls\n[ "$1" != build ] || {{ echo no module; exit 1; }}'
    )
    failed = check_image(tmp_path)
    assert failed.returncode == 1
    assert "build" in failed.stderr
    assert "no module" in failed.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["info", "compose", "build", "rm", "compose", "image"]
