"""Deleting a user from published versions: completely, without effect on others, safe against crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from support.pipeline import Roots
from support.processes import held_by_another_process
from support.published import publish
from support.versions import HEARD, TRACKS, write_version

from common import directories
from common.directories import remove_leftovers
from common.files import STAGING, write_json
from common.locks import lock_path
from config.algorithm_catalog import MODEL_INFO
from config.paths import EVALUATION, PROJECT, SUCCESS
from models.__main__ import main
from models.delete_user_data import delete_from_model
from models.forget import matches_deleted_user, remove_user, versions_with_user
from models.manifest import MANIFEST, read_manifest, verify_version
from models.registry import VersionRegistry
from models.serving_store import ServingStore

ALICE, INDEX = "alice", 1
CHANGED = {
    EVALUATION, "model/als/userFactors/part-0.parquet", "recommendations/part-0.parquet",
    "serving.sqlite", "users.parquet",
}  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> VersionRegistry:
    """Two versions of users 42, alice and zoe, with every file that may hold user data; the second is served."""
    registry = VersionRegistry(tmp_path / "models" / "songs")
    for name in ("v1", "v2"):
        version = write_version(registry.root, name)
        factors = version / "model" / "als" / "userFactors"
        factors.mkdir(parents=True)
        table = pa.table({"id": pa.array([0, 1, 2], pa.int32()), "features": [[0.5], [0.25], [0.125]]})
        pq.write_table(table, factors / "part-0.parquet", row_group_size=2, compression="none")
        (factors / ".part-0.parquet.crc").write_bytes(b"Hadoop's")
        write_json(version / "model" / MODEL_INFO, {"name": "hybrid"})
        write_json(factors.parent / MODEL_INFO, {"name": "als"})
        measured = {"user": pa.array([0, 1], pa.int32()), "champion": [0.5, 0.25], "popularity": [0.1, 0.2]}
        pq.write_table(pa.table(measured), version / EVALUATION)
        (version / SUCCESS).unlink()
        (version / MANIFEST).unlink()
        facts = {"version": name, "counts": {"users": 3, "tracks": 4, "interactions": 7, "recommendations": 5}}
        registry.write_manifest(version, facts | {"inputs": {"plays.csv": "0" * 64}})
        (version / SUCCESS).touch()
        registry.promote(name, expected=registry.current(), by="user")
    return registry


def files_of(version: Path) -> dict[str, Path]:
    return {str(file.relative_to(version)): file for file in version.rglob("*") if file.is_file()}


def command(registry: VersionRegistry, user: str) -> int:
    models, data = registry.root.parent, registry.root.parent.parent / "data"
    return main(["forget", f"--models={models}", f"--data={data}", f"--dataset={registry.dataset}", "--", user])


class TestRemoveUser:
    @pytest.fixture
    def version(self, registry: VersionRegistry) -> Path:
        remove_user(registry, "v2", ALICE)
        return registry.root / "v2"

    def test_no_file_contains_the_id(self, version: Path) -> None:
        assert ALICE.encode() in (version.parent / "v1" / "serving.sqlite").read_bytes()
        assert [name for name, file in files_of(version).items() if ALICE.encode() in file.read_bytes()] == []

    def test_no_table_has_a_row_of_the_user(self, version: Path) -> None:
        assert pd.read_parquet(version / "users.parquet")["index"].tolist() == [0, 2]
        assert set(pd.read_parquet(version / "recommendations")["user_id"]) == {"42"}
        assert pd.read_parquet(version / EVALUATION)["user"].tolist() == [0]
        assert pd.read_parquet(version / "model" / "als" / "userFactors")["id"].tolist() == [0, 2]
        assert not (version / "model" / "als" / "userFactors" / ".part-0.parquet.crc").exists()

    def test_keeps_schema_row_groups_and_compression(self, version: Path) -> None:
        for name in ("users.parquet", "recommendations/part-0.parquet", "model/als/userFactors/part-0.parquet"):
            old, new = (pq.ParquetFile(directory / name) for directory in (version.parent / "v1", version))
            assert new.schema_arrow == old.schema_arrow
            assert new.num_row_groups == old.num_row_groups
            packed = {each.metadata.row_group(0).column(0).compression for each in (old, new)}
            assert len(packed) == 1

    def test_other_users_are_unaffected(self, version: Path) -> None:
        with ServingStore(version) as store, ServingStore(version.parent / "v1") as before:
            assert store.user(ALICE) is None
            assert store.user_with_list(ALICE, 5) is None
            assert [user.user_id for user in store.users()] == ["42", "zoe"]
            for user in ("42", "zoe"):
                assert store.recommendations(user, 9) == before.recommendations(user, 9)
                assert store.history(user, 9) == before.history(user, 9)
            for track, *_ in TRACKS:
                others = [line for line in before.audience(track)[1] if line.user.user_id != ALICE]
                assert store.audience(track) == (len(others), others)
                assert store.similar(track, 9) == before.similar(track, 9)
            assert store.search_tracks("paper") == before.search_tracks("paper") != []

    def test_verifies_and_records_the_deletion(self, version: Path) -> None:
        assert verify_version(version) == []
        manifest = read_manifest(version)
        assert manifest["counts"] == {"users": 2, "tracks": 4, "interactions": 6, "recommendations": 2}
        (entry,) = manifest["forgotten"]
        assert set(entry["files"]) - {"model/als/userFactors/.part-0.parquet.crc"} == CHANGED
        assert matches_deleted_user(entry, ALICE)
        assert not matches_deleted_user(entry, "zoe")
        assert manifest["sequence"] == 2

    def test_links_unchanged_files(self, registry: VersionRegistry) -> None:
        inodes = {name: file.stat().st_ino for name, file in files_of(registry.root / "v2").items()}
        remove_user(registry, "v2", ALICE)
        same = {name for name, file in files_of(registry.root / "v2").items() if file.stat().st_ino == inodes[name]}
        assert same == {
            "tracks.parquet",
            "similar/part-0.parquet",
            "model/als/algorithm.json",
            "model/algorithm.json",
            SUCCESS,
        }

    def test_works_without_hard_links(self, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(source: str, target: str) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
        changed = remove_user(registry, "v2", ALICE)
        assert set(changed) - {"model/als/userFactors/.part-0.parquet.crc"} == CHANGED
        assert verify_version(registry.root / "v2") == []
        assert versions_with_user(registry, ALICE) == ["v1"]

    def test_can_delete_all_users(self, registry: VersionRegistry) -> None:
        for user in HEARD:
            remove_user(registry, "v2", user)
        assert verify_version(registry.root / "v2") == []
        assert len(read_manifest(registry.root / "v2")["forgotten"]) == len(HEARD)
        with ServingStore(registry.root / "v2") as store:
            assert store.users() == []
            assert [store.audience(track) for track, *_ in TRACKS] == [(0, [])] * len(TRACKS)

    def test_refreshes_the_served_version_without_reordering_datasets(self, registry: VersionRegistry) -> None:
        stamps = []
        for user in (None, *HEARD):
            if user:
                remove_user(registry, "v2", user)
            status = (registry.root / "current").stat()
            stamps.append((status.st_ino, status.st_mtime_ns))
        assert len(set(stamps)) == len(stamps)
        assert max(stamp[1] for stamp in stamps) - stamps[0][1] < 10**6
        assert registry.current() == "v2"


class TestModelFiles:
    """Files of a model directory, as the algorithm catalogue declares them."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        (tmp_path / "model").mkdir()
        return tmp_path / "model"

    def test_deletes_the_segment_of_the_user(self, model: Path) -> None:
        write_json(model / MODEL_INFO, {"name": "segment-popularity"})
        np.save(model / "segment.npy", np.array([0, 1, 2], np.int16))
        delete_from_model(model, INDEX)
        segments = np.load(model / "segment.npy")
        assert segments.tolist() == [0, -1, 2]
        assert segments.dtype == np.int16

    def test_keeps_a_file_that_another_algorithm_would_declare(self, model: Path) -> None:
        write_json(model / MODEL_INFO, {"name": "ease"})
        np.save(model / "segment.npy", np.array([0, 1, 2], np.int16))
        delete_from_model(model, INDEX)
        assert np.load(model / "segment.npy").tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("info", "message"),
        [
            ('{"name": "word2vec"}', " was trained by 'word2vec', which is not in config/algorithm_catalog.py"),
            ("{}", "algorithm.json does not name the algorithm that trained the model"),
            ("[", "algorithm.json does not name the algorithm that trained the model"),
        ],
    )
    @pytest.mark.parametrize("part", ["", "als"], ids=["model", "part of a blend"])
    def test_refuses_an_unknown_algorithm(
        self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str], part: str, info: str, message: str
    ) -> None:
        version = registry.root / "v1"
        (version / "model" / part / MODEL_INFO).write_text(info)
        facts = {key: read_manifest(version)[key] for key in ("version", "counts", "inputs")}
        for name in (MANIFEST, SUCCESS):
            (version / name).unlink()
        registry.write_manifest(version, facts)
        (version / SUCCESS).touch()
        assert command(registry, ALICE) == 1
        assert message in capsys.readouterr().err
        manifests = [read_manifest(registry.root / name) for name in registry.versions()]
        assert len(manifests) == 2
        assert not any("forgotten" in manifest for manifest in manifests)


