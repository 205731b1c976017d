"""Recommendations for somebody whom no model knows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.versions import write_version

from common.files import write_json
from config.paths import PROJECT
from models.cold_start import ColdStartResult, recommend_for_new_user
from models.fold_in import FoldIn
from models.serving_store import ServingStore

FACTORS = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
"""Of t1, t2 and t3; nothing is known of t4."""
OBJECTIVE: dict[str, Any] = {
    "rank": 2, "reg_param": 0.1, "reg_exponent": 0.0, "value": "linear", "alpha": 10.0, "biases": False, "mean": 0.0,
}  # fmt: skip


def recommended(version: Path, heard: dict[str, float], k: int) -> ColdStartResult:
    """From a version's own store."""
    with ServingStore(version) as store:
        return recommend_for_new_user(store, heard, k)


def with_factors(version: Path, part: str = "") -> Path:
    """The version with a factor model."""
    model = version / "model" / part
    (model / "itemFactors").mkdir(parents=True)
    features = pa.array(FACTORS.tolist(), pa.list_(pa.float32()))
    pq.write_table(
        pa.table({"id": pa.array(range(3), pa.int32()), "features": features}), model / "itemFactors" / "p.parquet"
    )
    if part:
        write_json(version / "model" / "algorithm.json", {"name": "hybrid"})
    write_json(model / "algorithm.json", {"name": "als", "objective": OBJECTIVE})
    return version


@pytest.mark.parametrize("part", ["", "als"], ids=["a factor model", "a part of a hybrid"])
def test_where_there_are_factors_the_newcomer_is_folded_in(tmp_path: Path, part: str) -> None:
    version = with_factors(write_version(tmp_path / "tiny", "v1"), part)
    found = recommended(version, {"t1": 2.0}, 10)
    assert found.folded_in
    assert [line.track.track_id for line in found.lines] == ["t2", "t3"]  # t1 was heard, of t4 nothing is known
    own = FoldIn(np.vstack([FACTORS, np.zeros((1, 2), np.float32)]), OBJECTIVE).user(np.array([0]), np.array([2.0]))
    assert [line.score for line in found.lines] == pytest.approx((FACTORS[1:] @ own).tolist())


def test_how_often_a_track_was_heard_counts(tmp_path: Path) -> None:
    version = with_factors(write_version(tmp_path / "tiny", "v1"))
    scores = [recommended(version, {"t1": 1.0, "t3": plays}, 1).lines[0].score for plays in (0.01, 9.0)]
    assert scores[0] != pytest.approx(scores[1], rel=1e-3)


def test_without_factors_what_is_similar_counts(tmp_path: Path) -> None:
    found = recommended(write_version(tmp_path / "tiny", "v1"), {"t1": 1.0, "gone": 1.0}, 1)
    assert not found.folded_in
    assert [line.track.track_id for line in found.lines] == ["t3"]
    assert found.unknown == ["gone"]


def test_of_unknown_tracks_alone_nothing_follows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="None of 'gone' is a track of version v1"):
        recommended(write_version(tmp_path / "tiny", "v1"), {"gone": 1.0}, 1)


def test_the_first_requests_open_the_factors_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, opened, usual = with_factors(write_version(tmp_path / "tiny", "v1")), [], FoldIn.open

    def counted(model: Path, num_tracks: int) -> FoldIn:
        opened.append(model)
        time.sleep(0.05)
        return usual(model, num_tracks)

    monkeypatch.setattr(FoldIn, "open", counted)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: recommended(version, {"t1": 2.0}, 10), range(8)))
    assert opened == [version / "model"]
    assert answers == answers[:1] * 8


def test_factors_may_lie_in_several_files(tmp_path: Path) -> None:
    files = tmp_path / "itemFactors"
    files.mkdir()
    rows = np.arange(20_000, dtype=np.float32).reshape(-1, 2)
    for number, ids in enumerate(np.split(np.arange(len(rows), dtype=np.int32), [1, 6_000])):
        features = pa.array(rows[ids].tolist(), pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": ids, "features": features}), files / f"{number}.parquet")
    write_json(tmp_path / "algorithm.json", {"objective": OBJECTIVE})
    opened = FoldIn.open(tmp_path, len(rows) + 1)
    assert (opened.tracks == np.vstack([rows, np.zeros((1, 2))])).all()


def test_numpy_is_loaded_for_folding_in_alone_and_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    version = with_factors(write_version(tmp_path / "tiny", "v1"))
    script = f"""
import os, sys
from pathlib import Path
from models.cold_start import recommend_for_new_user
from models.serving_store import ServingStore
print(sorted({{"numpy", "pyarrow"}} & set(sys.modules)))
with ServingStore(Path({str(version)!r})) as store:
    print(recommend_for_new_user(store, {{"t1": 1.0}}, 1).folded_in, "numpy" in sys.modules)
print(os.environ.get("OPENBLAS_NUM_THREADS"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n") == ["[]", "True True", "None", ""]
