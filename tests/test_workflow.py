"""The pipeline end to end, through `luigi.build`: what it makes, and what it makes again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import luigi
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from support.datasets import write_csv, write_description
from support.pipeline import QUICK, SMALL, Ran, Roots, configured
from support.processes import PATIENCE_S

from common.errors import UserError
from common.files import read_json, write_json
from common.locks import exclusive_lock, lock_path
from config.algorithm_catalog import CATALOG
from config.paths import PROJECT, SUCCESS
from models.audit_log import AUDIT
from models.manifest import read_manifest, verify_version
from models.recommender import recommend
from models.registry import VersionRegistry
from models.serving_store import ServingStore
from spark.ingest.raw_to_parquet import ingest
from workflow import Generate, Ingest, Publish, Recommend, RecommendAll, Split, Train
from workflow.pipeline_task import PipelineTask
from workflow.running.failures import is_transient
from workflow.stage import RowCounts, Stage

STAGES = {
    "Generate", "Ingest", "Split", "Tune hybrid", "SelectModel", "Refit", "Recommend", "Publish", "Promote",
    *(f"{stage} {name}" for stage in ("Train", "Evaluate") for name in CATALOG),
}  # fmt: skip
LASTFM = PROJECT.parent / "shared" / "datasets" / "lastfm-2k"


def last_promotion(roots: Roots) -> dict[str, Any]:
    """The last line of the audit."""
    line: dict[str, Any] = json.loads((roots.models / "synthetic" / AUDIT).read_text().splitlines()[-1])
    return line


@pytest.fixture
def version(finished: tuple[Roots, Ran]) -> Path:
    """The version that the first run published."""
    return finished[0].models / "synthetic" / finished[0].current()


@pytest.fixture
def plays(tmp_path: Path) -> dict[str, str]:
    """A dataset of somebody's own: a description and a file."""
    dataset = write_description(tmp_path / "mine.toml", user="who", track="what", value="plays", feedback="plays")
    raw = write_csv(tmp_path / "raw", plays="who,what,plays\na,x,1\na,y,2\nb,x,3\n")
    return {"dataset": dataset, "raw_dir": str(raw)}


