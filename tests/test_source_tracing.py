"""A stage's fingerprint covers every source file that its work depends on, and nothing that it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import workflow
from config.paths import PROJECT
from workflow.outputs.source_tracing import SourceTracer, source_with_imports


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project: a imports b inside a function, b imports the submodule d.e, c is not imported."""
    files = {
        "a.py": "def work():\n    from b import helper\n    return helper\n",
        "b.py": "import os\nfrom d import e\n\ndef helper(): return e\n",
        "c.py": "import a\n",
        "d/__init__.py": "",
        "d/e.py": "import b  # a cycle\n",
        "common/errors.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_wherever_they_are(project: Path, tmp_path: Path) -> None:
    tracer = SourceTracer(tmp_path / "cache.json", project)
    assert set(tracer.digests("def f():\n    import a\n    from common.errors import X")) == {
        "a.py", "b.py", "d/__init__.py", "d/e.py",
    }  # fmt: skip


def test_a_changed_file_changes_its_digest_although_the_cache_remembers_the_others(project: Path) -> None:
    cache = project / "cache.json"
    before = SourceTracer(cache, project).digests("import a")
    (project / "d" / "e.py").write_text("import c\n")
    after = SourceTracer(cache, project).digests("import a")
    assert after["d/e.py"] != before["d/e.py"]
    assert after["b.py"] == before["b.py"]
    assert "c.py" in after


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_cache_is_no_cache(project: Path, text: str) -> None:
    (project / "cache.json").write_text(text)
    assert set(SourceTracer(project / "cache.json", project).digests("import c")) >= {"a.py", "c.py"}


def test_the_cache_is_used_while_size_and_time_are_the_same(project: Path) -> None:
    cache, file = project / "cache.json", project / "d" / "e.py"
    before = SourceTracer(cache, project).digests("import a")
    status = file.stat()
    file.write_text("import c  # a cycle\n"[: status.st_size].ljust(status.st_size, "\n"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert SourceTracer(cache, project).digests("import a") == before


def test_names_imported_at_the_top_of_the_module_count_where_make_uses_them() -> None:
    source = source_with_imports(workflow.SelectModel.make)
    assert "from models.promotion_gate import comparison_metric" in source
    assert "import read_blocklist" not in source


@pytest.mark.parametrize(
    ("stage", "files"),
    [
        (workflow.Ingest, {"spark/ingest/raw_lines.py", "spark/ingest/data_checks.py", "config/dataset.py"}),
        (workflow.Split, {"spark/splitting/temporal_split.py", "spark/storage/interaction_matrix.py"}),
        (workflow.Evaluate, {"spark/evaluation/diversity_kernel.py", "spark/lists/topk_kernel.py"}),
        (workflow.Recommend, {"spark/lists/explain.py", "config/fallbacks.py", "spark/lists/topk_kernel.py"}),
        (workflow.Publish, {"models/serving_store_writer.py", "models/track_audience.py"}),
        (workflow.Tune, {"workflow/hyperparameter_search.py", "spark/evaluation/blend_weights.py"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_stage_depends_on_what_its_work_imports(stage: type, files: set[str], tmp_path: Path) -> None:
    traced = SourceTracer(tmp_path / "cache.json").digests(source_with_imports(stage.make))
    assert files <= set(traced)
    assert not {file for file in traced if file.startswith(("common/", "webapp/"))}
    assert all((PROJECT / file).is_file() for file in traced)


@pytest.mark.parametrize("stage", [workflow.Recommend, workflow.EvaluateLists])
def test_lists_depend_on_the_fallback_algorithms(stage: type[workflow.Recommend], tmp_path: Path) -> None:
    modules = stage.depends_on(stage).modules  # type: ignore[arg-type]
    traced = SourceTracer(tmp_path / "cache.json").digests(source_with_imports(stage.make, modules))
    assert {"spark/algorithms/content.py", "spark/algorithms/segment_popularity.py"} <= set(traced)


def test_a_catalogue_entry_is_not_part_of_the_code_of_the_other_algorithms(tmp_path: Path) -> None:
    traced = SourceTracer(tmp_path / "cache.json").digests(source_with_imports(workflow.Train.make))
    assert "spark/algorithms/saved_model.py" in traced
    assert not {"config/algorithm_catalog.py", "config/metrics.py"} & set(traced)


def test_stage_does_not_depend_on_other_stages_or_on_the_workflow(tmp_path: Path) -> None:
    """An edit of one algorithm, or of a message of the run, must not rebuild everything."""
    traced = SourceTracer(tmp_path / "cache.json").digests(source_with_imports(workflow.Generate.make))
    assert {file for file in traced if not file.endswith("__init__.py")} == {"spark/ingest/synthetic_data.py"}
