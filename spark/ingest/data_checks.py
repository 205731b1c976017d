"""Checks of the interactions: each yields a figure, a verdict, and a sentence for readers without prior knowledge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.formatting import count_noun

MIN_INTERACTIONS = 5
"""Users and tracks with fewer interactions than this are counted, because models learn little from them."""

_NOTICE_ABOVE = {
    "top_tracks": 0.5,
    "users_with_few": 0.5,
    "tracks_with_few": 0.5,
    "without_entry": 0.05,
    "commonest_value": 0.8,
}
"""Shares above which a check gives a notice."""

Verdict = Literal["ok", "notice", "refused"]


@dataclass(frozen=True)
class DataFacts:
    """The figures that the checks need."""

    rows: int
    """Raw rows."""
    per_user: NDArray[np.int64]
    """Interactions of each user, including users without any."""
    per_track: NDArray[np.int64]
    without_entry: int | None
    """Tracks that have interactions and are missing from the catalogue; None if there is no catalogue."""
    unusable: dict[str, int]
    """Rows of other tables that are malformed or have no id, by the table's heading."""
    is_rating: bool
    commonest: tuple[float, int]
    """The most frequent value, and the number of interactions with it."""
    distinct_values: int
    future: int
    """Interactions dated in the future."""


@dataclass(frozen=True)
class _Check:
    check: str
    verdict: Verdict
    figure: float
    sentence: str


def run_checks(facts: DataFacts) -> list[dict[str, Any]]:
    """Return every check that applies, as a dict of check, verdict, figure and sentence."""
    return [asdict(check) for check in (*_size_checks(facts), *_value_checks(facts), *_quality_checks(facts))]


def raise_on_failed_check(checks: list[dict[str, Any]], path: Path) -> None:
    """Raise a UserError for the first check with the verdict `refused`."""
    for check in checks:
        if check["verdict"] == "refused":
            raise UserError(f"{path}: {check['sentence']}")


def _size_checks(facts: DataFacts) -> Iterator[_Check]:
    yield _requirement("empty_input", facts.rows > 0, facts.rows, f"{facts.rows:,} rows were read.")
    for noun, counts in (("user", facts.per_user), ("track", facts.per_track)):
        active = int(np.count_nonzero(counts))
        sentence = f"{active:,} {noun}s have interactions."
        if active == 1:
            sentence = f"only one {noun} has interactions; at least two are required."
        yield _requirement(f"single_{noun}", active != 1, active, sentence)


def _value_checks(facts: DataFacts) -> Iterator[_Check]:
    if not facts.is_rating:
        return
    (value, count), distinct = facts.commonest, facts.distinct_values
    sentence = f"{count_noun(distinct, 'distinct rating')} occur{'s' if distinct == 1 else ''}."
    if distinct == 1:
        sentence = (
            f"every rating is {value:g}, so ratings carry no information: describe the data as "
            'feedback = "events" instead.'
        )
    yield _requirement("constant_ratings", distinct != 1, distinct, sentence)
    yield _share("commonest_value", count, int(facts.per_track.sum()), f"of the ratings are {value:g}")


def _quality_checks(facts: DataFacts) -> Iterator[_Check]:
    users, tracks = facts.per_user[facts.per_user > 0], facts.per_track[facts.per_track > 0]
    top = np.sort(tracks)[::-1][: math.ceil(len(tracks) / 100)]
    sentence = "of the interactions are with the most popular 1 % of the tracks"
    yield _share("top_tracks", int(top.sum()), int(tracks.sum()), sentence)
    for noun, counts in (("users", users), ("tracks", tracks)):
        few = int((counts < MIN_INTERACTIONS).sum())
        yield _share(f"{noun}_with_few", few, len(counts), f"of the {noun} have fewer than five interactions")
    if facts.without_entry is not None:
        sentence = "of the tracks with interactions are missing from the catalogue"
        yield _share("without_entry", facts.without_entry, len(tracks), sentence)
    for heading, rows in facts.unusable.items():
        sentence = f"{count_noun(rows, 'row')} of [{heading}] {_is_or_are(rows)} malformed or without an id."
        yield _expect_none(f"unusable_{heading}", rows, sentence)
    sentence = f"{count_noun(facts.future, 'interaction')} {_is_or_are(facts.future)} dated in the future."
    yield _expect_none("future", facts.future, sentence)


def _requirement(check: str, fulfilled: bool, figure: float, sentence: str) -> _Check:
    return _Check(check, "ok" if fulfilled else "refused", figure, sentence)


def _share(check: str, part: int, total: int, sentence: str) -> _Check:
    share = part / total
    return _Check(check, "notice" if share > _NOTICE_ABOVE[check] else "ok", share, f"{share:.1%} {sentence}.")


def _expect_none(check: str, count: int, sentence: str) -> _Check:
    return _Check(check, "notice" if count else "ok", count, sentence)


def _is_or_are(count: int) -> str:
    return "is" if count == 1 else "are"
