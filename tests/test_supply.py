"""The dependencies: locked with hashes, with their licences listed and their vulnerabilities audited."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.paths import PROJECT
from tools import audit, licences

REQUIREMENTS = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
DOCUMENT = licences.DOCUMENT.read_text(encoding="utf-8")
SOUND: dict[str, Any] = {"name": "flask", "version": "3.1.0", "vulns": []}
FAULTY = {"name": "flask", "version": "3.1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["3.1.1"]}]}
HOPELESS = {"name": "flask", "version": "3.1.0", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
UNKNOWN = {"name": "luigi", "skip_reason": "Dependency not found on PyPI and could not be audited: luigi (3.8.1)"}


def test_lists_the_licence_of_every_locked_package() -> None:
    listed = {
        name: versions.split(" or ")
        for name, versions in re.findall(r"^\| ([\w.-]+) \| (\d.*?) \|", DOCUMENT, re.MULTILINE)
    }
    assert listed == licences.locked(REQUIREMENTS)
    assert {"luigi", "pyspark", "pydantic", "colorama"} <= listed.keys()


def test_states_the_conditions_of_every_copyleft_licence() -> None:
    copyleft = {
        name for name, licence in re.findall(r"^\| ([\w.-]+) \| \d.*? \| (.*) \|", DOCUMENT, re.MULTILINE)
        if licences.COPYLEFT.search(licence)
    }  # fmt: skip
    assert set(re.findall(r"^- `([\w.-]+)` \(", DOCUMENT, re.MULTILINE)) == copyleft == set(licences.CONDITIONS)


def test_every_package_declares_a_licence() -> None:
    assert not re.search(r"\| *(not declared|UNKNOWN)? *\|$", DOCUMENT, re.MULTILINE)


def test_reads_extras_and_several_versions() -> None:
    lock = "pydantic[email]==2.1 \\\n    --hash=sha256:0\nscipy==1.17 ; python_version < '3.12' \\\nscipy==1.18 \\\n"
    assert licences.locked(lock) == {"pydantic": ["2.1"], "scipy": ["1.17", "1.18"]}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-audit.txt"])
def test_each_locked_package_has_hashes(name: str) -> None:
    lock = (PROJECT / name).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z])", lock, flags=re.MULTILINE)[1:]
    assert len(entries) >= 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_pip_audit_is_not_a_dependency() -> None:
    assert "pip-audit" not in (PROJECT / "pyproject.toml").read_text() + REQUIREMENTS


REST = "Not checked, because the database does not have them: luigi."
NOTHING = "No package was checked: pip-audit cannot reach the vulnerability database."


@pytest.mark.parametrize(
    ("packages", "code", "message"),
    [
        ([SOUND], 0, "No known vulnerability (packages checked: 1)."),
        ([FAULTY], 1, "flask 3.1.0: CVE-1, fixed in 3.1.1."),
        ([HOPELESS, UNKNOWN], 1, f"flask 3.1.0: CVE-2, no fix available. {REST}"),
        ([SOUND, UNKNOWN], 2, f"No known vulnerability (packages checked: 1). {REST}"),
        ([UNKNOWN], 2, NOTHING),
        ([], 2, NOTHING),
    ],
)
def test_unchecked_packages_are_not_reported_as_safe(packages: list[dict[str, Any]], code: int, message: str) -> None:
    assert audit.summarize(json.dumps({"dependencies": packages, "fixes": []})) == (code, message)


def test_reports_a_failing_pip_audit(tmp_path: Path) -> None:
    broken = tmp_path / "pip-audit"
    broken.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    broken.chmod(0o755)
    command = [sys.executable, "tools/audit.py", str(broken)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"{NOTHING[:-1]} (no network).\n"
