"""Which source files a piece of code depends on: those that it imports, and those that they import in turn."""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
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
"""Files in those folders that do determine results."""


class SourceTracer:
    """Follows imports between the project's files.

    Reading and parsing every file takes longer than a run with nothing to do, so a cache file remembers the digest and
    the imports of each by its size and modification time.
    """

    def __init__(self, cache_file: Path, root: Path = PROJECT) -> None:
        self._cache_file, self._root = cache_file, root
        self._known = self._load()
        self._is_changed = False

    def digests(self, source: str) -> dict[str, str]:
        """The sha256 of every file that a piece of Python source depends on, by path relative to the project's root."""
        found: dict[str, str] = {}
        waiting = set(self._files(_imported_names(source)))
        while waiting:
            file = waiting.pop()
            facts = self._facts(file)
            found[file] = facts["sha256"]
            waiting |= set(self._files(facts["imports"])) - found.keys()
        self._save()
        return found

    def _facts(self, file: str) -> dict[str, Any]:
        status = os.stat(self._root / file)  # noqa: PTH116 - called for every file of every stage
        stamp = [status.st_size, status.st_mtime_ns]
        if self._known.get(file, {}).get("stamp") != stamp:
            imports = sorted(_imported_names((self._root / file).read_text(encoding="utf-8")))
            self._known[file] = {"stamp": stamp, "sha256": sha256(self._root / file), "imports": imports}
            self._is_changed = True
        facts: dict[str, Any] = self._known[file]
        return facts

    def _files(self, modules: Iterable[str]) -> Iterator[str]:
        """The files of those modules that are the project's own."""
        for module in modules:
            for file in _candidates(module):
                if (file in _TRACED or not file.startswith(INFRASTRUCTURE)) and _is_file(self._root / file):
                    yield file

    def _load(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            known = read_json(self._cache_file)
            if isinstance(known, dict):
                return known
        return {}

    def _save(self) -> None:
        if self._is_changed:
            with suppress(OSError):  # the next run parses again
                self._cache_file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._cache_file, json.dumps(self._known, indent=1), forced=False)
            self._is_changed = False


@cache
def _is_file(path: Path) -> bool:
    return path.is_file()


def _candidates(module: str) -> Iterator[str]:
    """Where a module's own source, and that of the packages around it, would be."""
    parts = module.split(".")
    yield "/".join(parts) + ".py"
    for end in range(1, len(parts) + 1):
        yield "/".join(parts[:end]) + "/__init__.py"


def _imported_names(source: str) -> set[str]:
    """Every dotted name that is imported, wherever in the source; of `from a import b`, both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(source))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def source_with_imports(function: Callable[..., Any], modules: Iterable[str] = ()) -> str:
    """A function's source, preceded by the imports of its module that it uses, and by those of further modules."""
    source = textwrap.dedent(inspect.getsource(function))
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    needed = [f"import {module}" for module in modules]
    for name, statement in _module_imports(function.__module__).items():
        if name in used:
            needed.append(statement)
    return "\n".join([*needed, source])


@cache
def _module_imports(module: str) -> dict[str, str]:
    """The import statements at the top of a module, by the name that each binds."""
    statements: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                bound = f" as {alias.asname}" if alias.asname else ""
                statements[alias.asname or alias.name] = f"from {node.module} import {alias.name}{bound}"
    return statements
