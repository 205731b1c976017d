"""What depends on pyspark's private parts, and the code that is sent to workers."""

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


def test_the_pyspark_release_is_the_one_that_was_tried() -> None:
    assert pyspark.__version__.rsplit(".", 1)[0] == pyspark_internals.TESTED_WITH


def test_only_one_module_uses_private_parts_of_pyspark() -> None:
    users = set()
    for package in ("common", "config", "models", "run_records", "spark", "webapp", "workflow"):
        for file in (PROJECT / package).rglob("*.py"):
            attributes = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute))
            if any(attribute.attr in PRIVATE for attribute in attributes):
                users.add(str(file.relative_to(PROJECT)))
    assert users == {"spark/runtime/pyspark_internals.py"}


def test_the_state_of_a_running_jvm_is_known(spark: SparkSession) -> None:
    process = pyspark_internals.jvm_process()
    assert pyspark_internals.has_gateway()
    assert pyspark_internals.has_usable_jvm()
    assert process is not None
    assert process.poll() is None
    assert pyspark_internals.open_context() is spark.sparkContext


def test_py_files_hold_the_code_that_workers_import_and_nothing_else(tmp_path: Path) -> None:
    directory = build_py_files(tmp_path)
    shipped = {file.relative_to(directory) for file in directory.rglob("*") if file.is_file()}
    code = {file.relative_to(PROJECT) for package in PACKAGES for file in (PROJECT / package).rglob("*.py")}
    assert shipped == code
    assert not {"models", "data", "tests"} & {file.parts[0] for file in shipped}
    assert build_py_files(tmp_path) == directory
