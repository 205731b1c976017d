"""The private parts of Luigi in use: what they are in the installed version, and that no other module uses any."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version

import pytest
from luigi import interface, rpc
from luigi.scheduler import Scheduler

from config.paths import PROJECT
from workflow.scheduler.luigi_internals import TESTED_VERSION, remote_scheduler, replace_remote_scheduler

PACKAGES = ("common", "config", "models", "run_records", "spark", "webapp", "workflow")


def test_installed_luigi_is_the_version_they_were_tried_with() -> None:
    """After an update of Luigi: check both functions of luigi_internals.py, then raise TESTED_VERSION."""
    assert version("luigi") == TESTED_VERSION


def test_retry_wait_of_the_remote_scheduler_is_what_its_retryer_uses() -> None:
    remote = remote_scheduler("http://127.0.0.1:8082")
    assert isinstance(remote, rpc.RemoteScheduler)
    assert remote._get_retryer().wait.wait_fixed == 1


def test_luigi_command_uses_the_replaced_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = interface._WorkerSchedulerFactory
    monkeypatch.setattr(factory, "create_remote_scheduler", factory.create_remote_scheduler)  # restores it
    custom = object()
    replace_remote_scheduler(lambda url: custom if url == "http://here" else None)
    assert factory().create_remote_scheduler(url="http://here") is custom
    assert isinstance(factory().create_remote_scheduler(url="http://gone"), Scheduler)
    assert "worker_scheduler_factory.create_remote_scheduler(url=url)" in inspect.getsource(interface._schedule_and_run)


def test_no_other_module_uses_private_names_of_luigi() -> None:
    """Attributes with a leading underscore, of names that a module has imported from Luigi."""
    uses = []
    for file in sorted(file for package in PACKAGES for file in (PROJECT / package).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if (getattr(node, "module", None) or alias.name).partition(".")[0] == "luigi"
        }
        uses += [
            f"{file.relative_to(PROJECT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and ast.unparse(node).partition(".")[0] in imported
        ]
    assert {use.partition(":")[0] for use in uses} == {"workflow/scheduler/luigi_internals.py"}
