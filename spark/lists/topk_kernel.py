"""The compiled part of choosing the best k tracks: selection out of tiles of scores, and its fusion with the product.

Exact, and the same whatever the tiles: a higher score comes first, of equal scores the track with the lower index. What
a user has heard is looked up only for tracks that would get into the list.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TILE_ROWS = 512
TILE_COLUMNS = 512
_STRIDE = 64
"""Scores that are compared at once with the least score in the list."""


@njit(cache=True, nogil=True)
def offer(scores, tracks, lists, rows, heard_starts, heard, best, found, sizes):  # type: ignore[no-untyped-def]
    """Takes from each row of scores what belongs into that row's list.

    Args:
        scores: shape (rows, columns), finite.
        tracks: the track of each column.
        lists: the place of each row's list in `best`, `found`, `sizes`.
        rows: of each row, its place in `heard_starts`.
        heard: tracks that are left out, ascending: of place r those from `heard_starts[r]` to `heard_starts[r + 1]`.
        best, found: the lists as heaps, scores and tracks, shape (lists, k); the least of a list is in front.
        sizes: how many a list has.
    """
    k = best.shape[1]
    columns = scores.shape[1]
    for i in range(scores.shape[0]):
        mine = lists[i]
        low, high = heard_starts[rows[i]], heard_starts[rows[i] + 1]
        row = scores[i]
        start = 0
        while start < columns:
            end = min(start + _STRIDE, columns)
            if sizes[mine] == k:
                least = best[mine, 0]
                count = 0
                for c in range(start, end):
                    count += row[c] >= least
                if count == 0:
                    start = end
                    continue
            for c in range(start, end):
                score, track = row[c], tracks[c]
                if sizes[mine] == k and not _comes_first(score, track, best[mine, 0], found[mine, 0]):
                    continue
                if _contains(heard, low, high, track):
                    continue
                if sizes[mine] < k:
                    _push(best[mine], found[mine], sizes[mine], score, track)
                    sizes[mine] += 1
                else:
                    _replace(best[mine], found[mine], score, track)
            start = end


@njit(cache=True, nogil=True)
def offer_products(users, order, factors, norms, rows, heard_starts, heard, best, found, sizes):  # type: ignore[no-untyped-def]
    """The same with the products of factors for scores; passes over tracks that cannot get into any list.

    By Cauchy and Schwarz no track's score is above the product of the norms: with the tracks in descending order of
    their norms, a user whose k-th score is above that bound is done.

    Args:
        users: factors of the users, shape (lists, rank).
        order: the tracks, in descending order of their norms.
        factors: of the tracks in this order, shape (tracks, rank).
        norms: of the tracks in this order.
    """
    count, k = best.shape
    lengths = np.empty(count, np.float32)
    for i in range(count):
        total = np.float64(0)
        for j in range(users.shape[1]):
            total += np.float64(users[i, j]) * np.float64(users[i, j])
        lengths[i] = np.sqrt(total) * (1.0 + 1e-5)  # the product in single precision may be a little above
    active = np.arange(count)
    left = count
    mine = users.copy()
    scores = np.empty((count, TILE_COLUMNS), np.float32)
    for start in range(0, len(order), TILE_COLUMNS):
        end = min(start + TILE_COLUMNS, len(order))
        kept = 0
        for i in range(left):
            if sizes[active[i]] < k or best[active[i], 0] <= lengths[active[i]] * norms[start]:
                if kept != i:
                    active[kept] = active[i]
                    mine[kept] = mine[i]
                kept += 1
        left = kept
        if left == 0:
            break
        if end - start == TILE_COLUMNS:
            np.dot(mine[:left], factors[start:end].T, scores[:left])
            offer(
                scores[:left],
                order[start:end],
                active[:left],
                rows[active[:left]],
                heard_starts,
                heard,
                best,
                found,
                sizes,
            )
        else:
            rest = np.dot(mine[:left], factors[start:end].T)
            offer(rest, order[start:end], active[:left], rows[active[:left]], heard_starts, heard, best, found, sizes)


@njit(cache=True, nogil=True)
def rescore(users, factors, best, found, sizes):  # type: ignore[no-untyped-def]
    """Replaces the scores by products in double precision, which do not depend on who shared a tile with whom."""
    for i in range(len(sizes)):
        for place in range(sizes[i]):
            total = np.float64(0)
            for j in range(users.shape[1]):
                total += np.float64(users[i, j]) * np.float64(factors[found[i, place], j])
            best[i, place] = total


@njit(cache=True, nogil=True)
def sort_lists(best, found, sizes):  # type: ignore[no-untyped-def]
    """Puts each list into its order, the best first."""
    for i in range(len(sizes)):
        for place in range(1, sizes[i]):
            score, track = best[i, place], found[i, place]
            at = place
            while at > 0 and _comes_first(score, track, best[i, at - 1], found[i, at - 1]):
                best[i, at], found[i, at] = best[i, at - 1], found[i, at - 1]
                at -= 1
            best[i, at], found[i, at] = score, track


@njit(cache=True, nogil=True)
def pick(tracks, taken, artists, most, places, sizes):  # type: ignore[no-untyped-def]
    """Picks from each row, in its order, tracks that are not picked yet, and whose artist has not `most` already.

    Args:
        tracks, taken: candidates, and which of them there are, shape (rows, columns).
        artists: of each track, a number; -1 is not limited.
        most: picked tracks of one artist; 0: any number.
        places: receives the columns that are picked, shape (rows, k).
        sizes: receives how many they are, shape (rows,).
    """
    for i in range(len(tracks)):
        for c in range(tracks.shape[1]):
            if sizes[i] == places.shape[1]:
                break
            if not taken[i, c]:
                continue
            track, artist = tracks[i, c], artists[tracks[i, c]]
            again, same = False, 0
            for place in range(sizes[i]):
                other = tracks[i, places[i, place]]
                again |= other == track
                same += artist >= 0 and artists[other] == artist
            if not again and (most == 0 or same < most):
                places[i, sizes[i]] = c
                sizes[i] += 1


@njit(cache=True, nogil=True)
def _comes_first(score, track, other_score, other_track):  # type: ignore[no-untyped-def]
    return score > other_score or (score == other_score and track < other_track)


@njit(cache=True, nogil=True)
def _contains(heard, low, high, track):  # type: ignore[no-untyped-def]
    while low < high:
        middle = (low + high) // 2
        if heard[middle] < track:
            low = middle + 1
        elif heard[middle] > track:
            high = middle
        else:
            return True
    return False


@njit(cache=True, nogil=True)
def _push(best, found, size, score, track):  # type: ignore[no-untyped-def]
    """Adds to a heap that is not full."""
    at = size
    while at > 0:
        above = (at - 1) // 2
        if not _comes_first(best[above], found[above], score, track):
            break
        best[at], found[at] = best[above], found[above]
        at = above
    best[at], found[at] = score, track


@njit(cache=True, nogil=True)
def _replace(best, found, score, track):  # type: ignore[no-untyped-def]
    """Replaces the least of a full heap."""
    k = len(best)
    at = 0
    while True:
        below = 2 * at + 1
        if below >= k:
            break
        if below + 1 < k and _comes_first(best[below], found[below], best[below + 1], found[below + 1]):
            below += 1
        if not _comes_first(score, track, best[below], found[below]):
            break
        best[at], found[at] = best[below], found[below]
        at = below
    best[at], found[at] = score, track
