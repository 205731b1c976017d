"""The registry: listing, verifying, promoting and rolling back versions on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.versions import write_version

from common.checksums import sha256
from common.errors import StoreError
from common.files import STAGING, write_atomically
from config.paths import CURRENT
from models import pointer
from models.audit_log import AUDIT
from models.manifest import MANIFEST, creation_order, read_manifest, verify_version
from models.pointer import PINNED
from models.registry import VersionRegistry, served_datasets


@pytest.fixture
def registry(tmp_path: Path) -> VersionRegistry:
    """A dataset with three versions, none promoted; the newest sorts first by name."""
    registry = VersionRegistry(tmp_path / "songs")
    for name in ("m1", "m2", "a3"):
        write_version(registry.root, name)
    return registry


def switches(registry: VersionRegistry) -> list[tuple[str, str | None, str]]:
    """Return action, from and to of the audit's entries."""
    return [(entry["action"], entry["from"], entry["to"]) for entry in registry.audit()]


def test_lists_versions_in_the_order_of_creation(registry: VersionRegistry) -> None:
    assert registry.versions() == ["m1", "m2", "a3"]
    assert [creation_order(registry.root / name)[0] for name in registry.versions()] == [1, 2, 3]


def test_does_not_list_a_staging_directory(registry: VersionRegistry) -> None:
    (registry.root / "m1").rename(registry.root / f"m1{STAGING}")
    assert registry.versions() == ["m2", "a3"]
    with pytest.raises(StoreError):
        registry.promote(f"m1{STAGING}", expected=None, by="user")


def test_does_not_list_a_directory_without_success_marker(registry: VersionRegistry) -> None:
    (registry.root / "a3" / "_SUCCESS").unlink()
    assert registry.versions() == ["m1", "m2"]
    with pytest.raises(StoreError, match="There is no version a3"):
        registry.promote("a3", expected=None, by="run")


def test_manifest_has_size_and_checksum_of_every_file(registry: VersionRegistry) -> None:
    manifest = read_manifest(registry.root / "m2")
    assert set(manifest["files"]) == {
        "recommendations/part-0.parquet", "serving.sqlite", "similar/part-0.parquet", "tracks.parquet", "users.parquet",
    }  # fmt: skip
    store = registry.root / "m2" / "serving.sqlite"
    assert manifest["files"]["serving.sqlite"] == {"sha256": sha256(store), "bytes": store.stat().st_size}
    assert manifest["schema_version"] == 2
    assert manifest["created_at"].endswith("Z")
    assert manifest["version"] == "m2"


def test_verifies_an_unchanged_version(registry: VersionRegistry) -> None:
    assert verify_version(registry.root / "m1") == []


def test_verify_reports_a_flipped_bit(registry: VersionRegistry) -> None:
    damaged = registry.root / "m1" / "serving.sqlite"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert verify_version(registry.root / "m1") == ["serving.sqlite differs from what was published."]


def test_verify_reports_a_missing_file(registry: VersionRegistry) -> None:
    (registry.root / "m1" / "users.parquet").unlink()
    assert verify_version(registry.root / "m1") == ["users.parquet is missing."]


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_verify_reports_a_damaged_manifest(registry: VersionRegistry, damage: str) -> None:
    manifest = registry.root / "m1" / MANIFEST
    if damage == "remove":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:100])
    assert any(MANIFEST in fault for fault in verify_version(registry.root / "m1"))


def test_has_no_current_version_before_the_first_promotion(registry: VersionRegistry) -> None:
    assert registry.current() is None
    assert not registry.is_pinned()