class TestFirstRun:
    def test_succeeds_and_records_every_stage_once(self, finished: tuple[Roots, Ran]) -> None:
        roots, ran = finished
        assert ran.succeeded
        assert ran.statuses == dict.fromkeys(STAGES, "done")
        first, *between, last = ran.record
        stages = [line for line in between if line["event"] == "stage"]
        assert (first["event"], last["event"], last["status"]) == ("run_started", "run_finished", "done")
        assert last["version"] == roots.current()
        begun = [line for line in between if line["event"] == "stage_started"]
        assert [(line["stage"], line["model"], line["at"]) for line in begun] == [
            (line["stage"], line["model"], line["started"]) for line in stages
        ]
        wanted = {
            "run",
            "stage",
            "model",
            "fingerprint",
            "status",
            "started",
            "duration_s",
            "rows_in",
            "rows_out",
            "error",
        }
        assert all(wanted <= line.keys() for line in stages)

    def test_version_fulfils_the_contract(self, finished: tuple[Roots, Ran], version: Path) -> None:
        documents = {f"{name}.json" for name in ("manifest", "metrics", "profile", "leaderboard", "tuning")}
        tables = {f"{name}.parquet" for name in ("users", "tracks", "evaluation")}
        assert documents | tables | {"model", "recommendations", "similar", "serving.sqlite", SUCCESS} == {
            path.name for path in version.iterdir()
        }
        manifest = read_manifest(version)
        assert {
            "schema_version", "version", "sequence", "created_at", "dataset", "settings", "inputs", "code", "libraries",
            "counts", "files",
        } <= manifest.keys()  # fmt: skip
        assert manifest["version"] == version.name
        assert finished[1].record[0]["at"] <= manifest["ingested_at"] <= manifest["created_at"]
        assert manifest["counts"]["users"] == SMALL["num_users"]
        assert verify_version(version) == []

    def test_every_user_gets_the_best_unheard_tracks(self, finished: tuple[Roots, Ran], version: Path) -> None:
        lists = pd.read_parquet(version / "recommendations")
        users, tracks = (pd.read_parquet(version / f"{name}.parquet") for name in ("users", "tracks"))
        (ingested,) = (finished[0].data / "work" / "synthetic" / "Ingest").glob("*/interactions")
        heard = pd.read_parquet(ingested)
        heard_ids = set(zip(users["user_id"][heard["user"]], tracks["track_id"][heard["track"]], strict=True))
        assert not heard_ids & set(zip(lists["user_id"], lists["track_id"], strict=True))
        expected = np.minimum(20, len(tracks) - users.set_index("user_id")["interactions"])
        assert lists.groupby("user_id").size().to_dict() == expected.to_dict()
        for _, mine in lists.sort_values("rank").groupby("user_id"):
            assert mine["rank"].tolist() == list(range(1, len(mine) + 1))
            assert mine["score"].is_monotonic_decreasing

    def test_recommend_agrees_with_the_parquet(self, finished: tuple[Roots, Ran], version: Path) -> None:
        lists = pd.read_parquet(version / "recommendations").sort_values(["user_id", "rank"])
        for user, mine in lists.groupby("user_id"):
            frame = recommend(finished[0].models / "synthetic", str(user), 20)
            assert frame["track_id"].tolist() == mine["track_id"].tolist()
            assert frame["score"].tolist() == mine["score"].tolist()
            assert frame["title"].notna().all()

    def test_metrics_are_present_only_where_they_apply(self, version: Path) -> None:
        metrics = read_json(version / "metrics.json")
        assert set(metrics["models"]) == set(CATALOG) - {"segment-popularity"}  # no country has enough users
        best = max(metrics["models"], key=lambda name: metrics["models"][name]["ndcg@10"])
        assert metrics["champion"] == best
        assert {"rmse", "mae"} <= metrics["models"]["als_explicit"].keys()
        assert not {"rmse", "mae"} & metrics["models"]["als"].keys()
        ingested = read_json(version / "profile.json")["interactions"]
        assert sum(metrics["split"][part] for part in ("train", "validation", "test")) == ingested

    def test_metrics_have_intervals(self, version: Path) -> None:
        metrics = read_json(version / "metrics.json")
        assert set(metrics["intervals"]) == set(metrics["segments"]) == set(metrics["models"])
        for name, intervals in metrics["intervals"].items():
            assert {"ndcg@10", "recall@20", "novelty@10", "diversity@20", "cold_users"} <= intervals.keys()
            for metric, (low, high) in intervals.items():
                assert low - 1e-6 <= metrics["models"][name][metric] <= high + 1e-6
        assert "rmse" in metrics["intervals"]["als_explicit"]

    def test_every_candidate_has_a_curve(self, version: Path) -> None:
        metrics = read_json(version / "metrics.json")
        assert set(metrics["curves"]) == set(metrics["models"])
        for name, of_lengths in metrics["curves"].items():
            for metric, values in of_lengths.items():
                at_cutoffs = [metrics["models"][name][f"{metric}@{k}"] for k in (10, 20)]
                assert (len(values), [values[9], values[19]]) == (20, at_cutoffs)

    def test_leaderboard_has_differences_between_candidates(self, version: Path) -> None:
        metrics, (*board, left_out) = (read_json(version / f"{name}.json") for name in ("metrics", "leaderboard"))
        assert left_out["model"] == "segment-popularity"
        assert left_out["reason"] == "users have neither country nor age that enough of them share"
        values = {name: figures["ndcg@10"] for name, figures in metrics["models"].items()}
        assert [entry["model"] for entry in board] == sorted(values, key=values.__getitem__, reverse=True)
        for entry in board:
            mine = values[entry["model"]]
            assert entry["ndcg@10"] == mine
            assert entry["interval"] == metrics["intervals"][entry["model"]]["ndcg@10"]
            for key, other in (("to_popularity", "popularity"), ("to_champion", metrics["champion"])):
                assert entry[key]["difference"] == pytest.approx(mine - values[other])
                low, high = entry[key]["interval"]
                assert low <= entry[key]["difference"] + 1e-6
                assert entry[key]["difference"] <= high + 1e-6

    def test_version_keeps_its_evaluation_for_later_comparisons(self, version: Path) -> None:
        metrics, kept = read_json(version / "metrics.json"), pd.read_parquet(version / "evaluation.parquet")
        assert len(kept) == metrics["split"]["users_evaluated"]
        for column, name in (("champion", metrics["champion"]), ("popularity", "popularity")):
            assert kept[column].mean() == pytest.approx(metrics["models"][name]["ndcg@10"])

    def test_history_contains_the_listened_tracks(self, finished: tuple[Roots, Ran], version: Path) -> None:
        ratings = pd.read_csv(next(finished[0].data.glob("work/synthetic/Generate/*/ratings.csv")), dtype=str)
        mine = ratings[ratings["user_id"] == "7"].sort_values("time").drop_duplicates("track_id", keep="last")
        with ServingStore(version) as store:
            history = {line.track.track_id: line.score for line in store.history("7", 100)}
        assert history == {track: float(rating) for track, rating in zip(mine["track_id"], mine["rating"], strict=True)}


