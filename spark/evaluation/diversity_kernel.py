"""Compiled kernel of the diversity metric."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def similarities(lists, sizes, starts, labels, sums, pairs):  # type: ignore[no-untyped-def]
    """Sum the Jaccard similarities of all pairs of tracks in each list, and count the pairs.

    Pairs with a track that has no labels are left out.

    Args:
        lists: tracks, shape (lists, k).
        sizes: number of tracks in each list.
        starts, labels: the labels of track t, ascending, are `labels[starts[t]:starts[t + 1]]`.
        sums, pairs: outputs of shape (lists,), initially 0.
    """
    for row in range(lists.shape[0]):
        for i in range(min(sizes[row], lists.shape[1])):
            low, high = starts[lists[row, i]], starts[lists[row, i] + 1]
            for j in range(i):
                start, end = starts[lists[row, j]], starts[lists[row, j] + 1]
                if low == high or start == end:
                    continue
                common, a, b = 0, low, start
                while a < high and b < end:
                    if labels[a] == labels[b]:
                        common += 1
                        a += 1
                        b += 1
                    elif labels[a] < labels[b]:
                        a += 1
                    else:
                        b += 1
                sums[row] += common / (high - low + end - start - common)
                pairs[row] += 1
