"""The documentation agrees with the code: settings, metrics, exit codes, commands, links, paths and pictures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.configuration import get_config
from support.metrics import documented_metrics, metric_rows

from config.paths import PROJECT
from config.settings import SECTIONS

DOCS = PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.glob("*.md"), PROJECT / "data" / "README.md"])
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
SOURCE_FOLDERS = (*(file.parent.name for file in PROJECT.glob("*/__init__.py")), "tests", "tools", "docs", ".ci")


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def code_in(text: str) -> Iterator[str]:
    """Yield the inline code and the lines of code blocks of a page."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def make_targets() -> set[str]:
    """Return the targets that have a rule in the Makefile, without files."""
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_settings_table_matches_the_code() -> None:
    documented = re.findall(r"^\| `\[(\w+)\] (\w+)` \| `(.*)` \| (.*) \|$", read(DOCS / "settings.md"), re.MULTILINE)
    defined = [
        (section.get_task_family(), key, parameter.serialize(parameter._default), parameter.description)
        for section in SECTIONS
        for key, parameter in section.get_params()
    ]
    assert sorted(documented) == sorted(defined)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_setting_mentioned_exists(page: Path) -> None:
    keys = {section.get_task_family(): {key for key, _ in section.get_params()} for section in SECTIONS}
    mentioned = [pair for code in code_in(read(page)) for pair in re.findall(r"^\[(\w+)\] (\w+)\b(?!…|_…)", code)]
    unknown = [(section, key) for section, key in mentioned if section in keys and key not in keys[section]]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_settings_flag_mentioned_exists(page: Path) -> None:
    sections = [section.get_task_family().replace("_", "-") for section in SECTIONS]
    flags = {
        f"{section.get_task_family()}-{key}".replace("_", "-")
        for section in SECTIONS
        for key, _ in section.get_params()
    }
    mentioned = re.findall(rf"--((?:{'|'.join(sections)})-[a-z-]+)", read(page))
    assert [flag for flag in mentioned if flag not in flags] == []


def test_metrics_table_matches_the_catalogue() -> None:
    assert documented_metrics(read(DOCS / "evaluation.md")) == metric_rows()


def test_exit_codes_match_luigi_cfg() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", read(DOCS / "running.md"), re.MULTILINE)}
    assert documented - {0} == {int(code) for code in get_config()["retcode"].values()}


def test_makefile_declares_every_target_phony_once() -> None:
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert sorted(phony.replace("\\\n", " ").split()) == sorted(make_targets())
    assert MAKEFILE.count(".DEFAULT_GOAL") == 1


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z-]+)  ", shown, re.MULTILINE)) == make_targets() - {"help"}
    assert [line for line in shown.splitlines() if len(line) > 100] == []


def test_make_clean_keeps_raw_data_and_versions() -> None:
    commands = subprocess.run(["make", "-n", "clean"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert "data/work" in commands
    assert not re.search(r"data/raw|data/\s|data$|models", commands, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_make_target_mentioned_exists(page: Path) -> None:
    mentioned = {target for code in code_in(read(page)) for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    assert mentioned <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", read(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_source_path_mentioned_exists(page: Path) -> None:
    folders = "|".join(map(re.escape, SOURCE_FOLDERS))
    paths = [
        path
        for code in code_in(read(page))
        for path in re.findall(rf"(?<![\w/<.])((?:{folders})/[\w./-]*[\w/])(?![\w<*…{{])", code)
    ]
    modules = [module for code in code_in(read(page)) for module in re.findall(r"python -m ([\w.]+)", code)]
    files = [module.replace(".", "/") for module in modules if module.split(".")[0] in SOURCE_FOLDERS]
    missing = [path for path in paths if not path.startswith("models/") and not (PROJECT / path).exists()]
    missing += [file for file in files if not ((PROJECT / file).is_dir() or (PROJECT / f"{file}.py").is_file())]
    assert missing == []


def test_readme_is_short() -> None:
    lines = read(PROJECT / "README.md").splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120] == []


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set[Path](), [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {(page.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)", read(page))}
        waiting += [other for other in linked if other not in reached and other.exists()]
    assert set(PAGES) <= reached


def test_pictures_are_used_and_small() -> None:
    shown = {
        (page.parent / name).resolve() for page in PAGES for name in re.findall(r"!\[.+\]\((.+\.png)\)", read(page))
    }
    assert shown == set(DOCS.glob("*.png"))
    assert [picture.name for picture in shown if picture.stat().st_size > 200_000] == []
