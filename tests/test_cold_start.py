"""Recommendations for new users."""

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
"""Factors of t1, t2 and t3; t4 has none."""
OBJECTIVE: dict[str, Any] = {
    "rank": 2, "reg_param": 0.1, "reg_exponent": 0.0, "value": "linear", "alpha": 10.0, "biases": False, "mean": 0.0,
}  # fmt: skip


def recommend(version: Path, heard: dict[str, float], k: int) -> ColdStartResult:
    """Recommend from the version's store."""
    with ServingStore(version) as store:
        return recommend_for_new_user(store, heard, k)


def with_factors(version: Path, part: str = "") -> Path:
    """Add a factor model to the version: the model itself, or a part of a hybrid."""
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
def test_folds_a_new_user_into_a_factor_model(tmp_path: Path, part: str) -> None:
    version = with_factors(write_version(tmp_path / "tiny", "v1"), part)
    result = recommend(version, {"t1": 2.0}, 10)
    assert result.folded_in
    assert [entry.track.track_id for entry in result.lines] == ["t2", "t3"]  # t1 was heard, t4 has no factors
    user = FoldIn(np.vstack([FACTORS, np.zeros((1, 2), np.float32)]), OBJECTIVE).user_factors(
        np.array([0]), np.array([2.0])
    )
    assert [entry.score for entry in result.lines] == pytest.approx((FACTORS[1:] @ user).tolist())


def test_scores_depend_on_the_number_of_plays(tmp_path: Path) -> None:
    version = with_factors(write_version(tmp_path / "tiny", "v1"))
    scores = [recommend(version, {"t1": 1.0, "t3": plays}, 1).lines[0].score for plays in (0.01, 9.0)]
    assert scores[0] != pytest.approx(scores[1], rel=1e-3)


def test_sums_similarities_without_a_factor_model(tmp_path: Path) -> None:
    result = recommend(write_version(tmp_path / "tiny", "v1"), {"t1": 1.0, "gone": 1.0}, 1)
    assert not result.folded_in
    assert [entry.track.track_id for entry in result.lines] == ["t3"]
    assert result.unknown == ["gone"]


def test_refuses_a_history_of_unknown_tracks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="None of 'gone' is a track of version v1"):
        recommend(write_version(tmp_path / "tiny", "v1"), {"gone": 1.0}, 1)


def test_concurrent_first_requests_open_the_factors_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, opened, open_model = with_factors(write_version(tmp_path / "tiny", "v1")), [], FoldIn.open

    def counting_open(model: Path, num_tracks: int) -> FoldIn:
        opened.append(model)
        time.sleep(0.05)
        return open_model(model, num_tracks)

    monkeypatch.setattr(FoldIn, "open", counting_open)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: recommend(version, {"t1": 2.0}, 10), range(8)))
    assert opened == [version / "model"]
    assert results == results[:1] * 8


def test_reads_factors_from_several_files(tmp_path: Path) -> None:
    files = tmp_path / "itemFactors"
    files.mkdir()
    rows = np.arange(20_000, dtype=np.float32).reshape(-1, 2)
    for number, ids in enumerate(np.split(np.arange(len(rows), dtype=np.int32), [1, 6_000])):
        features = pa.array(rows[ids].tolist(), pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": ids, "features": features}), files / f"{number}.parquet")
    write_json(tmp_path / "algorithm.json", {"objective": OBJECTIVE})
    opened = FoldIn.open(tmp_path, len(rows) + 1)
    assert (opened.tracks == np.vstack([rows, np.zeros((1, 2))])).all()


def test_imports_numpy_only_to_fold_in_and_restores_the_environment(tmp_path: Path) -> None:
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
    process = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert process.stdout.split("\n") == ["[]", "True True", "None", ""]