class TestCrash:
    SCRIPT = """
import os, sys
from pathlib import Path
from common import directories
from models.forget import remove_user
from models.registry import VersionRegistry
exchanged = directories._exchange
def die(*directories):
    if sys.argv[2] == "after":
        assert exchanged(*directories)
    os._exit(9)
directories._exchange = die
remove_user(VersionRegistry(Path(sys.argv[1])), "v2", "alice")
"""

    @pytest.mark.parametrize(("dies", "left"), [("before", ["v1", "v2"]), ("after", ["v1"])])
    def test_leaves_the_old_version_or_the_new_one(self, registry: VersionRegistry, dies: str, left: list[str]) -> None:
        ran = subprocess.run([sys.executable, "-c", self.SCRIPT, str(registry.root), dies], cwd=PROJECT, check=False)
        assert ran.returncode == 9
        assert (registry.root / f"v2{STAGING}").is_dir()
        assert verify_version(registry.root / "v2") == []
        remove_leftovers(registry.root, "*")
        assert not (registry.root / f"v2{STAGING}").exists()
        assert versions_with_user(registry, ALICE) == left
        stamp = (registry.root / "current").stat().st_mtime_ns
        assert command(registry, ALICE) == 0
        assert versions_with_user(registry, ALICE) == []
        assert (registry.root / "current").stat().st_mtime_ns != stamp  # readers reopen the version

    def test_a_replaced_version_is_restored(self, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        (registry.root / "v2").rename(registry.root / f"v2{directories.REPLACED}")
        assert registry.versions() == ["v1"]
        monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
        assert command(registry, ALICE) == 0
        assert registry.versions() == ["v1", "v2"]
        assert versions_with_user(registry, ALICE) == []

    def test_an_error_leaves_no_staging_directory(
        self, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*given: object) -> None:
            raise OSError(28, "No space left on device", "somewhere")

        monkeypatch.setattr(directories, "_exchange", fail)
        assert command(registry, ALICE) == 1
        assert not list(registry.root.glob(f"*{STAGING}"))
        assert versions_with_user(registry, ALICE) == ["v1", "v2"]
        assert registry.audit()[-1]["action"] == "promoted by the user"


class TestCommand:
    def test_deletes_the_user_from_every_version_and_names_the_raw_data(
        self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = registry.root.parent.parent / "data" / "work" / "songs" / "Ingest" / "abc"
        output.mkdir(parents=True)
        (output / SUCCESS).touch()
        debris = output.with_name(f"def{STAGING}")
        debris.mkdir()
        assert command(registry, ALICE) == 0
        said = capsys.readouterr().out
        assert "Deleted the user from 2 versions of songs: #1 v1, #2 v2.\n" in said
        assert (
            "Removed 1 stage output that may contain the user's data; the next run recreates what it needs.\n" in said
        )
        assert "The raw data (plays.csv) may still contain the user: delete them there too, or the next version" in said
        assert versions_with_user(registry, ALICE) == []
        assert not output.exists()
        assert not debris.exists()

    def test_logs_each_version_without_the_id(self, registry: VersionRegistry) -> None:
        command(registry, ALICE)
        entries = registry.audit()[-2:]
        assert [(entry["action"], entry["version"]) for entry in entries] == [
            ("deleted a user", "v1"), ("deleted a user", "v2"),
        ]  # fmt: skip
        assert ALICE not in json.dumps(entries)

    def test_can_be_repeated(self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        command(registry, ALICE)
        assert command(registry, ALICE) == 0
        assert "No version of songs contains the user any more." in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("user", "sentence"),
        [("nobody", "No version of songs contains the user 'nobody'."), ("", "Name a user: make forget ID=42.")],
    )
    def test_refuses_an_unknown_user(
        self, registry: VersionRegistry, user: str, sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command(registry, user) == 2
        assert capsys.readouterr().err == f"Error: {sentence}\n"

    def test_is_refused_during_a_run(self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        record = registry.root.parent.parent / "data" / "runs" / "songs" / "r1.jsonl"
        record.parent.mkdir(parents=True)
        with held_by_another_process(record):
            assert command(registry, ALICE) == 1
        assert capsys.readouterr().err == (
            "Error: Run r1 of songs is active and may publish the user again: wait for it to end.\n"
        )
        assert versions_with_user(registry, ALICE) == ["v1", "v2"]

    def test_is_refused_if_a_version_is_damaged(
        self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (registry.root / "v1" / "users.parquet").write_bytes(b"x")
        assert command(registry, ALICE) == 1
        assert (
            f"{registry.root / 'v1'} does not verify: users.parquet differs from what was published."
            in capsys.readouterr().err
        )
        assert verify_version(registry.root / "v2") == []
        assert "forgotten" not in read_manifest(registry.root / "v2")

    def test_names_an_output_in_use(self, registry: VersionRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        output = registry.root.parent.parent / "data" / "work" / "songs" / "Ingest" / "abc"
        output.mkdir(parents=True)
        (output / SUCCESS).touch()
        with held_by_another_process(lock_path(output)):
            assert command(registry, ALICE) == 1
        assert f"Error: {output} is in use and may contain the user's data" in capsys.readouterr().err
        assert command(registry, ALICE) == 0
        assert not output.exists()


def test_the_page_reloads_at_once(roots: tuple[Path, Path], client: FlaskClient) -> None:
    registry = VersionRegistry(roots[0] / "tiny")
    publish(roots[0], version="v2")

    def counted() -> object:
        return [version["counts"]["users"] for version in client.get("/api/v1/versions").json["versions"]]

    address, users = "/api/v1/users/u1/recommendations", "/api/v1/users?q=u1"
    assert client.get(address).status_code == 200
    assert '/users/u1"' in client.get("/tracks/untitled").text
    tag = {"If-None-Match": client.get(users).headers["ETag"]}
    assert client.get(users, headers=tag).status_code == 304
    assert counted() == [12345, 12345]
    for version in ("v1", "v2"):
        remove_user(registry, version, "u1")
    assert client.get(address).status_code == 404
    assert '/users/u1"' not in client.get("/tracks/untitled").text
    assert client.get(users, headers=tag).status_code == 200
    assert counted() == [12344, 12344]
    assert client.get("/readyz").json["status"] == "ready"
    assert client.get("/api/v1/users/u10/recommendations").status_code == 200


def test_the_next_run_accepts_the_changed_version(pipeline: Roots) -> None:
    registry, version = VersionRegistry(pipeline.models / "synthetic"), pipeline.current()
    root = registry.root
    user = str(pd.read_parquet(root / version / "users.parquet")["user_id"][0])
    data = [f"--data={pipeline.data}", f"--models={pipeline.models}"]
    assert main(["forget", *data, "--", user]) == 0
    assert verify_version(root / version) == []
    assert not list((pipeline.data / "work" / "synthetic").glob(f"*/*/{SUCCESS}"))
    assert not {"Publish", "Promote"} & pipeline.run().made
    assert versions_with_user(registry, user) == []
    assert pipeline.run(settings={"recommend": {"k": 7}}).succeeded  # made from the raw data, which has the user
    assert versions_with_user(registry, user) == [pipeline.current()]
