"""The registry: sealing, verifying, promoting and rolling back real versions on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import MakeVersion

from common.durable import STAGING, sha256, write_atomically
from common.errors import StoreError
from models import registry


@pytest.fixture
def root(tmp_path: Path, make_version: MakeVersion) -> Path:
    """A dataset with three versions, none of them promoted; the last one made sorts first by name."""
    root = tmp_path / "songs"
    for name in ("m1", "m2", "a3"):
        make_version(root, name)
    return root


def audit(root: Path) -> list[tuple[str, str | None, str]]:
    """The audit's lines: action, from, to."""
    return [(line["action"], line["from"], line["to"]) for line in registry.audit(root)]


def test_versions_come_in_the_order_of_their_making(root: Path) -> None:
    assert registry.versions(root) == ["m1", "m2", "a3"]
    assert [registry.sequence(root / name) for name in registry.versions(root)] == [1, 2, 3]


def test_a_version_that_is_still_being_made_is_not_listed(root: Path) -> None:
    (root / "m1").rename(root / f"m1{STAGING}")
    assert registry.versions(root) == ["m2", "a3"]
    with pytest.raises(StoreError):
        registry.promote(root, f"m1{STAGING}", expected=None, by="user")


def test_a_directory_without_its_success_marker_is_not_a_version(root: Path) -> None:
    (root / "a3" / "_SUCCESS").unlink()
    assert registry.versions(root) == ["m1", "m2"]
    with pytest.raises(StoreError, match="There is no version a3"):
        registry.promote(root, "a3", expected=None, by="run")


def test_the_manifest_names_every_file_with_size_and_digest(root: Path) -> None:
    manifest = registry.manifest(root / "m2")
    assert set(manifest["files"]) == {
        "recommendations/part-0.parquet", "serving.sqlite", "similar/part-0.parquet", "tracks.parquet", "users.parquet",
    }  # fmt: skip
    store = root / "m2" / "serving.sqlite"
    assert manifest["files"]["serving.sqlite"] == {"sha256": sha256(store), "bytes": store.stat().st_size}
    assert manifest["schema_version"] == 1
    assert manifest["created_at"].endswith("Z")
    assert manifest["version"] == "m2"


def test_an_untouched_version_verifies(root: Path) -> None:
    assert registry.verify(root / "m1") == []


def test_verify_names_a_file_with_one_flipped_bit(root: Path) -> None:
    damaged = root / "m1" / "serving.sqlite"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert registry.verify(root / "m1") == ["serving.sqlite is not what was published."]


def test_verify_names_a_missing_file(root: Path) -> None:
    (root / "m1" / "users.parquet").unlink()
    assert registry.verify(root / "m1") == ["users.parquet is missing."]


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_verify_names_a_damaged_manifest(root: Path, damage: str) -> None:
    manifest = root / "m1" / registry.MANIFEST
    if damage == "remove":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:100])
    assert any(registry.MANIFEST in fault for fault in registry.verify(root / "m1"))


def test_nothing_is_current_before_the_first_promotion(root: Path) -> None:
    assert registry.current(root) is None
    assert not registry.is_pinned(root)


def test_promoting_switches_the_cell_and_leaves_a_line_in_the_audit(root: Path) -> None:
    registry.promote(root, "m1", expected=None, by="run")
    registry.promote(root, "m2", expected="m1", by="user")
    assert (root / "current").read_text() == "m2\n"
    assert audit(root) == [("promoted by the run", None, "m1"), ("promoted by the user", "m1", "m2")]


