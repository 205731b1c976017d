"""Find the source files that a piece of code depends on, by following its imports."""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from common.checksums import sha256
from common.files import read_json, write_atomically
from config.paths import PROJECT

INFRASTRUCTURE = (
    "common/",
    "config/algorithm_catalog.py",
    "config/paths.py",
    "spark/runtime/child_processes.py",
    "spark/runtime/java_home.py",
    "spark/runtime/process_output.py",
    "spark/runtime/py_files.py",
    "spark/runtime/pyspark_internals.py",
    "spark/runtime/session.py",
    "workflow/",
)
"""Files and folders that every stage uses and that change no result: neither followed nor part of a fingerprint."""

_TRACED = ("workflow/hyperparameter_search.py",)
"""Exceptions: files in these folders that determine results."""


class SourceTracer:
    """Follows imports between the project's files.

    Reading and parsing every file takes longer than a run with nothing to do, so a cache file holds the digest and the
    imports of each file, by its size and modification time. A tracer checks each file once.
    """

    def __init__(self, cache_file: Path, root: Path = PROJECT) -> None:
        self._cache_file, self._root = cache_file, root
        self._cache = self._load()
        self._is_changed = False
        self._digests: dict[str, str] = {}
        self._dependencies: dict[str, frozenset[str]] = {}
        """The project's files that each file imports."""

    def digests(self, source: str) -> dict[str, str]:
        """The SHA-256 of every file that a piece of Python source depends on, by path relative to the root."""
        digests: dict[str, str] = {}
        pending = self._project_files(_imported_names(source))
        while pending:
            file = min(pending)
            if file not in self._digests:
                self._read(file)
            digests[file] = self._digests[file]
            pending = (pending | self._dependencies[file]) - digests.keys()
        self._save()
        return digests

    def _read(self, file: str) -> None:
        """Find the digest and the dependencies of a file, in the cache or by reading it."""
        path = self._root / file
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        if self._cache.get(file, {}).get("stamp") != stamp:
            imports = sorted(_imported_names(path.read_text(encoding="utf-8")))
            self._cache[file] = {"stamp": stamp, "sha256": sha256(path), "imports": imports}
            self._is_changed = True
        self._digests[file] = self._cache[file]["sha256"]
        self._dependencies[file] = self._project_files(self._cache[file]["imports"])

    def _project_files(self, modules: Iterable[str]) -> frozenset[str]:
        """The traced files of modules that belong to the project."""
        return frozenset(file for module in modules for file in _module_files(self._root, module) if _is_traced(file))

    def _load(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            cache = read_json(self._cache_file)
            if isinstance(cache, dict):
                return cache
        return {}

    def _save(self) -> None:
        if self._is_changed:
            with suppress(OSError):  # the next run parses the files again
                self._cache_file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._cache_file, json.dumps(self._cache, indent=1), forced=False)
            self._is_changed = False


def _is_traced(file: str) -> bool:
    return file in _TRACED or not file.startswith(INFRASTRUCTURE)


@cache
def _module_files(root: Path, module: str) -> tuple[str, ...]:
    """The existing files of a module and of the packages around it; none if the project does not have it."""
    parts = module.split(".")
    packages = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    files = [f"{packages[-1]}.py", *(f"{package}/__init__.py" for package in packages)]
    return tuple(file for file in files if os.path.isfile(f"{root}/{file}"))  # noqa: PTH113 - thousands of calls


def _imported_names(source: str) -> set[str]:
    """The dotted names of all imports, wherever they are; for `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def source_with_imports(function: Callable[..., Any], modules: Iterable[str] = ()) -> str:
    """A function's source, after the imports of its module that it uses and imports of further modules."""
    source, names = _function_source(function)
    imports = [f"import {module}" for module in modules]
    imports += [statement for name, statement in _module_imports(function.__module__).items() if name in names]
    return "\n".join([*imports, source])


@cache
def _function_source(function: Callable[..., Any]) -> tuple[str, frozenset[str]]:
    """The source of a function, and the names that it uses."""
    source = textwrap.dedent(inspect.getsource(function))
    return source, frozenset(node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


@cache
def _module_imports(module: str) -> dict[str, str]:
    """The `from … import …` statements at the top of a module, by the name that each binds."""
    statements: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                statements[alias.asname or alias.name] = f"from {node.module} import {alias.name}{renamed}"
    return statements
