"""The compiled part of alternating least squares: solves the rows of one side with the other side fixed.

Each row u minimises, over its own factors x, with y the factors of the columns c that it has entries for,

    implicit   Σ_c (1 + w_c) (1 − x·y_c)² + Σ_{c'} (x·y_c')² over all other columns + λ n^e |x|²    (Hu et al. 2008)
    explicit   Σ_c (v_c − x·y_c)² + λ n^e |x|²                                                  (Zhou et al. 2008)

so that both solve (G + λ n^e I + Σ w y yᵀ) x = Σ t y: G the Gram matrix of all columns, w = α·f(v) and t = 1 + w
if implicit; G = 0, w = 1 and t the rating if explicit. Conjugate gradients start from the row's present factors and
take a few steps (Takács, Pilászy and Tikk 2011). Rows are taken in batches whose factors of the other side fit into the
cache: they are gathered once, and the products with G are one matrix product a batch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BATCH_ROWS = 128
BATCH_ENTRIES = 4096

BINARY, LINEAR, LOG, EXPLICIT = 0, 1, 2, 3
"""What makes a weight of a value: 1, the value, log(1 + value); or ratings, whose weight is 1 and target the value."""

_SMALL = np.float32(1e-20)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def solve(starts, columns, values, other, ones, minus, mean, gram, kind, alpha, reg, exponent, steps, own, first, last):  # type: ignore[no-untyped-def]
    """New factors of the rows first to last, shape (last − first, own.shape[1]); a row without entries gets zeros.

    Args:
        starts, columns, values: the rows' entries, compressed.
        other: factors of the columns, shape (columns, width), float32.
        ones: which column of `other` is all ones and has a bias as its partner in `own`; −1: there is none.
        minus: which column of `other` holds the other side's bias, which the target is freed from; −1: none.
        mean: what the target is freed from as well.
        gram: Gram matrix of `other`, shape (rank, rank); zeros if explicit.
        kind: BINARY, LINEAR, LOG or EXPLICIT.
        steps: of conjugate gradients; 0 solves exactly.
        own: the rows' present factors, shape (rows, width).
    """
    width = own.shape[1]
    rank = gram.shape[0]
    size = rank + 1 if ones >= 0 else rank
    out = np.zeros((last - first, width), np.float32)
    gathered = np.empty((BATCH_ENTRIES, size), np.float32)
    scaled = np.empty((BATCH_ENTRIES // 2, size), np.float32)
    weight = np.empty(BATCH_ENTRIES, np.float32)
    target = np.empty(BATCH_ENTRIES, np.float32)
    full = np.zeros((size, size), np.float32)
    full[:rank, :rank] = gram
    dense = np.empty((size, size), np.float32)
    x = np.empty((BATCH_ROWS, size), np.float32)
    residual = np.empty((BATCH_ROWS, size), np.float32)
    direction = np.empty((BATCH_ROWS, size), np.float32)
    product = np.empty((BATCH_ROWS, size), np.float32)
    norm = np.empty(BATCH_ROWS, np.float32)
    exact = steps == 0
    at_most = 0 if exact else BATCH_ROWS
    row = first
    while row < last:
        begin = row
        while row < last and row - begin < at_most and starts[row + 1] - starts[begin] <= BATCH_ENTRIES:
            row += 1
        if row == begin:
            # One row, whose matrix is written out: it has more entries than a batch, or is solved exactly.
            row = begin + 1
            low, high = starts[begin], starts[row]
            if high == low:
                continue
            right = np.zeros(size, np.float32)
            dense[:, :] = full
            for j in range(size):
                dense[j, j] += np.float32(reg * (high - low) ** exponent)
            at = low
            while at < high:
                count = min(high - at, BATCH_ENTRIES // 2)
                _gather(
                    columns, values, at, count, other, rank, ones, minus, mean, kind, alpha, gathered, weight, target
                )
                for k in range(count):
                    for j in range(size):
                        scaled[k, j] = weight[k] * gathered[k, j]
                        right[j] += target[k] * gathered[k, j]
                dense += np.dot(scaled[:count].T, gathered[:count])
                at += count
            solution = np.empty(size, np.float32)
            if exact:
                solution[:] = np.linalg.solve(dense, right)
            else:
                _present(own, begin, rank, ones, solution)
                r = right - np.dot(dense, solution)
                p = r.copy()
                rr = np.dot(r, r)
                for _ in range(steps):
                    if rr < _SMALL:
                        break
                    ap = np.dot(dense, p)
                    step = rr / np.dot(p, ap)
                    solution += step * p
                    r -= step * ap
                    after = np.dot(r, r)
                    p = r + (after / rr) * p
                    rr = after
            _put(solution, out, begin - first, rank, ones)
            continue
        rows = row - begin
        low = starts[begin]
        count = starts[row] - low
        _gather(columns, values, low, count, other, rank, ones, minus, mean, kind, alpha, gathered, weight, target)
        for i in range(rows):
            _present(own, begin + i, rank, ones, x[i])
        if kind != EXPLICIT:
            np.dot(x[:rows], full, product[:rows])
        else:
            product[:rows] = 0
        for i in range(rows):
            entries = starts[begin + i + 1] - starts[begin + i]
            penalty = np.float32(reg * entries**exponent)
            ri, xi = residual[i], x[i]
            for j in range(size):
                ri[j] = -product[i, j] - penalty * xi[j]
            for k in range(starts[begin + i] - low, starts[begin + i + 1] - low):
                y = gathered[k]
                score = np.float32(0)
                for j in range(size):
                    score += y[j] * xi[j]
                factor = target[k] - weight[k] * score
                for j in range(size):
                    ri[j] += factor * y[j]
            rr = np.float32(0)
            for j in range(size):
                direction[i, j] = ri[j]
                rr += ri[j] * ri[j]
            norm[i] = rr if entries > 0 else np.float32(0)
        for _ in range(steps):
            if kind != EXPLICIT:
                np.dot(direction[:rows], full, product[:rows])
            else:
                product[:rows] = 0
            for i in range(rows):
                if norm[i] < _SMALL:
                    continue
                penalty = np.float32(reg * (starts[begin + i + 1] - starts[begin + i]) ** exponent)
                ri, xi, pi, ai = residual[i], x[i], direction[i], product[i]
                for j in range(size):
                    ai[j] += penalty * pi[j]
                for k in range(starts[begin + i] - low, starts[begin + i + 1] - low):
                    y = gathered[k]
                    score = np.float32(0)
                    for j in range(size):
                        score += y[j] * pi[j]
                    score *= weight[k]
                    for j in range(size):
                        ai[j] += score * y[j]
                curvature = np.float32(0)
                for j in range(size):
                    curvature += pi[j] * ai[j]
                step = norm[i] / curvature
                rr = np.float32(0)
                for j in range(size):
                    xi[j] += step * pi[j]
                    ri[j] -= step * ai[j]
                    rr += ri[j] * ri[j]
                ratio = rr / norm[i]
                for j in range(size):
                    pi[j] = ri[j] + ratio * pi[j]
                norm[i] = rr
        for i in range(rows):
            if starts[begin + i + 1] > starts[begin + i]:
                _put(x[i], out, begin + i - first, rank, ones)
    return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(columns, values, at, count, other, rank, ones, minus, mean, kind, alpha, gathered, weight, target):  # type: ignore[no-untyped-def]
    """The factors, weights and targets of `count` entries, from entry `at` on."""
    for k in range(count):
        y = other[columns[at + k]]
        value = values[at + k]
        for j in range(rank):
            gathered[k, j] = y[j]
        if ones >= 0:
            gathered[k, rank] = np.float32(1)
        if kind == EXPLICIT:
            weight[k] = np.float32(1)
            target[k] = value - mean - (y[minus] if minus >= 0 else np.float32(0))
        else:
            strength = np.float32(1)
            if kind == LINEAR:
                strength = value
            elif kind == LOG:
                strength = np.log1p(value)
            weight[k] = alpha * strength
            target[k] = weight[k] + np.float32(1)


@njit(cache=True, nogil=True)
def _present(own, row, rank, ones, into):  # type: ignore[no-untyped-def]
    """What a row starts from. Its bias stands where the other side has its ones."""
    into[:rank] = own[row, :rank]
    if ones >= 0:
        into[rank] = own[row, ones]


@njit(cache=True, nogil=True)
def _put(solution, out, row, rank, ones):  # type: ignore[no-untyped-def]
    out[row, :rank] = solution[:rank]
    if ones >= 0:
        out[row, ones] = solution[rank]
