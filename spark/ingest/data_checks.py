"""Checks of the listening data: each a figure, a verdict, and a sentence that a newcomer understands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError

FEW = 5
"""Interactions below which little can be learned of a user or a track."""

_MOST = {
    "top_tracks": 0.5,
    "users_with_few": 0.5,
    "tracks_with_few": 0.5,
    "without_entry": 0.05,
    "commonest_value": 0.8,
}
"""Shares above which a check is worth a notice."""

Verdict = Literal["ok", "notice", "refused"]


@dataclass(frozen=True)
class DataFacts:
    """What the checks look at."""

    rows: int
    """Raw rows."""
    per_user: NDArray[np.int64]
    """Interactions of each user, those of the users' file included."""
    per_track: NDArray[np.int64]
    without_entry: int | None
    """Tracks that were heard and are not in the catalogue; None where there is no catalogue."""
    unusable: dict[str, int]
    """Rows of other files that are malformed or have no id, by the file's heading."""
    is_rating: bool
    commonest: tuple[float, int]
    """The commonest value, and how many interactions have it."""
    distinct_values: int
    future: int
    """Interactions of later than now."""


def run_checks(facts: DataFacts) -> list[dict[str, Any]]:
    """Every check that applies: check, verdict, figure, sentence."""
    return [asdict(check) for check in _checks(facts)]


def raise_on_failed_check(checked: list[dict[str, Any]], path: Path) -> None:
    """Raises a UserError for the first check that refuses the run."""
    for check in checked:
        if check["verdict"] == "refused":
            raise UserError(f"{path}: {check['sentence']}")


@dataclass(frozen=True)
class _Check:
    check: str
    verdict: Verdict
    figure: float
    sentence: str


def _checks(facts: DataFacts) -> Iterator[_Check]:
    users, tracks = facts.per_user[facts.per_user > 0], facts.per_track[facts.per_track > 0]
    interactions = int(tracks.sum())
    yield _refusing("empty_input", facts.rows == 0, facts.rows, f"{facts.rows:,} rows were read.")
    for noun, verb, one in (("user", "listened", users), ("track", "were heard", tracks)):
        alone = len(one) == 1
        sentence = f"there is only one {noun}; it takes at least two." if alone else f"{len(one):,} {noun}s {verb}."
        yield _refusing(f"single_{noun}", alone, len(one), sentence)
    value, times = facts.commonest
    if facts.is_rating:
        constant = facts.distinct_values == 1
        yield _refusing(
            "constant_ratings", constant, facts.distinct_values,
            f"every rating is {value:g}: nothing can be learned from that; as events, they would say who heard what."
            if constant
            else f"{_counted(facts.distinct_values, 'different rating')} occur.",
        )  # fmt: skip
        yield _share("commonest_value", times, interactions, f"of the ratings are {value:g}")
    best = np.sort(tracks)[::-1][: math.ceil(len(tracks) / 100)]
    yield _share("top_tracks", int(best.sum()), interactions, "of the interactions are with the top 1 % of the tracks")
    for name, counts, what in (("users_with_few", users, "users"), ("tracks_with_few", tracks, "tracks")):
        yield _share(name, int((counts < FEW).sum()), len(counts), f"of the {what} have fewer than five interactions")
    if facts.without_entry is not None:
        yield _share("without_entry", facts.without_entry, len(tracks), "of the tracks heard are not in the catalogue")
    for heading, count in facts.unusable.items():
        yield _noticed(
            f"unusable_{heading}", count, f"{_counted(count, 'row')} of [{heading}] malformed or without an id."
        )
    yield _noticed("future", facts.future, f"{_counted(facts.future, 'interaction')} of a time that is still to come.")


def _refusing(check: str, refused: bool, figure: float, sentence: str) -> _Check:
    return _Check(check, "refused" if refused else "ok", figure, sentence)


def _share(check: str, part: int, whole: int, sentence: str) -> _Check:
    share = part / whole
    return _Check(check, "notice" if share > _MOST[check] else "ok", share, f"{share:.1%} {sentence}.")


def _noticed(check: str, count: int, sentence: str) -> _Check:
    return _Check(check, "notice" if count else "ok", count, sentence)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