class TestNextRun:
    def test_has_nothing_to_do(self, pipeline: Roots) -> None:
        before = sorted(path for path in pipeline.root.rglob("*") if "runs" not in path.parts)
        ran = pipeline.run()
        assert ran.succeeded
        assert ran.statuses == dict.fromkeys(STAGES, "skipped")
        assert ran.record[-1]["status"] == "nothing_to_do"
        assert sorted(path for path in pipeline.root.rglob("*") if "runs" not in path.parts) == before

    def test_changed_setting_reruns_its_stages_and_reverting_only_promotes(self, pipeline: Roots) -> None:
        first = pipeline.current()
        changed = pipeline.run(settings={"recommend": {"k": 7}})
        assert changed.made == {"Recommend", "Publish", "Promote"}
        assert pipeline.current() != first
        assert pipeline.run().made == {"Promote"}
        assert pipeline.current() == first

    @pytest.mark.parametrize(
        ("section", "candidates"), [("als", {"als", "hybrid"}), ("item_knn", {"item-knn"})], ids=["a part", "no part"]
    )
    def test_trains_only_the_candidate_that_changed(self, pipeline: Roots, section: str, candidates: set[str]) -> None:
        changed = {"als": {"rank": 5, "max_iter": 3}, "item_knn": {"neighbours": 7}}
        ran = pipeline.run(settings={section: changed[section]})
        own = {f"{stage} {name}" for stage in ("Train", "Evaluate") for name in candidates}
        tuned = {"Tune hybrid"} & {f"Tune {name}" for name in candidates}
        assert ran.made - {"Promote"} == own | tuned | {"SelectModel", "Refit", "Recommend", "Publish"}

    @pytest.mark.parametrize("strategy", ["temporal", "leave_last_n"])
    def test_temporal_split_is_recorded(self, pipeline: Roots, strategy: str) -> None:
        ran = pipeline.run(settings={"split": {"strategy": strategy}})
        assert ran.succeeded
        split = read_json(pipeline.models / "synthetic" / ran.record[-1]["version"] / "metrics.json")["split"]
        assert split["strategy"] == strategy
        assert ("test_from" in split) == ("validation_from" in split) == (strategy == "temporal")

    def test_settings_without_effect_on_results_change_nothing(self, pipeline: Roots) -> None:
        ran = pipeline.run(settings={"spark_session": {"shuffle_partitions": 3, "driver_memory": "1g"}})
        assert ran.made == set()

    def test_removed_output_is_made_again(self, pipeline: Roots) -> None:
        version = pipeline.current()
        shutil.rmtree(pipeline.models / "synthetic" / version)
        shutil.rmtree(pipeline.data / "work" / "synthetic" / "Recommend")
        assert pipeline.run().made == {"Recommend", "Publish"}
        assert verify_version(pipeline.models / "synthetic" / version) == []

    def test_removes_leftovers_of_a_killed_run(self, pipeline: Roots) -> None:
        debris = pipeline.data / "work" / "synthetic" / "Split" / "0123456789abcdef.staging"
        debris.mkdir()
        pipeline.run()
        assert not debris.exists()


