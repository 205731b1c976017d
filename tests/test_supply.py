"""What the project depends on: locked with hashes, its licences listed, its vulnerabilities asked for."""

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


def test_the_licences_of_all_that_is_locked_are_listed() -> None:
    listed = {
        name: versions.split(" or ")
        for name, versions in re.findall(r"^\| ([\w.-]+) \| (\d.*?) \|", DOCUMENT, re.MULTILINE)
    }
    assert listed == licences.locked(REQUIREMENTS)
    assert {"luigi", "pyspark", "pydantic", "colorama"} <= listed.keys()


def test_of_each_that_asks_for_something_in_return_it_is_said_what() -> None:
    asking = {
        name for name, licence in re.findall(r"^\| ([\w.-]+) \| \d.*? \| (.*) \|", DOCUMENT, re.MULTILINE)
        if licences.COPYLEFT.search(licence)
    }  # fmt: skip
    assert set(re.findall(r"^- `([\w.-]+)` \(", DOCUMENT, re.MULTILINE)) == asking == set(licences.MEANING)


def test_every_package_says_what_its_licence_is() -> None:
    assert not re.search(r"\| *(not said|UNKNOWN)? *\|$", DOCUMENT, re.MULTILINE)


def test_a_package_with_extras_and_one_with_two_versions_are_read() -> None:
    lock = "pydantic[email]==2.1 \\\n    --hash=sha256:0\nscipy==1.17 ; python_version < '3.12' \\\nscipy==1.18 \\\n"
    assert licences.locked(lock) == {"pydantic": ["2.1"], "scipy": ["1.17", "1.18"]}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-audit.txt"])
def test_each_locked_package_has_hashes(name: str) -> None:
    lock = (PROJECT / name).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z])", lock, flags=re.MULTILINE)[1:]
    assert len(entries) >= 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_what_audits_is_no_dependency() -> None:
    assert "pip-audit" not in (PROJECT / "pyproject.toml").read_text() + REQUIREMENTS


REST = "Not checked, the database does not know them: luigi."
NOTHING = "Nothing was checked: pip-audit does not reach the database of vulnerabilities."


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, "No vulnerability of 1 packages is known."),
        ([FAULTY], 1, "flask 3.1.0: CVE-1, put right in 3.1.1."),
        ([HOPELESS, UNKNOWN], 1, f"flask 3.1.0: CVE-2, not put right yet. {REST}"),
        ([SOUND, UNKNOWN], 2, f"No vulnerability of 1 packages is known. {REST}"),
        ([UNKNOWN], 2, NOTHING),
        ([], 2, NOTHING),
    ],
)
def test_what_was_not_checked_is_not_well(packages: list[dict[str, Any]], code: int, said: str) -> None:
    assert audit.verdict(json.dumps({"dependencies": packages, "fixes": []})) == (code, said)


def test_a_pip_audit_that_fails_has_checked_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "pip-audit"
    broken.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    broken.chmod(0o755)
    command = [sys.executable, "tools/audit.py", str(broken)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"{NOTHING[:-1]} (no network).\n"