def test_the_audit_has_the_figures_that_spoke_for_a_promotion(root: Path) -> None:
    registry.promote(root, "m1", expected=None, by="run", compared={"metric": "ndcg@10"})
    registry.promote(root, "m2", expected="m1", by="user")
    lines = [json.loads(line) for line in (root / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["compared"] == {"metric": "ndcg@10"}
    assert "compared" not in lines[1]


def test_a_promotion_that_expects_another_version_changes_nothing(root: Path) -> None:
    registry.promote(root, "m1", expected=None, by="run")
    with pytest.raises(StoreError, match="names m1, not None"):
        registry.promote(root, "a3", expected=None, by="run")
    assert registry.current(root) == "m1"
    assert len((root / registry.AUDIT).read_text().splitlines()) == 1


def test_an_unknown_version_cannot_be_promoted(root: Path) -> None:
    with pytest.raises(StoreError, match="There is no version m9"):
        registry.promote(root, "m9", expected=None, by="run")
    assert registry.current(root) is None


def test_a_version_of_another_dataset_cannot_be_promoted_by_a_path(root: Path, make_version: MakeVersion) -> None:
    make_version(root.parent / "others", "v1")
    for path in ("../others/v1", str(root.parent / "others" / "v1")):
        with pytest.raises(StoreError):
            registry.promote(root, path, expected=None, by="user")
    assert registry.current(root) is None


def test_rolling_back_serves_the_earlier_version_and_pins_the_dataset(root: Path) -> None:
    registry.promote(root, "m2", expected=None, by="run")
    registry.roll_back(root, "m1", expected="m2")
    assert registry.current(root) == "m1"
    assert registry.is_pinned(root)
    assert audit(root)[-1] == ("rolled back", "m2", "m1")


def test_a_pinned_dataset_is_promoted_by_the_user_alone(root: Path) -> None:
    registry.promote(root, "m2", expected=None, by="run")
    registry.roll_back(root, "m1", expected="m2")
    with pytest.raises(StoreError, match="pinned to m1"):
        registry.promote(root, "a3", expected="m1", by="run")
    assert registry.current(root) == "m1"
    registry.promote(root, "a3", expected="m1", by="user")
    assert registry.current(root) == "a3"
    assert not registry.is_pinned(root)


class TestAfterACrash:
    """Each step of a switch is the last one that is taken."""

    @pytest.fixture(autouse=True)
    def promoted(self, root: Path) -> None:
        for before, version in ((None, "m1"), ("m1", "m2")):
            registry.promote(root, version, expected=before, by="run")

    @pytest.mark.parametrize("missing", [registry.PINNED, registry.CURRENT])
    def test_half_a_rollback_has_not_happened(self, missing: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def crashing(path: Path, text: str) -> None:
            if path.name == missing:
                raise InterruptedError
            write_atomically(path, text)

        before = audit(root)
        monkeypatch.setattr(registry, "write_atomically", crashing)
        with pytest.raises(InterruptedError):
            registry.roll_back(root, "m1", expected="m2")
        monkeypatch.undo()
        assert registry.current(root) == "m2"
        assert not registry.is_pinned(root)
        assert audit(root) == before
        assert registry.served_before(root) == "m1"
        registry.promote(root, "a3", expected="m2", by="run")
        assert audit(root) == [*before, ("promoted by the run", "m2", "a3")]

    @pytest.mark.parametrize("writes", [0, 1, 2])
    def test_half_a_further_rollback_keeps_the_pin(
        self, writes: int, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.roll_back(root, "m2", expected="m2")
        done = []

        def crashing(path: Path, text: str) -> None:
            if len(done) == writes:
                raise InterruptedError
            done.append(path)
            write_atomically(path, text)

        monkeypatch.setattr(registry, "write_atomically", crashing)
        with pytest.raises(InterruptedError):
            registry.roll_back(root, "m1", expected="m2")
        monkeypatch.undo()
        assert registry.current(root) == ("m1" if writes == 2 else "m2")
        assert registry.is_pinned(root)
        with pytest.raises(StoreError, match="is pinned to"):
            registry.promote(root, "a3", expected=registry.current(root), by="run")

    def test_what_is_served_no_more_had_been_promoted_all_the_same(self, root: Path) -> None:
        (root / registry.CURRENT).unlink()
        registry.promote(root, "a3", expected=None, by="run")
        assert registry.served_before(root) == "m2"

    def test_a_promotion_has_ended_the_pin_when_it_has_happened(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crashing(path: Path, **arguments: object) -> None:
            raise InterruptedError

        registry.roll_back(root, "m1", expected="m2")
        monkeypatch.setattr(Path, "unlink", crashing)
        with pytest.raises(InterruptedError):
            registry.promote(root, "a3", expected="m1", by="user")
        monkeypatch.undo()
        assert registry.current(root) == "a3"
        assert not registry.is_pinned(root)


def test_a_refused_promotion_by_the_user_keeps_the_pin(root: Path) -> None:
    registry.promote(root, "m2", expected=None, by="run")
    registry.roll_back(root, "m1", expected="m2")
    with pytest.raises(StoreError):
        registry.promote(root, "a3", expected="m2", by="user")
    assert registry.is_pinned(root)


def test_a_damaged_version_is_not_rolled_back_to(root: Path) -> None:
    registry.promote(root, "m2", expected=None, by="run")
    (root / "m1" / "serving.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match=r"m1 does not verify: serving\.sqlite"):
        registry.roll_back(root, "m1", expected="m2")
    assert registry.current(root) == "m2"
    assert not registry.is_pinned(root)


def test_a_roll_back_that_expects_another_version_pins_nothing(root: Path) -> None:
    registry.promote(root, "m2", expected=None, by="run")
    with pytest.raises(StoreError, match="names m2, not a3"):
        registry.roll_back(root, "m1", expected="a3")
    assert registry.current(root) == "m2"
    assert not registry.is_pinned(root)


def test_the_dataset_promoted_last_comes_first(tmp_path: Path, make_version: MakeVersion) -> None:
    for name in ("early", "late", "never"):
        make_version(tmp_path / name, "v1")
    for moment, name in enumerate(("early", "late")):
        registry.promote(tmp_path / name, "v1", expected=None, by="run")
        os.utime(tmp_path / name / "current", (moment, moment))
    assert registry.datasets(tmp_path) == ["late", "early"]
