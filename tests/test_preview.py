"""`make preview`: rows that would be kept or rejected, before a run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from common.errors import UserError
from config.dataset import Dataset
from config.paths import PROJECT
from spark.ingest.preview import preview

DESCRIBED = Dataset.model_validate(
    {
        "name": "mine",
        "title": "Mine",
        "interactions": {
            "path": "plays.csv", "user": "user", "track": "track", "value": "plays", "time": "time",
            "feedback": "plays", "duplicates": "sum",
        },
        "tracks": {"path": "tracks.csv", "id": "id", "title": "name", "tags": "tags"},
    }
)  # fmt: skip
PLAYS = "user,track,plays,time\nu1,t1,3,1241478537\nu2,t1,1.5,1241478538\n,t2,1,1\nu3,t2,many,1\nu4,t2,x,1\n"


def test_counts_reasons_and_rows_are_shown(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "plays.csv").write_text(PLAYS)
    (tmp_path / "tracks.csv").write_text("id,name,tags\nt1,Amber \x1b[31mDawn,folk|pop\n,nobody,\nt2\n")
    lines = list(preview(spark, DESCRIBED, tmp_path))
    assert lines == [
        f"Mine: the first 5 rows of {tmp_path}/plays.csv",
        "",
        "  kept          2",
        "  rejected      3",
        "    not_a_number      2   e.g. 'u3,t2,many,1'",
        "    missing_user      1   e.g. ',t2,1,1'",
        "",
        "First rows kept (feedback: plays):",
        "",
        "  user_id  track_id  value  time",
        "  u1       t1        3      2009-05-04 23:08:57",
        "  u2       t1        1.5    2009-05-04 23:08:58",
        "",
        "  2 users, 1 tracks, values from 1.5 to 3, times from 2009-05-04 23:08:57 to 2009-05-04 23:08:58",
        "",
        "[tracks] tracks.csv: 2 of 3 rows malformed or without an id",
        "",
        "  track_id  title            tags",
        "  t1        Amber ?[31mDawn  folk|pop",
    ]


def test_only_the_first_thousand_rows_are_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "plays.csv").write_text("user,track,plays,time\n" + "u,t,1,1\n" * 1_500)
    (tmp_path / "tracks.csv").write_text("id,name,tags\n")
    lines = list(preview(spark, DESCRIBED, tmp_path))
    assert "  kept      1,000" in lines


def test_error_is_one_sentence(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "plays.csv").write_text(PLAYS.replace("plays", "playz"))
    with pytest.raises(UserError, match="no column 'plays'"):
        list(preview(spark, DESCRIBED, tmp_path))


def test_command_prints_the_preview(tmp_path: Path) -> None:
    (tmp_path / "mine [x].toml").write_text(
        'title = "Mine"\n[interactions]\npath = "plays.csv"\nuser = "user"\ntrack = "track"\nvalue = "plays"\n'
        'feedback = "plays"\nduplicates = "sum"\n'
    )
    (tmp_path / "plays.csv").write_text(PLAYS)
    make = ["make", "-s", "preview", f"DATASET={tmp_path / 'mine [x].toml'}"]
    ran = subprocess.run(
        [*make, f"RAW={tmp_path}"], cwd=PROJECT, env=os.environ.copy(), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "  kept          2\n" in ran.stdout
    ran = subprocess.run([*make, f"RAW={tmp_path}/no"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2  # make's own
    assert ran.stderr.startswith(f"Error: There is no plays.csv in {tmp_path}/no")
