"""Every stage declares the sources that its `make` imports, or a change there would go unnoticed."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

import workflow
from config.paths import PROJECT
from models.gate import LOWER_IS_BETTER
from spark.algorithms import _MODULES
from spark.ranking import CUTOFFS, METRICS
from workflow import settings
from workflow.stage import Stage
from workflow.tasks import _MODELS, _TABLES, ALGORITHMS

WITHOUT_INFLUENCE = {
    "config/durable.py", "config/errors.py", "config/paths.py", "config/__init__.py", "models/__init__.py",
    "spark/__init__.py", "spark/session.py", "spark/output.py", "config/redaction.py",
}  # fmt: skip
"""What every stage uses and no result depends on."""

STAGES = [getattr(workflow, name) for name in workflow.__all__]
DECLARED = {stage.__name__: stage.code for stage in STAGES if issubclass(stage, Stage)} | {
    "Train": (*ALGORITHMS["als"].code, *_MODELS, *_TABLES)
}
FROM_DESCRIPTION = {"config/dataset.py"}
"""What is read from a description reaches every stage through Ingest, which all come after."""


def imported(source: str) -> set[str]:
    """The files of ours that a piece of source imports itself."""
    files = set()
    for node in ast.walk(ast.parse(textwrap.dedent(source))):
        if isinstance(node, ast.ImportFrom) and node.module:
            path = Path(*node.module.split("."))
            files |= {str(path.with_suffix(".py")), str(path / "__init__.py")}
    return {file for file in files if (PROJECT / file).is_file()}


def reached(source: str) -> set[str]:
    """The same, with what those import in turn."""
    found: set[str] = set()
    waiting = imported(source)
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= imported((PROJECT / file).read_text(encoding="utf-8")) - found
    return found - WITHOUT_INFLUENCE


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if issubclass(stage, Stage)], ids=lambda stage: stage.__name__
)
def test_a_stage_declares_what_its_work_imports(stage: type[Stage]) -> None:
    needed = reached(inspect.getsource(stage.make)) - (FROM_DESCRIPTION if stage is not workflow.Ingest else set())
    assert needed <= set(DECLARED[stage.__name__])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_candidate_declares_what_its_algorithm_imports(name: str) -> None:
    needed = reached(f"from {_MODULES[name]} import fit") - FROM_DESCRIPTION
    assert needed <= {*ALGORITHMS[name].code, *_MODELS, *_TABLES}


def test_settings_offer_the_candidates_and_metrics_that_there_are() -> None:
    assert set(settings.CANDIDATES) == set(ALGORITHMS) == set(_MODULES)
    assert set(settings.METRICS) == {f"{name}@{k}" for k in CUTOFFS for name in METRICS}
    assert set(settings.SELECTABLE) - set(settings.METRICS) == LOWER_IS_BETTER


def test_what_is_declared_exists() -> None:
    assert all((PROJECT / file).is_file() for code in DECLARED.values() for file in code)
