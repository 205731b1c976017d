"""`recommend()` and `similar()`: answer from a published version, without a JVM."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from models.registry import VersionRegistry
from models.serving_records import ScoredTrack
from models.serving_store import ServingStore

COLUMNS = ["rank", "track_id", "title", "artist", "score"]


def resolve(model_path: str | Path) -> Path:
    """The version directory that a path means: itself, or what `current` in it names.

    Raises:
        FileNotFoundError: the path does not exist, or nothing has been promoted there.
    """
    path = Path(model_path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no model at {path}.")
    if (path / "manifest.json").is_file():
        return path
    version = VersionRegistry(path).current()
    if version is None:
        raise FileNotFoundError(f"Nothing has been promoted in {path} yet.")
    return path / version


def recommend(model_path: str | Path, user_id: str | int, k: int = 10) -> pd.DataFrame:
    """The best `k` tracks for a user, none of them heard before.

    Args:
        model_path: a version directory, or `models/<dataset>` for the version that is served.
        user_id: the user's own id.
        k: how many; at most as many as are stored come back.

    Returns:
        Columns rank (from 1), track_id, title, artist, score. A user whom the version does not know gets the
        most popular tracks (the score is then their number of listeners), and `attrs["reason"]` says so; it is
        None for everyone else.

    Raises:
        FileNotFoundError: there is no published version at `model_path`.
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    version = resolve(model_path)
    with ServingStore(version) as store:
        known = store.user(str(user_id)) is not None
        listed = store.recommendations(str(user_id), k) if known else store.popular(k)
    frame = _framed(listed, version)
    frame.attrs["reason"] = (
        None if known else f"User {str(user_id)!r} is not in version {version.name}: these are its most popular tracks."
    )
    return frame


def similar(model_path: str | Path, track_id: str | int, k: int = 10) -> pd.DataFrame:
    """The `k` tracks that are most similar to a track, by what the champion has learned.

    Args:
        model_path: see `recommend`.
        track_id: the track's own id.
        k: how many; at most as many as are stored come back, and none of a track that nobody has heard as a rule.

    Returns:
        Columns rank (from 1), track_id, title, artist, score.

    Raises:
        FileNotFoundError: there is no published version at `model_path`.
        ValueError: `k` is below 1, or the version does not know the track.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    version = resolve(model_path)
    with ServingStore(version) as store:
        if store.track(str(track_id)) is None:
            raise ValueError(f"Track {str(track_id)!r} is not in version {version.name}.")
        return _framed(store.similar(str(track_id), k), version)


def _framed(listed: list[ScoredTrack], version: Path) -> pd.DataFrame:
    """A list as a frame."""
    rows = [
        (rank, line.track.track_id, line.track.title, line.track.artist, line.score)
        for rank, line in enumerate(listed, start=1)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs["version"] = version.name
    return frame
