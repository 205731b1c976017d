"""The registry: sealing, verifying, promoting and rolling back real versions on disk."""

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


def test_versions_come_in_the_order_of_their_making(registry: VersionRegistry) -> None:
    assert registry.versions() == ["m1", "m2", "a3"]
    assert [creation_order(registry.root / name)[0] for name in registry.versions()] == [1, 2, 3]


def test_a_version_that_is_still_being_made_is_not_listed(registry: VersionRegistry) -> None:
    (registry.root / "m1").rename(registry.root / f"m1{STAGING}")
    assert registry.versions() == ["m2", "a3"]
    with pytest.raises(StoreError):
        registry.promote(f"m1{STAGING}", expected=None, by="user")


def test_a_directory_without_its_success_marker_is_not_a_version(registry: VersionRegistry) -> None:
    (registry.root / "a3" / "_SUCCESS").unlink()
    assert registry.versions() == ["m1", "m2"]
    with pytest.raises(StoreError, match="There is no version a3"):
        registry.promote("a3", expected=None, by="run")


def test_the_manifest_names_every_file_with_size_and_digest(registry: VersionRegistry) -> None:
    manifest = read_manifest(registry.root / "m2")
    assert set(manifest["files"]) == {
        "recommendations/part-0.parquet", "serving.sqlite", "similar/part-0.parquet", "tracks.parquet", "users.parquet",
    }  # fmt: skip
    store = registry.root / "m2" / "serving.sqlite"
    assert manifest["files"]["serving.sqlite"] == {"sha256": sha256(store), "bytes": store.stat().st_size}
    assert manifest["schema_version"] == 2
    assert manifest["created_at"].endswith("Z")
    assert manifest["version"] == "m2"


def test_an_untouched_version_verifies(registry: VersionRegistry) -> None:
    assert verify_version(registry.root / "m1") == []


def test_verify_names_a_file_with_one_flipped_bit(registry: VersionRegistry) -> None:
    damaged = registry.root / "m1" / "serving.sqlite"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert verify_version(registry.root / "m1") == ["serving.sqlite differs from what was published."]


def test_verify_names_a_missing_file(registry: VersionRegistry) -> None:
    (registry.root / "m1" / "users.parquet").unlink()
    assert verify_version(registry.root / "m1") == ["users.parquet is missing."]


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_verify_names_a_damaged_manifest(registry: VersionRegistry, damage: str) -> None:
    manifest = registry.root / "m1" / MANIFEST
    if damage == "remove":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:100])
    assert any(MANIFEST in fault for fault in verify_version(registry.root / "m1"))


def test_nothing_is_current_before_the_first_promotion(registry: VersionRegistry) -> None:
    assert registry.current() is None
    assert not registry.is_pinned()


def test_promoting_switches_the_cell_and_leaves_a_line_in_the_audit(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run")
    registry.promote("m2", expected="m1", by="user")
    assert (registry.root / "current").read_text() == "m2\n"
    assert switches(registry) == [("promoted by the run", None, "m1"), ("promoted by the user", "m1", "m2")]


def test_the_audit_has_the_figures_that_spoke_for_a_promotion(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run", compared={"metric": "ndcg@10"})
    registry.promote("m2", expected="m1", by="user")
    lines = [json.loads(line) for line in (registry.root / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["compared"] == {"metric": "ndcg@10"}
    assert "compared" not in lines[1]


def test_a_promotion_that_expects_another_version_changes_nothing(registry: VersionRegistry) -> None:
    registry.promote("m1", expected=None, by="run")
    with pytest.raises(StoreError, match="names m1, not None"):
        registry.promote("a3", expected=None, by="run")
    assert registry.current() == "m1"
    assert len((registry.root / AUDIT).read_text().splitlines()) == 1


def test_an_unknown_version_cannot_be_promoted(registry: VersionRegistry) -> None:
    with pytest.raises(StoreError, match="There is no version m9"):
        registry.promote("m9", expected=None, by="run")
    assert registry.current() is None


def test_a_version_of_another_dataset_cannot_be_promoted_by_a_path(registry: VersionRegistry) -> None:
    write_version(registry.root.parent / "others", "v1")
    for path in ("../others/v1", str(registry.root.parent / "others" / "v1")):
        with pytest.raises(StoreError):
            registry.promote(path, expected=None, by="user")
    assert registry.current() is None


def test_rolling_back_serves_the_earlier_version_and_pins_the_dataset(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    assert registry.current() == "m1"
    assert registry.is_pinned()
    assert switches(registry)[-1] == ("rolled back", "m2", "m1")


def test_a_pinned_dataset_is_promoted_by_the_user_alone(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    with pytest.raises(StoreError, match="pinned to m1"):
        registry.promote("a3", expected="m1", by="run")
    assert registry.current() == "m1"
    registry.promote("a3", expected="m1", by="user")
    assert registry.current() == "a3"
    assert not registry.is_pinned()


class TestAfterACrash:
    """Each step of a switch is the last one that is taken."""

    @pytest.fixture(autouse=True)
    def promoted(self, registry: VersionRegistry) -> None:
        for before, version in ((None, "m1"), ("m1", "m2")):
            registry.promote(version, expected=before, by="run")

    @pytest.mark.parametrize("missing", [PINNED, CURRENT])
    def test_half_a_rollback_has_not_happened(
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
    def test_half_a_further_rollback_keeps_the_pin(
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

    def test_what_is_served_no_more_had_been_promoted_all_the_same(self, registry: VersionRegistry) -> None:
        (registry.root / CURRENT).unlink()
        registry.promote("a3", expected=None, by="run")
        assert registry.previously_served() == "m2"

    def test_a_promotion_has_ended_the_pin_when_it_has_happened(
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


def test_a_refused_promotion_by_the_user_keeps_the_pin(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    registry.roll_back("m1", expected="m2")
    with pytest.raises(StoreError):
        registry.promote("a3", expected="m2", by="user")
    assert registry.is_pinned()


def test_a_damaged_version_is_not_rolled_back_to(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    (registry.root / "m1" / "serving.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match=r"m1 does not verify: serving\.sqlite"):
        registry.roll_back("m1", expected="m2")
    assert registry.current() == "m2"
    assert not registry.is_pinned()


def test_a_roll_back_that_expects_another_version_pins_nothing(registry: VersionRegistry) -> None:
    registry.promote("m2", expected=None, by="run")
    with pytest.raises(StoreError, match="names m2, not a3"):
        registry.roll_back("m1", expected="a3")
    assert registry.current() == "m2"
    assert not registry.is_pinned()


def test_the_dataset_promoted_last_comes_first(tmp_path: Path) -> None:
    for name in ("early", "late", "never"):
        write_version(tmp_path / name, "v1")
    for moment, name in enumerate(("early", "late")):
        VersionRegistry(tmp_path / name).promote("v1", expected=None, by="run")
        os.utime(tmp_path / name / "current", (moment, moment))
    assert served_datasets(tmp_path) == ["late", "early"]
