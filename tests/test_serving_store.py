"""Look-ups in `serving.sqlite`: lists, search, the track cache, and the modules that are imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.versions import BECAUSE, HEARD, LISTS, write_tables, write_version

from config.paths import PROJECT
from models import track_cache
from models.serving_records import ScoredTrack, StoredTrack
from models.serving_store import ServingStore

TITLES = ["Über allen Gipfeln", "Tiếng hát", "Ubermut", "La Über", "ÜBER den Wolken", "über_all", None]
"""Titles in descending order of popularity."""


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(tmp_path_factory.mktemp("models") / "songs", "v1")


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with the tracks of `TITLES`, the most popular with the highest index, and no users."""
    made = tmp_path_factory.mktemp("titled")
    titles = enumerate(reversed(TITLES))
    tracks = [(index, f"t{index}", title, "Band", None, index) for index, title in titles]
    write_tables(made, users=[], tracks=tracks)
    return made


def plain(lines: list[ScoredTrack]) -> list[tuple[str, float]]:
    """Return track ids and scores."""
    return [(line.track.track_id, line.score) for line in lines]


@pytest.mark.parametrize("user", HEARD)
def test_returns_users_with_lists_explanations_and_histories(version: Path, user: str) -> None:
    with ServingStore(version) as store:
        found = store.user_with_list(user, 9)
        assert found is not None
        assert found == (store.user(user), store.recommendations(user, 9))
        assert plain(found[1]) == LISTS[user]
        explanations = [[track.track_id for track in line.explanation] for line in found[1]]
        assert explanations == [BECAUSE.get((user, track), []) for track, _ in LISTS[user]]
        assert plain(store.history(user, 9)) == sorted(HEARD[user], key=lambda pair: -pair[1])


def test_an_unknown_user_has_no_list(version: Path) -> None:
    with ServingStore(version) as store:
        assert store.user_with_list("nobody", 9) is None
        assert store.recommendations("nobody", 9) == store.history("nobody", 9) == []


def test_limit_returns_the_beginning_of_a_list(version: Path) -> None:
    with ServingStore(version) as store:
        whole = store.recommendations("alice", 9)
        assert [store.recommendations("alice", limit) for limit in (1, 2, 3)] == [whole[:1], whole[:2], whole]
        assert plain(store.history("zoe", 2)) == [("t4", 4.0), ("t3", 3.0)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("uber", [0, 2, 3, 4, 5]), ("ÜBER", [0, 2, 3, 4, 5]), ("u\u0308ber g", [0]), ("u", [0, 2, 3, 4, 5]),
        ("übe", [0, 2, 3, 4, 5]), ("tieng", [1]), ("tie\u0302\u0301ng ha", [1]), ("über_a", [0, 5]),
        ("band uber wol", [4]),
        ("ber", []), ("'", range(7)), ("", range(7)),
    ],
)  # fmt: skip
def test_search_ignores_case_and_accents(titled: Path, text: str, found: list[int]) -> None:
    with ServingStore(titled) as store:
        assert [track.track_id for track in store.search_tracks(text)] == [f"t{6 - place}" for place in found]
        assert store.count_matches(text) == len(found)
        assert store.search_tracks(text, 2, 1) == store.search_tracks(text)[1:3]


def test_popular_tracks_end_with_the_catalogue(titled: Path) -> None:
    with ServingStore(titled) as store:
        assert plain(store.popular(3)) == [("t6", 6.0), ("t5", 5.0), ("t4", 4.0)]
        assert len(store.popular(100)) == store.num_tracks == len(TITLES)
        assert store.search_tracks("", 5, 5) == [store.track("t1"), store.track("t0")]


def test_maps_ids_and_indexes(titled: Path) -> None:
    with ServingStore(titled) as store:
        assert store.track_indexes(["t4", "gone", "t0"]) == {"t4": 4, "t0": 0}
        assert store.tracks_by_index([0, 6]) == {0: store.track("t0"), 6: store.track("t6")}
        assert store.similarities(3) == {}


def test_returns_similarities_by_index(version: Path) -> None:
    with ServingStore(version) as store:
        assert store.similarities(0) == {2: 0.75, 1: 0.5}
        assert plain(store.similar("t1", 9)) == [("t3", 0.75), ("t2", 0.5)]


def test_results_do_not_depend_on_the_cache_size(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServingStore(version) as store:
        usual = [store.user_with_list(user, 9) for user in HEARD]
    monkeypatch.setattr(track_cache, "MAX_CACHED_TRACKS", 0)
    with ServingStore(version) as store:
        assert [store.user_with_list(user, 9) for user in HEARD] == usual


def test_results_do_not_depend_on_the_block_size(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServingStore(version) as store:
        usual = [store.user_with_list(user, 9) for user in HEARD]
    del store  # or the next one would share its cache
    monkeypatch.setattr(track_cache, "_BLOCK", 2)
    prepared: list[str] = []
    with ServingStore(version, lambda track: prepared.append(track.track_id) or track.track_id) as store:
        assert [store.user_with_list(user, 9) for user in reversed([*HEARD])] == usual[::-1]
        assert all(line.track.prepared == line.track.track_id for user in HEARD for line in store.history(user, 9))
    assert prepared
    assert len(prepared) == len(set(prepared))


def test_stores_of_a_version_share_cached_tracks(version: Path) -> None:
    with ServingStore(version) as one, ServingStore(version) as other:
        assert one.popular(1)[0].track is other.popular(1)[0].track


def test_a_store_can_be_used_in_another_thread(version: Path) -> None:
    found: list[StoredTrack | None] = []
    with ServingStore(version) as store:
        thread = threading.Thread(target=lambda: found.append(store.track("t1")))
        thread.start()
        thread.join()
        assert found == [store.track("t1")]


def test_look_ups_import_neither_numpy_nor_arrow(version: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from models.serving_store import ServingStore
store = ServingStore(Path({str(version)!r}))
print(len(store.recommendations("alice", 9)), sorted({{"numpy", "pyarrow"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "3 []\n"