def test_promotion_writes_current_and_the_audit_log(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run")
    registry.promote("m2", expected="m1", by="user")
    assert (registry.root / "current").read_text() == "m2\n"
    assert switches(registry) == [("promoted by the run", None, "m1"), ("promoted by the user", "m1", "m2")]


def test_audit_log_has_the_figures_of_a_promotion(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run", comparison={"metric": "ndcg@10"})
    registry.promote("m2", expected="m1", by="user")
    lines = [json.loads(line) for line in (registry.root / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["comparison"] == {"metric": "ndcg@10"}
    assert "comparison" not in lines[1]


def test_refuses_a_promotion_that_expects_another_version(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run")
    with pytest.raises(StoreError, match="names m1, not None"):
        registry.promote("a3", expected=None, by="run")
    assert registry.current() == "m1"
    assert len((registry.root / AUDIT).read_text().splitlines()) == 1


def test_refuses_to_promote_an_unknown_version(registry: VersionRegistry) -> None:
    with pytest.raises(StoreError, match="There is no version m9"):
        registry.promote("m9", expected=None, by="run")
    assert registry.current() is None


def test_refuses_to_promote_a_path(registry: VersionRegistry) -> None:
    write_version(registry.root.parent / "others", "v1")
    for path in ("../others/v1", str(registry.root.parent / "others" / "v1")):
        with pytest.raises(StoreError):
            registry.promote(path, expected=None, by="user")
    assert registry.current() is None


def test_rollback_serves_an_earlier_version_and_pins_it(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    assert registry.current() == "m1"
    assert registry.is_pinned()
    assert switches(registry)[-1] == ("rolled back", "m2", "m1")


def test_only_the_user_can_promote_in_a_pinned_dataset(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    with pytest.raises(StoreError, match="pinned to m1"):
        registry.promote("a3", expected="m1", by="run")
    assert registry.current() == "m1"
    registry.promote("a3", expected="m1", by="user")
    assert registry.current() == "a3"
    assert not registry.is_pinned()


class TestAfterACrash:
    """A crash after each step of a switch."""

    @pytest.fixture(autouse=True)
    def promoted(self, registry: VersionRegistry) -> None:
        for before, version in ((None, "m1"), ("m1", "m2")):
            registry.promote(version, expected=before, by="run")

    @pytest.mark.parametrize("missing", [PINNED, CURRENT])
    def test_an_interrupted_rollback_has_no_effect(
        self, missing: str, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crashing(path: Path, text: str) -> None:
            if path.name == missing:
                raise InterruptedError
            write_atomically(path, text)

        before = switches(registry)
        monkeypatch.setattr(pointer, "write_atomically", crashing)
        with pytest.raises(InterruptedError):
            registry.roll_back("m1", expected="m2")
        monkeypatch.undo()
        assert registry.current() == "m2"
        assert not registry.is_pinned()
        assert switches(registry) == before
        assert registry.previously_served() == "m1"
        registry.promote("a3", expected="m2", by="run")
        assert switches(registry) == [*before, ("promoted by the run", "m2", "a3")]

    @pytest.mark.parametrize("writes", [0, 1, 2])
    def test_an_interrupted_second_rollback_keeps_the_pin(
        self, writes: int, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.roll_back("m2", expected="m2")
        done = []

        def crashing(path: Path, text: str) -> None:
            if len(done) == writes:
                raise InterruptedError
            done.append(path)
            write_atomically(path, text)

        monkeypatch.setattr(pointer, "write_atomically", crashing)
        with pytest.raises(InterruptedError):
            registry.roll_back("m1", expected="m2")
        monkeypatch.undo()
        assert registry.current() == ("m1" if writes == 2 else "m2")
        assert registry.is_pinned()
        with pytest.raises(StoreError, match="is pinned to"):
            registry.promote("a3", expected=registry.current(), by="run")

    def test_a_lost_current_file_keeps_the_history(self, registry: VersionRegistry) -> None:
        (registry.root / CURRENT).unlink()
        registry.promote("a3", expected=None, by="run")
        assert registry.previously_served() == "m2"

    def test_an_interrupted_promotion_has_removed_the_pin(
        self, registry: VersionRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crashing(path: Path, **arguments: object) -> None:
            raise InterruptedError

        registry.roll_back("m1", expected="m2")
        monkeypatch.setattr(Path, "unlink", crashing)
        with pytest.raises(InterruptedError):
            registry.promote("a3", expected="m1", by="user")
        monkeypatch.undo()
        assert registry.current() == "a3"
        assert not registry.is_pinned()


def test_a_refused_promotion_keeps_the_pin(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    with pytest.raises(StoreError):
        registry.promote("a3", expected="m2", by="user")
    assert registry.is_pinned()


def test_refuses_to_roll_back_to_a_damaged_version(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    (registry.root / "m1" / "serving.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match=r"m1 does not verify: serving\.sqlite"):
        registry.roll_back("m1", expected="m2")
    assert registry.current() == "m2"
    assert not registry.is_pinned()


def test_a_refused_rollback_does_not_pin(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    with pytest.raises(StoreError, match="names m2, not a3"):
        registry.roll_back("m1", expected="a3")
    assert registry.current() == "m2"
    assert not registry.is_pinned()


def test_orders_datasets_by_their_last_promotion(tmp_path: Path) -> None:
    for name in ("early", "late", "never"):
        write_version(tmp_path / name, "v1")
    for moment, name in enumerate(("early", "late")):
        VersionRegistry(tmp_path / name).promote("v1", expected=None, by="run")
        os.utime(tmp_path / name / "current", (moment, moment))
    assert served_datasets(tmp_path) == ["late", "early"]
