"""`python tools/audit.py PIP-AUDIT`: check the packages in requirements.txt for known vulnerabilities.

Exit codes: 0 no known vulnerability, 1 vulnerabilities found, 2 some or all packages could not be checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.txt"
OPTIONS = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]


def summarize(report: str, errors: str = "") -> tuple[int, str]:
    """Return the exit code and a message for pip-audit's output.

    Args:
        report: standard output; not JSON if pip-audit failed.
        errors: standard error.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        reason = f" ({errors.splitlines()[-1]})" if errors and not packages else ""
        return 2, f"No package was checked: pip-audit cannot reach the vulnerability database{reason}."
    vulnerabilities = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        + (f"fixed in {', '.join(fixes)}." if (fixes := vulnerability["fix_versions"]) else "no fix available.")
        for package in checked
        for vulnerability in package["vulns"]
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    rest = f" Not checked, because the database does not have them: {', '.join(skipped)}." if skipped else ""
    if vulnerabilities:
        return 1, "\n".join(vulnerabilities) + rest
    return 2 if skipped else 0, f"No known vulnerability (packages checked: {len(checked)}).{rest}"


def main(pip_audit: str) -> int:
    """Run pip-audit, print the result and return the exit code."""
    process = subprocess.run(
        [pip_audit, "--requirement", str(LOCK), *OPTIONS], capture_output=True, text=True, check=False
    )
    code, message = summarize(process.stdout, process.stderr.strip())
    print(message, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
