"""`recommend()` and `similar()`: recommendations and similar tracks from a published version, without a JVM."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from models.registry import VersionRegistry
from models.serving_records import ScoredTrack
from models.serving_store import ServingStore

COLUMNS = ["rank", "track_id", "title", "artist", "score"]


def resolve(model_path: str | Path) -> Path:
    """Return the version directory for a path: the path itself, or the served version of a dataset.

    Raises:
        FileNotFoundError: the path does not exist, or no version has been promoted there.
    """
    path = Path(model_path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no model at {path}.")
    if (path / "manifest.json").is_file():
        return path
    version = VersionRegistry(path).current()
    if version is None:
        raise FileNotFoundError(f"No version has been promoted in {path} yet.")
    return path / version


def recommend(model_path: str | Path, user_id: str | int, k: int = 10) -> pd.DataFrame:
    """Return the best `k` tracks for a user, without those they have heard.

    Args:
        model_path: a version directory, or `models/<dataset>` for the version that is served.
        user_id: the user's own id.
        k: maximum number of tracks; a stored list may be shorter.

    Returns:
        Columns rank (from 1), track_id, title, artist, score. An unknown user gets the most popular tracks, with the
        number of listeners as the score, and `attrs["reason"]` says so; it is None for known users.

    Raises:
        FileNotFoundError: there is no published version at `model_path`.
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    version = resolve(model_path)
    with ServingStore(version) as store:
        known = store.user(str(user_id)) is not None
        tracks = store.recommendations(str(user_id), k) if known else store.popular(k)
    frame = _to_frame(tracks, version)
    frame.attrs["reason"] = (
        None if known else f"User {str(user_id)!r} is not in version {version.name}: these are its most popular tracks."
    )
    return frame


def similar(model_path: str | Path, track_id: str | int, k: int = 10) -> pd.DataFrame:
    """Return the `k` tracks most similar to a track according to the champion.

    Args:
        model_path: see `recommend`.
        track_id: the track's own id.
        k: maximum number of tracks. A stored list may be shorter, and is usually empty for a track without listeners.

    Returns:
        Columns rank (from 1), track_id, title, artist, score.

    Raises:
        FileNotFoundError: there is no published version at `model_path`.
        ValueError: `k` is below 1, or the version does not contain the track.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    version = resolve(model_path)
    with ServingStore(version) as store:
        if store.track(str(track_id)) is None:
            raise ValueError(f"Track {str(track_id)!r} is not in version {version.name}.")
        return _to_frame(store.similar(str(track_id), k), version)


def _to_frame(tracks: list[ScoredTrack], version: Path) -> pd.DataFrame:
    rows = [
        (rank, entry.track.track_id, entry.track.title, entry.track.artist, entry.score)
        for rank, entry in enumerate(tracks, start=1)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs["version"] = version.name
    return frame
