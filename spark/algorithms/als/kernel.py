"""The compiled part of alternating least squares: solves the rows of one side with the other side fixed.

Each row u minimises, over its own factors x, with y the factors of the columns c that it has entries for,

    implicit   Σ_c (1 + w_c) (1 − x·y_c)² + Σ_{c'} (x·y_c')² over all other columns + λ n^e |x|²    (Hu et al. 2008)
    explicit   Σ_c (v_c − x·y_c)² + λ n^e |x|²                                                  (Zhou et al. 2008)

so that both solve (G + λ n^e I + Σ w y yᵀ) x = Σ t y: G the Gram matrix of all columns, w = α·f(v) and t = 1 + w
if implicit; G = 0, w = 1 and t the rating if explicit. Conjugate gradients start from the row's present factors and
take a few steps (Takács, Pilászy and Tikk 2011). Rows are taken in batches whose factors of the other side fit into the
cache: they are gathered once, and the products with G are one matrix product a batch. A row that fills a batch by
itself costs so much to go through that its matrix is written out and solved exactly, by Cholesky.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

BATCH_ROWS = 128
BATCH_ENTRIES = 4096

BINARY, LINEAR, LOG, EXPLICIT = 0, 1, 2, 3
"""What makes a weight of a value: 1, the value, log(1 + value); or ratings, whose weight is 1 and target the value."""

_SMALL = np.float32(1e-20)


class Entries(NamedTuple):
    """Compressed rows: see `spark.storage.interaction_matrix.Rows`."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]


class Form(NamedTuple):
    """The objective, as one side sees it."""

    kind: int
    """BINARY, LINEAR, LOG or EXPLICIT."""
    alpha: np.float32
    reg: float
    exponent: float
    mean: np.float32
    """What the target is freed from."""
    ones: int
    """Which column of the other side's factors is all ones and has the row's bias as its partner; −1: none."""
    minus: int
    """Which column of the other side's factors is its bias, which the target is freed from as well; −1: none."""


class Workspace(NamedTuple):
    """What a batch of entries is unpacked into."""

    factors: NDArray[np.float32]
    """Shape (BATCH_ENTRIES, unknowns of a row)."""
    scaled: NDArray[np.float32]
    """The same, each times its weight."""
    weights: NDArray[np.float32]
    targets: NDArray[np.float32]


