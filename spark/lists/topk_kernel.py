"""Compiled top-k selection: from tiles of scores, or fused with the matrix product that computes them.

The result is exact and does not depend on the tiles: higher scores come first, equal scores in the order of the tracks'
indexes. The history is searched only for tracks that would enter a list.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TILE_ROWS = 512
TILE_COLUMNS = 512
_STRIDE = 64
"""Number of scores that are compared at once with the lowest score of the list."""


@njit(cache=True, nogil=True)
def offer(scores, tracks, lists, rows, indptr, indices, best_scores, best_tracks, sizes):  # type: ignore[no-untyped-def]
    """Offer each row of scores to a list: insert the tracks that belong among its best k.

    Args:
        scores: shape (rows, columns), finite.
        tracks: the track of each column.
        lists: the list of each row, an index into the last three arguments.
        rows: the user of each row, a row of the history.
        indptr, indices: the users' histories in CSR form, indices ascending; these tracks are left out.
        best_scores, best_tracks: the lists as min-heaps, shape (lists, k): the lowest entry comes first.
        sizes: the length of each list.
    """
    k = best_scores.shape[1]
    columns = scores.shape[1]
    for i in range(scores.shape[0]):
        target = lists[i]
        low, high = indptr[rows[i]], indptr[rows[i] + 1]
        row = scores[i]
        start = 0
        while start < columns:
            end = min(start + _STRIDE, columns)
            if sizes[target] == k:
                lowest = best_scores[target, 0]
                count = 0
                for c in range(start, end):
                    count += row[c] >= lowest
                if count == 0:
                    start = end
                    continue
            for c in range(start, end):
                score, track = row[c], tracks[c]
                if sizes[target] == k and not _comes_first(
                    score, track, best_scores[target, 0], best_tracks[target, 0]
                ):
                    continue
                if _contains(indices, low, high, track):
                    continue
                if sizes[target] < k:
                    _push(best_scores[target], best_tracks[target], sizes[target], score, track)
                    sizes[target] += 1
                else:
                    _replace(best_scores[target], best_tracks[target], score, track)
            start = end


@njit(cache=True, nogil=True)
def offer_products(users, order, factors, norms, rows, indptr, indices, best_scores, best_tracks, sizes):  # type: ignore[no-untyped-def]
    """Like `offer`, with the inner products of factors as scores; skips tracks that cannot enter any list.

    By the Cauchy-Schwarz inequality, a score is at most the product of the two norms. Tracks come in descending order
    of their norms, so a user is finished when their k-th best score exceeds this bound.

    Args:
        users: user factors, shape (lists, rank).
        order: the tracks in descending order of their norms.
        factors: factors of the tracks in this order, shape (tracks, rank).
        norms: norms of the tracks in this order.
    """
    count, k = best_scores.shape
    user_norms = np.empty(count, np.float32)
    for i in range(count):
        total = np.float64(0)
        for j in range(users.shape[1]):
            total += np.float64(users[i, j]) * np.float64(users[i, j])
        user_norms[i] = np.sqrt(total) * (1.0 + 1e-5)  # products in single precision may exceed the bound slightly
    active = np.arange(count)
    remaining = count
    active_factors = users.copy()
    scores = np.empty((count, TILE_COLUMNS), np.float32)
    for start in range(0, len(order), TILE_COLUMNS):
        end = min(start + TILE_COLUMNS, len(order))
        kept = 0
        for i in range(remaining):
            if sizes[active[i]] < k or best_scores[active[i], 0] <= user_norms[active[i]] * norms[start]:
                if kept != i:
                    active[kept] = active[i]
                    active_factors[kept] = active_factors[i]
                kept += 1
        remaining = kept
        if remaining == 0:
            break
        if end - start == TILE_COLUMNS:
            np.dot(active_factors[:remaining], factors[start:end].T, scores[:remaining])
            offer(
                scores[:remaining],
                order[start:end],
                active[:remaining],
                rows[active[:remaining]],
                indptr,
                indices,
                best_scores,
                best_tracks,
                sizes,
            )
        else:
            rest = np.dot(active_factors[:remaining], factors[start:end].T)
            offer(
                rest,
                order[start:end],
                active[:remaining],
                rows[active[:remaining]],
                indptr,
                indices,
                best_scores,
                best_tracks,
                sizes,
            )


@njit(cache=True, nogil=True)
def rescore(users, factors, best_scores, best_tracks, sizes):  # type: ignore[no-untyped-def]
    """Recompute the scores in double precision, in which they do not depend on the composition of the tiles."""
    for i in range(len(sizes)):
        for position in range(sizes[i]):
            total = np.float64(0)
            for j in range(users.shape[1]):
                total += np.float64(users[i, j]) * np.float64(factors[best_tracks[i, position], j])
            best_scores[i, position] = total


@njit(cache=True, nogil=True)
def sort_lists(best_scores, best_tracks, sizes):  # type: ignore[no-untyped-def]
    """Sort each list, best track first."""
    for i in range(len(sizes)):
        for position in range(1, sizes[i]):
            score, track = best_scores[i, position], best_tracks[i, position]
            slot = position
            while slot > 0 and _comes_first(score, track, best_scores[i, slot - 1], best_tracks[i, slot - 1]):
                best_scores[i, slot], best_tracks[i, slot] = best_scores[i, slot - 1], best_tracks[i, slot - 1]
                slot -= 1
            best_scores[i, slot], best_tracks[i, slot] = score, track


@njit(cache=True, nogil=True)
def pick(tracks, taken, artists, max_per_artist, positions, sizes):  # type: ignore[no-untyped-def]
    """Pick tracks from each row in order, without repetition and within a limit per artist.

    Args:
        tracks, taken: candidates, and whether each one is valid, shape (rows, columns).
        artists: code of each track's artist; -1 is not limited.
        max_per_artist: maximum number of picked tracks of one artist; 0 is unlimited.
        positions: receives the picked columns, shape (rows, k).
        sizes: receives the number of picked columns, shape (rows,).
    """
    for i in range(len(tracks)):
        for c in range(tracks.shape[1]):
            if sizes[i] == positions.shape[1]:
                break
            if not taken[i, c]:
                continue
            track, artist = tracks[i, c], artists[tracks[i, c]]
            is_duplicate, same_artist = False, 0
            for position in range(sizes[i]):
                other = tracks[i, positions[i, position]]
                is_duplicate |= other == track
                same_artist += artist >= 0 and artists[other] == artist
            if not is_duplicate and (max_per_artist == 0 or same_artist < max_per_artist):
                positions[i, sizes[i]] = c
                sizes[i] += 1


@njit(cache=True, nogil=True)
def _comes_first(score, track, other_score, other_track):  # type: ignore[no-untyped-def]
    return score > other_score or (score == other_score and track < other_track)


@njit(cache=True, nogil=True)
def _contains(indices, low, high, track):  # type: ignore[no-untyped-def]
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < track:
            low = middle + 1
        elif indices[middle] > track:
            high = middle
        else:
            return True
    return False


@njit(cache=True, nogil=True)
def _push(scores, tracks, size, score, track):  # type: ignore[no-untyped-def]
    """Add to a heap that is not full."""
    slot = size
    while slot > 0:
        parent = (slot - 1) // 2
        if not _comes_first(scores[parent], tracks[parent], score, track):
            break
        scores[slot], tracks[slot] = scores[parent], tracks[parent]
        slot = parent
    scores[slot], tracks[slot] = score, track


@njit(cache=True, nogil=True)
def _replace(scores, tracks, score, track):  # type: ignore[no-untyped-def]
    """Replace the lowest entry of a full heap."""
    k = len(scores)
    slot = 0
    while True:
        child = 2 * slot + 1
        if child >= k:
            break
        if child + 1 < k and _comes_first(scores[child], tracks[child], scores[child + 1], tracks[child + 1]):
            child += 1
        if not _comes_first(score, track, scores[child], tracks[child]):
            break
        scores[slot], tracks[slot] = scores[child], tracks[child]
        slot = child
    scores[slot], tracks[slot] = score, track