class TestPromotionGate:
    def test_refuses_a_version_of_much_less_data(self, pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
        first = pipeline.current()
        smaller = {"synthetic": {**SMALL, "num_users": 20}}
        ran = pipeline.run(settings=smaller)
        assert ran.succeeded
        assert "Not promoted: it has 20 users, fewer than [publish] min_size = 0.5 × 60 of" in capfd.readouterr().out
        assert ran.record[-1]["refusal"].startswith("it has 20 users, fewer than [publish] min_size = 0.5 × 60 of")
        assert ran.record[-1]["comparison"]
        assert pipeline.current() == first
        assert len(VersionRegistry(pipeline.models / "synthetic").versions()) == 2

    def test_does_not_compare_with_a_deleted_version(self, pipeline: Roots) -> None:
        shutil.rmtree(pipeline.models / "synthetic" / pipeline.current())
        assert pipeline.run(settings={"recommend": {"k": 7}}).succeeded
        assert (pipeline.models / "synthetic" / pipeline.current() / SUCCESS).is_file()

    def test_does_not_promote_over_a_pin(self, pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
        root, first = pipeline.models / "synthetic", pipeline.current()
        VersionRegistry(root).roll_back(first, expected=first)
        ran = pipeline.run(settings={"recommend": {"k": 7}})
        assert ran.succeeded
        assert pipeline.current() == first
        assert "pinned" in capfd.readouterr().out

    def test_reports_and_records_the_comparison(self, pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
        assert pipeline.run(settings={"recommend": {"k": 7}}).succeeded  # the same champion, measured the same
        metrics, compared = pipeline.metrics(), last_promotion(pipeline)["comparison"]
        champion, models = metrics["champion"], metrics["models"]
        assert compared["metric"] == "ndcg@10"
        assert compared["to_serving"] == {"difference": 0.0, "interval": [0.0, 0.0]}
        gain = models[champion]["ndcg@10"] - models["popularity"]["ndcg@10"]
        assert compared["to_popularity"]["difference"] == pytest.approx(gain)
        said = capfd.readouterr().out
        assert f"{champion} against popularity: ndcg@10 {gain:+.3f} [" in said
        assert "]; against the serving version: +0.000 [+0.000, +0.000]." in said

    def test_reports_that_the_splits_differ(self, pipeline: Roots, capfd: pytest.CaptureFixture[str]) -> None:
        assert pipeline.run(settings={"split": {"seed": 7}}).succeeded
        assert "The serving version was measured on another split" in capfd.readouterr().out

    def test_compares_by_ranking_metric_if_selected_by_error(
        self, pipeline: Roots, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert pipeline.run(settings={"selection": {"select_by": "rmse"}}).succeeded
        (version,) = (v for v in (pipeline.models / "synthetic").glob("*/leaderboard.json") if "rmse" in v.read_text())
        entry, *_ = read_json(version)
        assert set(entry) == {"model", "rmse", "interval"}
        assert "als_explicit against popularity: ndcg@10 " in capfd.readouterr().out


class TestRules:
    """Of lists; every list stands on a tier."""

    def test_lists_follow_the_rules_and_their_effect_is_measured(
        self, pipeline: Roots, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        tracks = pd.read_parquet(next((pipeline.models / "synthetic").glob("*/tracks.parquet")))
        (tmp_path / "blocked.csv").write_text(f"kind,name\ntrack,{tracks['track_id'][0]}\n", encoding="utf-8")
        asked = {"max_per_artist": 1, "blocked": str(tmp_path / "blocked.csv"), "new_share": 0.1}
        ran = pipeline.run(settings={"recommend": asked})
        assert ran.made == {"EvaluateLists", "Recommend", "Publish", "Promote"}
        served = pipeline.models / "synthetic" / (pipeline.models / "synthetic" / "current").read_text().strip()
        lists = pd.read_parquet(served / "recommendations").merge(tracks, on="track_id")
        assert not lists.duplicated(["user_id", "artist"]).any()
        assert tracks["track_id"][0] not in set(lists["track_id"])
        found = read_json(served / "metrics.json")["lists"]
        assert found["metrics"]["diversity@10"] > 0
        assert found["curves"]["ndcg"][9] == found["metrics"]["ndcg@10"]
        assert set(found["to_champion"]) == {"metric", "difference", "interval"}
        assert "The rules of [recommend] change the champion's lists: ndcg@10 " in capfd.readouterr().out

    def test_without_rules_lists_are_the_champions(self, version: Path) -> None:
        assert "lists" not in read_json(version / "metrics.json")
        assert set(pd.read_parquet(version / "users.parquet")["tier"]) == {"model"}


class TestFailure:
    def test_keeps_the_served_version_and_stops_dependent_stages(
        self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def broken(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
            (into / "half").write_text("written")
            raise UserError("The disk of the test is full.")

        monkeypatch.setattr(Split, "make", broken)
        first = pipeline.current()
        ran = pipeline.run()
        assert not ran.succeeded
        assert ran.statuses == {"Split": "failed"}
        assert ran.record[-2]["error"] == "The disk of the test is full."
        assert ran.record[-1]["status"] == "failed"
        assert "Error: Split failed: The disk of the test is full." in capfd.readouterr().err
        assert pipeline.current() == first
        assert not list((pipeline.data / "work" / "synthetic" / "Split").glob("*.staging"))

    def test_transient_error_is_retried(self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = []

        def flaky(self: Split, *, into: Path, **inputs: Path) -> RowCounts:
            attempts.append(sorted(path.name for path in into.iterdir()))
            (into / "half").write_text("written")
            if len(attempts) < 3:
                raise ConnectionError("The JVM went away.")
            return RowCounts(1, 1)

        monkeypatch.setattr(Split, "make", flaky)
        assert pipeline.run(Split).succeeded
        assert attempts == [[], [], []]

    def test_user_error_is_not_retried(self) -> None:
        assert is_transient(ConnectionRefusedError())
        assert not is_transient(UserError("wrong"))
        assert not is_transient(ValueError("wrong"))

    def test_failed_candidate_lets_the_others_finish(self, pipeline: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
        original = Train.make

        def broken(self: Train, *, into: Path, **inputs: Path) -> RowCounts:
            if self.candidate == "als":
                raise UserError("als is broken.")
            return original(self, into=into, **inputs)

        monkeypatch.setattr(Train, "make", broken)
        ran = pipeline.run()
        assert ran.statuses == {
            "Train als": "failed",
            **{f"{stage} {name}": "done" for stage in ("Train", "Evaluate") for name in CATALOG if name != "als"},
        }  # fmt: skip
        assert ran.record[-1]["status"] == "failed"


class TestOwnData:
    def test_empty_part_is_refused(self, plays: dict[str, str], spark: SparkSession, tmp_path: Path) -> None:
        ran = Roots(tmp_path).run(Split, **plays, settings={"split": {"test_fraction": 0.01}})
        assert not ran.succeeded
        assert ran.record[-2]["error"] == (
            "The split left {'train': 3, 'validation': 0, 'test': 0} interactions: add data, or change [split] "
            "test_fraction."
        )

    def test_temporal_split_requires_times(self, plays: dict[str, str], spark: SparkSession, tmp_path: Path) -> None:
        ran = Roots(tmp_path).run(Split, **plays, settings={"split": {"strategy": "temporal"}})
        assert not ran.succeeded
        assert "[split] strategy = temporal needs times" in ran.record[-2]["error"]

    def test_path_may_contain_brackets(self, plays: dict[str, str], spark: SparkSession, tmp_path: Path) -> None:
        named = Path(plays["dataset"]).rename(tmp_path / "my [x] {y}.toml")
        roots = Roots(tmp_path)
        ran = roots.run(**plays | {"dataset": str(named)}, settings={"split": {"test_fraction": 0.5}})
        assert ran.succeeded
        assert recommend(roots.models / "my [x] {y}", "b")["track_id"].tolist() == ["y"]

    def test_change_while_reading_is_refused(
        self, plays: dict[str, str], spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def growing(*arguments: Any) -> Any:
            counted = ingest(*arguments)
            with (Path(plays["raw_dir"]) / "plays.csv").open("a") as file:
                file.write("b,y,1\n")
            return counted

        monkeypatch.setattr("spark.ingest.raw_to_parquet.ingest", growing)
        ran = Roots(tmp_path).run(Ingest, **plays)
        assert not ran.succeeded
        assert "plays.csv changed while it was read" in ran.record[-2]["error"]
        assert not list(tmp_path.glob("data/work/mine/Ingest/*/"))


class TestFingerprints:
    def fingerprint(self, stage: type[Stage], roots: Roots, **parameters: str) -> str:
        with configured(QUICK, roots.paths):
            return stage(**parameters).fingerprint

    def test_follow_symbolic_links(self, plays: dict[str, str], tmp_path: Path) -> None:
        roots, file = Roots(tmp_path), Path(plays["raw_dir"]) / "plays.csv"
        first = self.fingerprint(Ingest, roots, **plays)
        file.rename(tmp_path / "elsewhere.csv")
        file.symlink_to(tmp_path / "elsewhere.csv")
        assert self.fingerprint(Ingest, roots, **plays) == first

    def test_depend_on_content_of_raw_files_not_on_times(self, plays: dict[str, str], tmp_path: Path) -> None:
        roots, file = Roots(tmp_path), Path(plays["raw_dir"]) / "plays.csv"
        first = self.fingerprint(Ingest, roots, **plays)
        file.touch()
        assert self.fingerprint(Ingest, roots, **plays) == first
        moved = file.parent.rename(tmp_path / "elsewhere")
        assert self.fingerprint(Ingest, roots, **plays | {"raw_dir": str(moved)}) == first
        (moved / "plays.csv").write_text("who,what,plays\na,x,1\na,y,2\nb,x,4\n")
        assert self.fingerprint(Ingest, roots, **plays | {"raw_dir": str(moved)}) != first

    def test_unchanged_file_is_not_read_again(
        self, plays: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        roots = Roots(tmp_path)
        self.fingerprint(Ingest, roots, **plays)
        read: list[Any] = []
        monkeypatch.setattr("workflow.outputs.raw_file_digests.sha256", lambda path: read.append(path) or "0")
        self.fingerprint(Ingest, roots, **plays)
        assert not [path for path in read if path.suffix == ".csv"]

    def test_title_changes_only_the_version(self, plays: dict[str, str], tmp_path: Path) -> None:
        roots, description = Roots(tmp_path), Path(plays["dataset"])
        before = [self.fingerprint(stage, roots, **plays) for stage in (Ingest, Publish)]
        description.write_text(description.read_text().replace("Mine", "Yours"))
        after = [self.fingerprint(stage, roots, **plays) for stage in (Ingest, Publish)]
        assert before[0] == after[0]
        assert before[1] != after[1]

    def test_plays_have_no_explicit_candidate(self, plays: dict[str, str], tmp_path: Path) -> None:
        with configured(QUICK, Roots(tmp_path).paths):
            stages = RecommendAll(**plays).context.stages
        assert {stage.candidate for stage in stages} == {None, *CATALOG} - {"als_explicit"}

    def test_change_with_the_code_of_the_stage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.fingerprint(Generate, Roots(tmp_path))
        monkeypatch.setattr("workflow.outputs.source_tracing.sha256", lambda path: "changed")
        assert self.fingerprint(Generate, Roots(tmp_path / "without a cache")) != first


def test_run_waits_for_another_and_uses_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    roots = Roots(tmp_path)
    with configured(QUICK, roots.paths):
        directory = Generate().directory
    holds, waits = threading.Event(), threading.Event()
    say_waiting = Stage._print_waiting

    def waiting(self: Stage, holder: str) -> None:
        say_waiting(self, holder)
        waits.set()

    def other_run() -> None:
        with exclusive_lock(lock_path(directory)):
            holds.set()
            waits.wait(30)
            directory.mkdir()
            write_json(directory / SUCCESS, {})

    monkeypatch.setattr(Stage, "_print_waiting", waiting)
    other = threading.Thread(target=other_run)
    other.start()
    holds.wait(30)
    ran = roots.run(Generate)
    other.join(30)
    said = capfd.readouterr().out
    assert f"Generate waits for process {os.getpid()}" in said
    assert "up to date" in said
    assert ran.statuses == {"Generate": "skipped"}


@pytest.mark.slow
def test_concurrent_runs_share_common_results(pipeline: Roots) -> None:
    directory, root, first = pipeline.data / "runs" / "synthetic", pipeline.models / "synthetic", pipeline.current()
    before = {*directory.glob("*.jsonl")}
    runs = [
        subprocess.Popen(
            pipeline.command("--local-scheduler", "--split-seed=7", f"--recommend-k={k}"),
            cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for k in (17, 18)
    ]  # fmt: skip
    assert [(run.communicate(timeout=PATIENCE_S)[1], run.returncode) for run in runs] == [("", 0)] * 2
    lines = [
        json.loads(line) for file in {*directory.glob("*.jsonl")} - before for line in file.read_text().splitlines()
    ]
    made = Counter(line["stage"] for line in lines if line["event"] == "stage" and line["status"] == "done")
    assert made["Split"] == 1
    assert made["Recommend"] == made["Publish"] == 2
    assert len(VersionRegistry(root).versions()) == 3
    assert pipeline.current() != first
    assert all(verify_version(root / version) == [] for version in VersionRegistry(root).versions())


@pytest.mark.parametrize(("meanwhile", "ending"), [(Recommend, "done"), (RecommendAll, "nothing_to_do")])
def test_run_succeeds_if_another_makes_its_stages(pipeline: Roots, meanwhile: type[PipelineTask], ending: str) -> None:
    settings = {"recommend": {"k": 7}}
    with configured(QUICK, pipeline.paths, settings):
        mine = RecommendAll()
        assert pipeline.run(meanwhile, settings=settings).succeeded
        assert luigi.build([mine], local_scheduler=True)
    record = pipeline.data / "runs" / "synthetic" / f"{mine.run_id}.jsonl"
    last = json.loads(record.read_text().splitlines()[-1])
    assert (last["event"], last["status"]) == ("run_finished", ending)


def test_runs_with_the_same_settings_agree(finished: tuple[Roots, Ran], tmp_path: Path) -> None:
    again = Roots(tmp_path)
    assert again.run().succeeded
    assert again.current() == finished[0].current()
    lists = [
        pd.read_parquet(roots.models / "synthetic" / roots.current() / "recommendations").sort_values(
            ["user_id", "rank"]
        )
        for roots in (finished[0], again)
    ]
    pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in lists))


def test_several_workers_are_refused(tmp_path: Path) -> None:
    with configured(QUICK, Roots(tmp_path).paths, {"core": {"workers": 2}}), pytest.raises(SystemExit) as refused:
        RecommendAll()
    assert refused.value.code == 35


@pytest.mark.skipif(not LASTFM.is_dir(), reason="the Last.fm files are not here")
@pytest.mark.slow
def test_real_data_beats_popularity(spark: SparkSession, tmp_path: Path) -> None:
    roots = Roots(tmp_path)
    settings = {"als": {"rank": 16, "max_iter": 5}}
    assert roots.run(dataset="lastfm-2k", raw_dir=str(LASTFM), settings=settings).succeeded
    models = roots.metrics("lastfm-2k")["models"]
    assert models["als"]["ndcg@10"] > 2 * models["popularity"]["ndcg@10"]
    lists = pd.read_parquet(roots.models / "lastfm-2k" / roots.current("lastfm-2k") / "recommendations")
    assert lists.groupby("user_id").size().to_dict() == dict.fromkeys(lists["user_id"].unique(), 20)
    assert lists["user_id"].nunique() == 1_892
    assert recommend(roots.models / "lastfm-2k", 2)["title"].notna().all()