@njit(cache=True, nogil=True)
def solve(entries, form, other, gram, own, steps, first, last):  # type: ignore[no-untyped-def]
    """New factors of the rows first to last, shape (last − first, own.shape[1]); a row without entries gets zeros.

    Args:
        entries: `Entries` of all rows.
        form: `Form`.
        other: factors of the columns, shape (columns, width), float32.
        gram: Gram matrix of `other`, shape (rank, rank); zeros if explicit.
        own: the rows' present factors, shape (rows, width).
        steps: of conjugate gradients; 0 solves exactly.
    """
    rank = gram.shape[0]
    size = rank + 1 if form.ones >= 0 else rank
    full = np.zeros((size, size), np.float32)
    full[:rank, :rank] = gram
    room = Workspace(
        np.empty((BATCH_ENTRIES, size), np.float32),
        np.empty((BATCH_ENTRIES, size), np.float32),
        np.empty(BATCH_ENTRIES, np.float32),
        np.empty(BATCH_ENTRIES, np.float32),
    )
    out = np.zeros((last - first, own.shape[1]), np.float32)
    x = np.empty((BATCH_ROWS, size), np.float32)
    at_most = 0 if steps == 0 else BATCH_ROWS
    row = first
    while row < last:
        begin = row
        while row < last and row - begin < at_most and entries.starts[row + 1] - entries.starts[begin] <= BATCH_ENTRIES:
            row += 1
        if row == begin:
            row = begin + 1
            if entries.starts[row] > entries.starts[begin]:
                x[0] = _exactly(entries, form, other, full, rank, room, begin)
        else:
            for i in range(begin, row):
                _take(own[i], x[i - begin], rank, form.ones)
            _approach(entries, form, other, full, rank, room, steps, begin, row, x)
        for i in range(begin, row):
            if entries.starts[i + 1] > entries.starts[i]:
                _put(x[i - begin], out[i - first], rank, form.ones)
    return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _exactly(entries, form, other, full, rank, room, row):  # type: ignore[no-untyped-def]
    """The solution of one row, shape (size,)."""
    size = full.shape[0]
    low, high = entries.starts[row], entries.starts[row + 1]
    matrix = full.astype(np.float64)
    right = np.zeros(size)
    for at in range(low, high, BATCH_ENTRIES):
        count = min(high - at, BATCH_ENTRIES)
        _unpack(entries, form, other, rank, room, at, count)
        for k in range(count):
            for j in range(size):
                room.scaled[k, j] = room.weights[k] * room.factors[k, j]
                right[j] += room.targets[k] * room.factors[k, j]
        matrix += np.dot(room.scaled[:count].T, room.factors[:count])
    for j in range(size):
        matrix[j, j] += form.reg * (high - low) ** form.exponent
    lower = np.linalg.cholesky(matrix)
    for j in range(size):
        for i in range(j):
            right[j] -= lower[j, i] * right[i]
        right[j] /= lower[j, j]
    for j in range(size - 1, -1, -1):
        for i in range(j + 1, size):
            right[j] -= lower[i, j] * right[i]
        right[j] /= lower[j, j]
    return right


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _approach(entries, form, other, full, rank, room, steps, begin, end, x):  # type: ignore[no-untyped-def]
    """Moves the rows of a batch, x, towards their solutions by steps of conjugate gradients."""
    starts, rows, size = entries.starts, end - begin, full.shape[0]
    _unpack(entries, form, other, rank, room, starts[begin], starts[end] - starts[begin])
    residual = np.empty((rows, size), np.float32)
    direction = np.empty((rows, size), np.float32)
    product = np.empty((rows, size), np.float32)
    _multiply(entries, form, full, room, begin, end, x, product)
    norm = np.empty(rows, np.float32)
    for i in range(rows):
        ri = residual[i]
        for j in range(size):
            ri[j] = -product[i, j]
        for k in range(starts[begin + i] - starts[begin], starts[begin + i + 1] - starts[begin]):
            for j in range(size):
                ri[j] += room.targets[k] * room.factors[k, j]
        direction[i] = ri
        norm[i] = np.dot(ri, ri)
    for _ in range(steps):
        _multiply(entries, form, full, room, begin, end, direction, product)
        for i in range(rows):
            if norm[i] < _SMALL:
                continue
            xi, ri, pi, ai = x[i], residual[i], direction[i], product[i]
            step = norm[i] / np.dot(pi, ai)
            after = np.float32(0)
            for j in range(size):
                xi[j] += step * pi[j]
                ri[j] -= step * ai[j]
                after += ri[j] * ri[j]
            ratio = after / norm[i]
            for j in range(size):
                pi[j] = ri[j] + ratio * pi[j]
            norm[i] = after


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _multiply(entries, form, full, room, begin, end, vectors, into):  # type: ignore[no-untyped-def]
    """The product of each row's matrix with its vector: shape (rows, size) both."""
    starts, rows, size = entries.starts, end - begin, full.shape[0]
    if form.kind == EXPLICIT:
        into[:rows] = 0
    else:
        np.dot(vectors[:rows], full, into[:rows])
    for i in range(rows):
        low, high = starts[begin + i] - starts[begin], starts[begin + i + 1] - starts[begin]
        penalty = np.float32(form.reg * (high - low) ** form.exponent)
        vector, result = vectors[i], into[i]
        for j in range(size):
            result[j] += penalty * vector[j]
        for k in range(low, high):
            y = room.factors[k]
            score = np.float32(0)
            for j in range(size):
                score += y[j] * vector[j]
            score *= room.weights[k]
            for j in range(size):
                result[j] += score * y[j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _unpack(entries, form, other, rank, room, at, count):  # type: ignore[no-untyped-def]
    """The factors, weights and targets of `count` entries, from entry `at` on."""
    for k in range(count):
        y = other[entries.columns[at + k]]
        for j in range(rank):
            room.factors[k, j] = y[j]
        if form.ones >= 0:
            room.factors[k, rank] = np.float32(1)
        room.weights[k] = _weight(form, entries.values[at + k])
        room.targets[k] = _target(form, entries.values[at + k], room.weights[k], y)


@njit(cache=True, nogil=True)
def _weight(form, value):  # type: ignore[no-untyped-def]
    if form.kind == EXPLICIT:
        return np.float32(1)
    if form.kind == LINEAR:
        return form.alpha * value
    if form.kind == LOG:
        return form.alpha * np.log1p(value)
    return form.alpha


@njit(cache=True, nogil=True)
def _target(form, value, weight, y):  # type: ignore[no-untyped-def]
    if form.kind == EXPLICIT:
        return value - form.mean - (y[form.minus] if form.minus >= 0 else np.float32(0))
    return weight + np.float32(1)


@njit(cache=True, nogil=True)
def _take(factors, into, rank, ones):  # type: ignore[no-untyped-def]
    """What a row starts from: its bias stands where the other side has its ones."""
    into[:rank] = factors[:rank]
    if ones >= 0:
        into[rank] = factors[ones]


@njit(cache=True, nogil=True)
def _put(solution, out, rank, ones):  # type: ignore[no-untyped-def]
    out[:rank] = solution[:rank]
    if ones >= 0:
        out[ones] = solution[rank]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def squared_error(entries, form, other, own, rank, first, last):  # type: ignore[no-untyped-def]
    """What the entries of the rows first to last add to the objective, λ apart.

    If implicit, without the sum of the squares of all scores, which follows from the two Gram matrices.
    """
    total = 0.0
    for row in range(first, last):
        x = own[row]
        for k in range(entries.starts[row], entries.starts[row + 1]):
            y = other[entries.columns[k]]
            score = np.float32(0)
            for j in range(rank):
                score += x[j] * y[j]
            weight = _weight(form, entries.values[k])
            if form.kind == EXPLICIT:
                bias = x[form.ones] if form.ones >= 0 else np.float32(0)
                error = _target(form, entries.values[k], weight, y) - score - bias
                total += error * error
            else:
                total += (1 + weight) * (1 - score) ** 2 - score * score
    return total
