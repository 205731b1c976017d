"""`python tools/audit.py PIP-AUDIT`: looks for known vulnerabilities of what requirements.txt locks.

Exit codes: 0 none is known, 1 some are, 2 it could not be checked, or not all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.txt"
OPTIONS = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def verdict(report: str, complaint: str = "") -> tuple[int, str]:
    """The exit code and what to say of pip-audit's report; where it failed, that is no JSON, and it complained."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        why = f" ({complaint.splitlines()[-1]})" if complaint and not packages else ""
        return 2, f"Nothing was checked: pip-audit does not reach the database of vulnerabilities{why}."
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, "
        + (f"put right in {', '.join(fault['fix_versions'])}." if fault["fix_versions"] else "not put right yet.")
        for package in checked
        for fault in package["vulns"]
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    rest = f" Not checked, the database does not know them: {', '.join(skipped)}." if skipped else ""
    if found:
        return 1, "\n".join(found) + rest
    return 2 if skipped else 0, f"No vulnerability of {len(checked)} packages is known.{rest}"


def main(pip_audit: str) -> int:
    """Prints the verdict."""
    asked = subprocess.run(
        [pip_audit, "--requirement", str(LOCK), *OPTIONS], capture_output=True, text=True, check=False
    )
    code, said = verdict(asked.stdout, asked.stderr.strip())
    print(said, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
