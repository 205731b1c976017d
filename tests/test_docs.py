"""The documentation agrees with the code: settings, metrics, exit codes, commands, links, paths and pictures."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.configuration import get_config
from support.metrics import documented_metrics, metric_rows

from config.algorithm_catalog import CATALOG, algorithm_names
from config.dataset import load_dataset, shipped
from config.fallbacks import TIERS
from config.paths import PROJECT
from config.settings import SECTIONS
from spark.ingest.rejects import REASONS
from webapp import create_app

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


def first_column(text: str) -> list[str]:
    """Return the names in the first column of the first table in a text."""
    table = re.findall(r"^\| --- .*\n((?:\|.*\n)+)", text, re.MULTILINE)[0]
    return [name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]


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


def test_models_page_lists_every_algorithm_and_tier() -> None:
    candidates, tiers = (read(DOCS / "models.md").split(heading)[1] for heading in ("## Candidates", "## Fallbacks"))
    assert first_column(candidates) == list(algorithm_names())
    assert first_column(tiers) == list(TIERS)


def test_models_page_names_every_tunable_algorithm() -> None:
    (sentence,) = re.findall(r"^(.+)\s+have a search space", read(DOCS / "models.md"), re.MULTILINE)
    tunable = {name for name, algorithm in CATALOG.items() if algorithm.search_space}
    assert set(re.findall(r"`([\w-]+)`", sentence)) == tunable


def test_datasets_page_lists_every_description_and_reject_reason() -> None:
    page = read(DOCS / "datasets.md")
    assert sorted(first_column(page.split("## Shipped descriptions")[1])) == shipped()
    assert first_column(page.split("## Rejected rows")[1]) == list(REASONS)


def test_readme_description_is_valid(tmp_path: Path) -> None:
    (description,) = re.findall(r"^```toml\n(.*?)^```", read(PROJECT / "README.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.toml").write_text(description, encoding="utf-8")
    assert load_dataset(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_import_in_an_example_works(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)
    for module, name in re.findall(r"^from ([\w.]+) import (\w+)$", "".join(blocks), re.MULTILINE):
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_address_mentioned_is_served(page: Path, tmp_path: Path) -> None:
    addresses = {
        address.partition("?")[0]
        for code in code_in(read(page))
        for address in (
            *re.findall(r"127\.0\.0\.1:8000(/[^\s']+)", code),
            *re.findall(r"^(?:GET |POST )?(/(?:api/v1/.+|api|healthz|readyz|metrics))$", code),
        )
    }
    routes = create_app(tmp_path, tmp_path).url_map.bind("127.0.0.1")
    for address in addresses:
        assert routes.allowed_methods(address), address


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
def test_every_link_resolves(page: Path) -> None:
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
    reached, queue = set[Path](), [PROJECT / "README.md"]
    while queue:
        page = queue.pop()
        reached.add(page)
        linked = {(page.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)", read(page))}
        queue += [other for other in linked if other not in reached and other.exists()]
    assert set(PAGES) <= reached


def test_pictures_are_used_and_small() -> None:
    shown = {
        (page.parent / name).resolve() for page in PAGES for name in re.findall(r"!\[.+\]\((.+\.png)\)", read(page))
    }
    assert shown == set(DOCS.glob("*.png"))
    assert [picture.name for picture in shown if picture.stat().st_size > 200_000] == []
