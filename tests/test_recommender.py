"""`recommend()` and `similar()` on published versions, without a JVM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.versions import LISTS, write_version

from config.paths import PROJECT
from models.recommender import recommend, similar
from models.registry import VersionRegistry
from models.serving_store import ServingStore


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that is not promoted."""
    return write_version(tmp_path_factory.mktemp("models") / "songs", "v1")


def test_returns_the_stored_list_with_ranks_and_titles(version: Path) -> None:
    frame = recommend(version, "42")
    assert frame.columns.tolist() == ["rank", "track_id", "title", "artist", "score"]
    assert frame.values.tolist() == [[1, "t3", "Quiet Canyon", None, 0.75], [2, "t4", None, None, 0.5]]
    assert frame.attrs == {"reason": None, "version": "v1"}


def test_accepts_an_integer_id(version: Path) -> None:
    assert recommend(version, 42).equals(recommend(version, "42"))
    assert recommend(version, 42).attrs["reason"] is None


def test_k_returns_the_beginning_of_the_list(version: Path) -> None:
    assert recommend(version, "alice", k=2)["track_id"].tolist() == ["t1", "t3"]


def test_returns_at_most_the_stored_rows(version: Path) -> None:
    assert recommend(version, "alice", k=1000)["score"].tolist() == [score for _, score in LISTS["alice"]]


def test_a_user_who_heard_everything_gets_an_empty_list(version: Path) -> None:
    frame = recommend(version, "zoe")
    assert frame.empty
    assert frame.columns.tolist() == ["rank", "track_id", "title", "artist", "score"]
    assert frame.attrs["reason"] is None


def test_an_unknown_user_gets_popular_tracks_and_a_reason(version: Path) -> None:
    frame = recommend(version, "nobody", k=3)
    # t2 has three listeners, t1 two, t3 and t4 one each: the lower index first.
    assert frame[["rank", "track_id", "score"]].values.tolist() == [[1, "t2", 3.0], [2, "t1", 2.0], [3, "t3", 1.0]]
    assert frame.attrs["reason"] == "User 'nobody' is not in version v1: these are its most popular tracks."


@pytest.mark.parametrize("odd", ["", "42 ", "' OR 1=1 --", "%", "ALICE"])
def test_matches_ids_exactly(version: Path, odd: str) -> None:
    assert recommend(version, odd).attrs["reason"] is not None


def test_a_dataset_directory_resolves_to_its_served_version(tmp_path: Path) -> None:
    root = tmp_path / "songs"
    for name in ("v1", "v2"):
        write_version(root, name)
    VersionRegistry(root).promote("v1", expected=None, by="user")
    assert recommend(root, "42").attrs["version"] == "v1"
    VersionRegistry(root).promote("v2", expected="v1", by="user")
    assert recommend(str(root), "42").attrs["version"] == "v2"
    assert recommend(root, "nobody").attrs["reason"].startswith("User 'nobody' is not in version v2")


def test_refuses_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "gone")):
        recommend(tmp_path / "gone", "42")


def test_refuses_a_dataset_without_promotion(version: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"promoted in {version.parent}"):
        recommend(version.parent, "42")


def test_refuses_a_missing_served_version(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("v9\n")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "v9")):
        recommend(tmp_path, "42")


@pytest.mark.parametrize("k", [0, -1])
def test_refuses_k_below_1(version: Path, k: int) -> None:
    with pytest.raises(ValueError, match=f"not {k}"):
        recommend(version, "42", k=k)


def test_returns_the_stored_similar_tracks(version: Path) -> None:
    frame = similar(version, "t1")
    assert frame.values.tolist() == [
        [1, "t3", "Quiet Canyon", None, 0.75], [2, "t2", "Paper Rivers", "The Signals", 0.5],
    ]  # fmt: skip
    assert frame.attrs["version"] == "v1"
    assert similar(version, "t1", k=1)["track_id"].tolist() == ["t3"]
    assert similar(version, "t4").empty


def test_store_returns_explanations(version: Path) -> None:
    with ServingStore(version) as store:
        explanations = {
            user: [(entry.track.track_id, [track.track_id for track in entry.explanation]) for entry in entries]
            for user in ("42", "alice", "zoe")
            for entries in [store.recommendations(user, 9)]
        }
    assert explanations == {
        "42": [("t3", ["t2", "t1"]), ("t4", [])],
        "alice": [("t1", []), ("t3", ["t2"]), ("t4", [])],
        "zoe": [],
    }


def test_refuses_an_unknown_track(version: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Track 't9' is not in version v1"):
        similar(version, "t9")
    with pytest.raises(ValueError, match="not 0"):
        similar(version, "t1", k=0)
    with pytest.raises(FileNotFoundError, match="gone"):
        similar(tmp_path / "gone", "t1")


def test_recommending_does_not_import_pyspark(version: Path) -> None:
    script = f"""
import sys
from models.recommender import recommend
print(len(recommend({str(version)!r}, "alice")), sorted({{"pyspark", "py4j"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "3 []\n"
