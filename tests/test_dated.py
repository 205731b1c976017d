"""Dated runs: the time window of interactions, and backfills with Luigi's RangeDaily."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from luigi.task_register import Register
from pyspark.sql import SparkSession
from support.datasets import RATINGS, Ingested, dataset_of, write_csv, write_description
from support.pipeline import QUICK, Roots, configured
from support.processes import unused_port

from common.errors import UserError
from common.files import read_json
from config.paths import PROJECT, SUCCESS
from models.manifest import read_manifest
from models.registry import VersionRegistry
from run_records.reader import last_runs
from spark.ingest.data_profile import profile_interactions
from spark.ingest.raw_to_parquet import ingest
from workflow import Ingest, RecommendAsOf
from workflow.__main__ import main
from workflow.running.run import _sessions

FIRST = date(2026, 3, 1)
ABOUT = RATINGS | {"time_format": "iso8601"}
ROWS = """u1,old,4,2026-02-26T23:59:59Z
u1,t1,4,2026-02-27T00:00:00Z
u2,t1,5,2026-02-28T12:00:00Z
u2,t2,3,2026-02-28T23:59:59Z
u2,t2,2,2026-02-28T23:59:59Z
u3,t2,1,2026-03-01T00:00:00Z
late,new,5,2026-03-02T10:00:00Z
u1,t2,9,2026-03-09T00:00:00Z
u1,t3,4,
u1,t3,4,yesterday
"""


def ingest_window(
    spark: SparkSession, tmp_path: Path, as_of: date | None = None, days: int = 0, **tables: dict[str, Any]
) -> Ingested:
    """Ingest the rows with a time window."""
    raw, into = write_csv(tmp_path / "raw", ratings=f"user,track,rating,time\n{ROWS}"), tmp_path / "out"
    into.mkdir()
    return Ingested(ingest(spark, dataset_of(ABOUT, **tables), raw, into, 0.5, as_of, days), into)


class TestTimeWindow:
    def test_default_is_all_times(self, spark: SparkSession, tmp_path: Path) -> None:
        outcome = ingest_window(spark, tmp_path)
        assert (outcome.counted.kept, outcome.counted.outside) == (7, 0)
        assert outcome.counted.window.as_text() is None

    @pytest.mark.parametrize(
        ("as_of", "days", "inside", "outside", "since", "until"),
        [
            (FIRST, 0, "u1 old, u1 t1, u2 t1, u2 t2", 2, None, "2026-03-01T00:00:00Z"),
            (FIRST, 2, "u1 t1, u2 t1, u2 t2", 3, "2026-02-27T00:00:00Z", "2026-03-01T00:00:00Z"),
            # The last valid row is from 2 March; the row from 9 March is rejected.
            (None, 2, "u2 t1, u2 t2, u3 t2, late new", 2, "2026-02-28T10:00:01Z", "2026-03-02T10:00:01Z"),
        ],
        ids=["before a day", "days before a day", "days before the latest"],
    )
    def test_interactions_inside_are_kept(
        self,
        spark: SparkSession,
        tmp_path: Path,
        as_of: date | None,
        days: int,
        inside: str,
        outside: int,
        since: str | None,
        until: str,
    ) -> None:
        outcome = ingest_window(spark, tmp_path, as_of, days)
        counted = outcome.counted
        assert outcome.pairs().keys() == {tuple(pair.split()) for pair in inside.split(", ")}
        assert counted.rejected == {"out_of_range": 1, "bad_time": 2}
        assert counted.outside == outside
        rows = profile_interactions(spark, outcome.into, dataset_of(ABOUT), counted)
        assert (
            sum(rows["rows"][fate] for fate in ("kept", "merged", "rejected", "outside")) == rows["rows"]["read"] == 10
        )
        assert rows["window"] == {"from": since, "until": until}

    def test_empty_window_is_refused(self, spark: SparkSession, tmp_path: Path) -> None:
        with pytest.raises(UserError) as refused:
            ingest_window(spark, tmp_path, date(2026, 2, 20), 5)
        assert str(refused.value) == (
            f"{tmp_path / 'raw' / 'ratings.csv'} has no interactions from 2026-02-15T00:00:00Z to "
            "2026-02-20T00:00:00Z, the selected time window; its times range from 2026-02-26T23:59:59Z to "
            "2026-03-02T10:00:00Z: change --as-of or [ingest] "
            "window_days."
        )

    def test_ids_from_outside_the_window_are_dropped(self, spark: SparkSession, tmp_path: Path) -> None:
        own = {"tracks": {"path": "ratings.csv", "id": "track", "title": "upper(track)"}}
        outcome = ingest_window(spark, tmp_path, FIRST, **own, users={"path": "ratings.csv", "id": "user"})
        assert outcome.by_index("users")["user_id"].tolist() == ["u1", "u2"]
        assert outcome.by_index("tracks")[["track_id", "title"]].values.tolist() == [
            ["old", "OLD"], ["t1", "T1"], ["t2", "T2"],
        ]  # fmt: skip

    def test_separate_catalogue_is_kept(self, spark: SparkSession, tmp_path: Path) -> None:
        write_csv(tmp_path / "raw", tracks="id,title\nt1,One\nnew,New\n")
        outcome = ingest_window(spark, tmp_path, FIRST, tracks={"path": "tracks.csv", "id": "id", "title": "title"})
        assert outcome.by_index("tracks")["track_id"].tolist() == ["new", "old", "t1", "t2"]


def test_date_is_part_of_the_identity_only_if_given(tmp_path: Path) -> None:
    with configured(QUICK, Roots(tmp_path).paths):
        undated, undated_again = (Ingest(as_of=as_of).identity() for as_of in ("", ""))
        dated = Ingest(as_of="2026-03-01").identity()
    assert undated == undated_again
    assert dated == [*undated, "2026-03-01"]


@pytest.fixture
def dated(tmp_path: Path) -> dict[str, str]:
    """Write a dataset of 30 events on each of three days."""
    dataset = write_description(tmp_path / "mine.toml", user="who", track="what", time="at", feedback="events")
    midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    rows = [
        f"u{number % 5},t{number % 6 + day},{int((midnight + timedelta(days=day, minutes=number)).timestamp())}"
        for day in range(3)
        for number in range(30)
    ]
    write_csv(tmp_path / "raw", plays="who,what,at\n" + "\n".join(rows) + "\n")
    return {"dataset": dataset, "raw_dir": str(tmp_path / "raw")}


class TestBackfill:
    def fill(self, roots: Roots, dated: dict[str, str], first: date, days: int) -> int:
        """Fill a range of days through Luigi's RangeDaily; return the exit code."""
        last = first + timedelta(days=days - 1)
        Register.clear_instance_cache()  # RangeDaily instances cache the missing days
        settings = {"selection": {"candidates": '["als"]'}, "split": {"test_fraction": 0.3}}
        arguments = [
            f"--dataset={dated['dataset']}",
            f"--raw-dir={dated['raw_dir']}",
            f"--from={first}",
            f"--to={last}",
        ]
        with configured(QUICK, roots.paths, settings), pytest.raises(SystemExit) as ended:
            main(["backfill", *arguments, "--local-scheduler"])
        return int(str(ended.value.code))

    @pytest.mark.slow
    def test_backfill_runs_each_missing_day_once(
        self, dated: dict[str, str], spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        roots, models = Roots(tmp_path), tmp_path / "models" / "mine"
        records = roots.data / "runs" / "mine"

        # There are no interactions before the first day: its run fails, and the other days still run.
        assert self.fill(roots, dated, FIRST, 3) == 30
        output = capfd.readouterr()
        assert "3 of 3 days to do." in output.out
        assert "has no interactions before 2026-03-01T00:00:00Z" in output.err
        runs = sorted(last_runs(records), key=lambda run: run.as_of or "")
        assert [(run.as_of, run.status) for run in runs] == [
            ("2026-03-01", "failed"), ("2026-03-02", "done"), ("2026-03-03", "done"),
        ]  # fmt: skip
        for day in ("02", "03"):
            assert f"of mine as of 2026-03-{day}: " in output.out
            assert f"As of 2026-03-{day}" in output.out
        version_of = {read_manifest(models / name)["as_of"]: name for name in VersionRegistry(models).versions()}
        assert list(version_of) == ["2026-03-02", "2026-03-03"]  # in this order
        assert roots.current("mine") == version_of["2026-03-03"]
        assert read_json(models / version_of["2026-03-02"] / "profile.json")["rows"]["outside"] == 60
        contexts = [session.context for session in _sessions.values() if session.context.log.parent == records]
        assert [
            context.console._out.closed for context in sorted(contexts, key=lambda context: context.as_of or FIRST)
        ] == [
            True,
            True,
            False,
        ]
        for log in records.glob("*.log"):
            assert {line.split(" ")[0] for line in log.read_text().splitlines()} == {log.stem}

        # A backfill rebuilds the missing version; the newest version stays the serving one.
        (models / version_of["2026-03-02"] / SUCCESS).unlink()
        assert self.fill(roots, dated, FIRST + timedelta(days=1), 2) == 0
        output = capfd.readouterr()
        assert "1 of 2 days to do." in output.out
        assert "Not promoted: it is as of 2026-03-02, older than the serving version (as of 2026-03-03)." in output.out
        assert roots.current("mine") == version_of["2026-03-03"]
        assert len(list(records.glob("*.jsonl"))) == 4

        # Every day is complete: no run starts.
        assert self.fill(roots, dated, FIRST + timedelta(days=1), 2) == 0
        assert capfd.readouterr().out == "0 of 2 days to do.\n"
        assert len(list(records.glob("*.jsonl"))) == 4

    def test_refuses_invalid_dates(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["backfill", "--from=2026-3-1", "--to=2026-03-02"]) == 2
        assert capsys.readouterr().err == "Error: --from: '2026-3-1' is not a date such as 2026-03-01.\n"
        assert main(["backfill", "--from=2026-03-03", "--to=2026-03-02"]) == 2
        assert capsys.readouterr().err == "Error: The last day, 2026-03-02, is before the first, 2026-03-03.\n"

    def test_refuses_dataset_without_times(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with configured(QUICK, Roots(tmp_path).paths), pytest.raises(SystemExit) as refused:
            RecommendAsOf(date=FIRST, dataset="lastfm-2k").complete()
        assert refused.value.code == 35
        assert capfd.readouterr().err.startswith("Error: The dataset lastfm-2k has no timestamps, which --as-of and ")

    def test_runs_without_luigid(self, tmp_path: Path) -> None:
        port = unused_port()
        command = [str(Path(sys.executable).with_name("luigi")), "--module", "workflow", "RangeDaily"]
        days = ["--of", "RecommendAsOf", "--start", str(FIRST), "--stop", str(FIRST), f"--scheduler-port={port}"]
        ran = subprocess.run([*command, *days], cwd=PROJECT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0
        assert ran.stdout == f"No luigid answers at 127.0.0.1:{port}; scheduling locally.\n"
