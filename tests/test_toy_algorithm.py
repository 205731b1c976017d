"""A new algorithm takes one module and one catalogue entry: everything works with it, from training to deletion.

`support/toy` has both. Its `sitecustomize.py` adds the entry to the catalogue in the processes of a run.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.pipeline import Roots

from common.files import read_json
from config.algorithm_catalog import CATALOG
from models.__main__ import main
from models.cold_start import recommend_for_new_user
from models.serving_store import ServingStore

TOY = Path(__file__).parent / "support" / "toy"
PYTHONPATH = os.pathsep.join(filter(None, [str(TOY), os.environ.get("PYTHONPATH", "")]))


def run_toy(pipeline: Roots, *flags: str) -> Path:
    """Run the pipeline with the toy algorithm in its catalogue; return the version."""
    versions = pipeline.models / "synthetic"
    before = set(versions.iterdir())
    ran = pipeline.call(*flags, PYTHONPATH=PYTHONPATH)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (version,) = (path for path in set(versions.iterdir()) - before if path.is_dir())
    return version


@pytest.fixture
def version(pipeline: Roots) -> Path:
    """A version whose champion is the tuned toy algorithm."""
    return run_toy(pipeline, '--selection-candidates=["toy"]', "--tune-trials=2", "--toy-boost=1.5")


def test_the_whole_pipeline_works_with_it(pipeline: Roots, version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_json(version / "metrics.json")["champion"] == "toy"
    assert read_json(version / "manifest.json")["settings"]["toy"] == {"boost": 1.5}
    trials = read_json(version / "tuning.json")["toy"]["trials"]
    assert len(trials) == 2
    assert trials[0]["settings"] == {"boost": 1.5}

    lists = pd.read_parquet(version / "recommendations")
    users = pd.read_parquet(version / "users.parquet")
    assert set(lists["user_id"]) == set(users["user_id"])
    assert (users["tier"] == "model").all()
    assert (lists["because"].str.len() == 1).all(), "each list entry is explained by the favourite track"

    with ServingStore(version) as store:
        track = lists["track_id"][0]
        assert len(store.similar(track, 5)) == 5
        assert len(recommend_for_new_user(store, {track: 3.0}, 4).lines) == 4

    user, index = str(users["user_id"][3]), int(users["index"][3])
    command = ["forget", f"--data={pipeline.data}", f"--models={pipeline.models}", "--", user]
    assert main(command) == 1, "without the entry, nobody knows which files have data about users"
    monkeypatch.syspath_prepend(TOY)
    monkeypatch.setitem(CATALOG, "toy", importlib.import_module("toy_algorithm").ENTRY)
    favourites = np.load(version / "model" / "favourites.npy")
    assert favourites[index] >= 0
    assert main(command) == 0
    remaining = np.load(version / "model" / "favourites.npy")
    assert remaining[index] == -1
    np.testing.assert_array_equal(np.delete(remaining, index), np.delete(favourites, index))


def test_it_can_be_blended(pipeline: Roots) -> None:
    version = run_toy(pipeline, '--selection-candidates=["hybrid"]', '--hybrid-parts=["toy", "content"]')
    tuning: dict[str, Any] = read_json(version / "tuning.json")["hybrid"]
    assert set(tuning["alone"]) == {"toy", "content"}
    assert read_json(version / "metrics.json")["champion"] == "hybrid"


def test_its_settings_are_checked(pipeline: Roots) -> None:
    ran = pipeline.call("--toy-boost=-1", PYTHONPATH=PYTHONPATH)
    assert "[toy] boost: '-1' is not a number from 0.0 to 100.0." in ran.stderr
