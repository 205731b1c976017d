"""The use of pyspark's private attributes, and the code that workers import."""

from __future__ import annotations

import ast
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

from config.paths import PROJECT
from spark.runtime import pyspark_internals
from spark.runtime.py_files import PACKAGES, build_py_files

PRIVATE = {
    "_activeSession", "_active_spark_context", "_gateway", "_instantiatedSession", "_jconf", "_jdf", "_jsc",
    "_jsparkSession", "_jvm", "_jrdd", "_sc",
}  # fmt: skip
"""Attributes of pyspark's classes that are not part of its public interface."""


def test_installed_pyspark_is_the_tested_release() -> None:
    assert pyspark.__version__.rsplit(".", 1)[0] == pyspark_internals.TESTED_VERSION


def test_only_one_module_uses_private_attributes_of_pyspark() -> None:
    modules = set()
    for package in ("common", "config", "models", "run_records", "spark", "webapp", "workflow"):
        for file in (PROJECT / package).rglob("*.py"):
            attributes = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute))
            if any(attribute.attr in PRIVATE for attribute in attributes):
                modules.add(str(file.relative_to(PROJECT)))
    assert modules == {"spark/runtime/pyspark_internals.py"}


def test_recognises_a_running_jvm(spark: SparkSession) -> None:
    process = pyspark_internals.jvm_process()
    assert pyspark_internals.has_gateway()
    assert pyspark_internals.has_usable_jvm()
    assert process is not None
    assert process.poll() is None
    assert pyspark_internals.open_context() is spark.sparkContext


def test_py_files_contain_only_the_packages_of_workers(tmp_path: Path) -> None:
    directory = build_py_files(tmp_path)
    shipped = {file.relative_to(directory) for file in directory.rglob("*") if file.is_file()}
    code = {file.relative_to(PROJECT) for package in PACKAGES for file in (PROJECT / package).rglob("*.py")}
    assert shipped == code
    assert not {"models", "data", "tests"} & {file.parts[0] for file in shipped}
    assert build_py_files(tmp_path) == directory
