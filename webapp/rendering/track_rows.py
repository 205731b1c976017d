"""The rows of a list of tracks, and a track's name in them: a page has hundreds, and Jinja takes four times as long."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from models.serving_records import ScoredTrack, StoredTrack
from webapp.rendering import charts, formats
from webapp.rendering.links import around_track, track_link
from webapp.serving import track_fragments
from webapp.serving.track_fragments import Prepared

_UNKNOWN = '<span class="muted">—</span>'


def track_name(track: StoredTrack) -> Markup:
    """A track's title, or its id where it has none, as a link to its page."""
    return Markup(_name(track_fragments.of(track), around_track()))


def any_known(lines: Sequence[ScoredTrack], what: str) -> bool:
    """Whether the `artist`, or the `genre`, of any track is known."""
    return any(getattr(line.track, what) for line in lines)


def track_rows(
    lines: Sequence[ScoredTrack], heading: str, kind: str, highest: float, *, ranked: bool, artists: bool, genres: bool
) -> Markup:
    """The rows of a list's table.

    Args:
        heading: what the numbers are called.
        kind: `score` if they are scores, which have their own form.
        highest: what the bars are measured by; 0: there are none.
        ranked, artists, genres: whether there are such columns.
    """
    around, write = around_track(), formats.score if kind == "score" else formats.number
    rows = []
    for rank, (track, number, because) in enumerate(lines, 1):
        ready, said = track_fragments.of(track), write(number)
        place = f'<td class="figure rank">{rank}</td>' if ranked else ""
        named = " and ".join([_name(track_fragments.of(heard), around) for heard in because])
        reason = f' <small class="because">because of {named}</small>' if named else ""
        artist = f'<td class="artist">{_word(ready.artist)}</td>' if artists else ""
        genre = f'<td class="genre">{_word(ready.genre)}</td>' if genres else ""
        bar = charts.score_bar(number, highest, f"{heading} {said}") if highest else ""
        rows.append(
            f'<tr>{place}<th scope="row">{_name(ready, around)}{reason}</th>{artist}{genre}'
            f'<td class="figure number">{said} {bar}</td></tr>\n'
        )
    return Markup("".join(rows))


def _word(text: str) -> str:
    return f"<bdi>{text}</bdi>" if text else _UNKNOWN


def _name(ready: Prepared, around: tuple[str, str]) -> str:
    _, in_path, own_id, title, *_ = ready
    name = f'<bdi title="id {own_id}">{title}</bdi>' if title else f'<code class="id">{own_id}</code>'
    if not in_path:  # two dots at most, which are themselves in HTML
        return f'<a href="{escape(track_link(own_id))}">{name}</a>'
    return f'<a href="{around[0]}{in_path}{around[1]}">{name}</a>'
