"""Compiled ALS kernel: solves for the factors of one side, with the factors of the other side fixed.

For each row u of the interaction matrix it minimises, over the row's factors x, with y_c the factors of column c,

    implicit   Σ_c (1 + w_c) (1 - x·y_c)² + Σ_c' (x·y_c')² over all other columns + λ nᵉ |x|²    (Hu et al. 2008)
    explicit   Σ_c (v_c - x·y_c)² + λ nᵉ |x|²                                                 (Zhou et al. 2008)

over the n entries c of the row. Both lead to the normal equations (G + λ nᵉ I + Σ w y yᵀ) x = Σ t y. Implicit: G is the
Gram matrix of all columns, w = α·f(v), and the target t is the confidence 1 + w. Explicit: G = 0, w = 1, t the rating.

Short rows take a few steps of conjugate gradient from their current factors (Takács, Pilászy and Tikk 2011), in
batches: the factors of a batch's columns fit into the cache, and one matrix product multiplies all its vectors with G.
A row with more entries than a batch is solved exactly by Cholesky decomposition: cheaper than several passes over it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

BATCH_ROWS = 128
BATCH_ENTRIES = 4096

BINARY, LINEAR, LOG, EXPLICIT = 0, 1, 2, 3
"""The weight function f of implicit feedback: 1, v or log(1 + v); or explicit feedback."""

_CONVERGED = np.float32(1e-20)
"""Squared norm of a residual below which a row takes no further step."""


class SparseRows(NamedTuple):
    """A CSR matrix: see `spark.storage.interaction_matrix.CSRMatrix`."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]


class SideObjective(NamedTuple):
    """The objective from the point of view of the side that is solved."""

    feedback: int
    """BINARY, LINEAR, LOG or EXPLICIT."""
    alpha: np.float32
    reg_param: float
    reg_exponent: float
    mean: np.float32
    """Mean rating, subtracted from the target."""
    bias: int
    """Column of the bias in this side's factors, and of the ones in the other side's; -1 without biases."""
    other_bias: int
    """Column of the bias in the other side's factors, which is subtracted from the target; -1 without biases."""


class Workspace(NamedTuple):
    """The gathered entries of a batch."""

    factors: NDArray[np.float32]
    """Factors of each entry's column, shape (BATCH_ENTRIES, unknowns)."""
    weighted_factors: NDArray[np.float32]
    """The same, multiplied by the entry's weight."""
    weights: NDArray[np.float32]
    targets: NDArray[np.float32]


@njit(cache=True, nogil=True)
def solve(matrix, objective, other, gram, own, steps, first, last):  # type: ignore[no-untyped-def]
    """Solve rows `first` to `last` (exclusive); return their factors, shape (last - first, own.shape[1]).

    Rows without entries get zeros.

    Args:
        matrix: `SparseRows` of all interactions, with this side as rows.
        objective: `SideObjective`.
        other: factors of the columns, shape (columns, width), float32.
        gram: Gram matrix of `other`, shape (rank, rank); zeros for explicit feedback.
        own: current factors of the rows, shape (rows, width).
        steps: number of conjugate gradient steps; 0 solves exactly.
    """
    rank = gram.shape[0]
    unknowns = rank + 1 if objective.bias >= 0 else rank
    padded_gram = np.zeros((unknowns, unknowns), np.float32)
    padded_gram[:rank, :rank] = gram
    workspace = Workspace(
        np.empty((BATCH_ENTRIES, unknowns), np.float32),
        np.empty((BATCH_ENTRIES, unknowns), np.float32),
        np.empty(BATCH_ENTRIES, np.float32),
        np.empty(BATCH_ENTRIES, np.float32),
    )
    solved = np.zeros((last - first, own.shape[1]), np.float32)
    x = np.empty((BATCH_ROWS, unknowns), np.float32)
    max_rows = 0 if steps == 0 else BATCH_ROWS
    indptr = matrix.indptr
    row = first
    while row < last:
        begin = row
        while row < last and row - begin < max_rows and indptr[row + 1] - indptr[begin] <= BATCH_ENTRIES:
            row += 1
        if row == begin:  # the row does not fit into a batch
            row = begin + 1
            if indptr[row] > indptr[begin]:
                x[0] = _solve_cholesky(matrix, objective, other, padded_gram, rank, workspace, begin)
        else:
            for i in range(begin, row):
                _unpack_row(own[i], x[i - begin], rank, objective.bias)
            _solve_conjugate_gradient(matrix, objective, other, padded_gram, rank, workspace, steps, begin, row, x)
        for i in range(begin, row):
            if indptr[i + 1] > indptr[i]:
                _pack_row(x[i - begin], solved[i - first], rank, objective.bias)
    return solved


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _solve_cholesky(matrix, objective, other, padded_gram, rank, workspace, row):  # type: ignore[no-untyped-def]
    """Solve one row exactly; return its unknowns."""
    unknowns = padded_gram.shape[0]
    low, high = matrix.indptr[row], matrix.indptr[row + 1]
    normal = padded_gram.astype(np.float64)
    right = np.zeros(unknowns)
    for start in range(low, high, BATCH_ENTRIES):
        count = min(high - start, BATCH_ENTRIES)
        _gather(matrix, objective, other, rank, workspace, start, count)
        for k in range(count):
            for j in range(unknowns):
                workspace.weighted_factors[k, j] = workspace.weights[k] * workspace.factors[k, j]
                right[j] += workspace.targets[k] * workspace.factors[k, j]
        normal += np.dot(workspace.weighted_factors[:count].T, workspace.factors[:count])
    for j in range(unknowns):
        normal[j, j] += objective.reg_param * (high - low) ** objective.reg_exponent
    lower = np.linalg.cholesky(normal)
    for j in range(unknowns):  # forward substitution
        for i in range(j):
            right[j] -= lower[j, i] * right[i]
        right[j] /= lower[j, j]
    for j in range(unknowns - 1, -1, -1):  # back substitution
        for i in range(j + 1, unknowns):
            right[j] -= lower[i, j] * right[i]
        right[j] /= lower[j, j]
    return right


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _solve_conjugate_gradient(  # type: ignore[no-untyped-def]
    matrix, objective, other, padded_gram, rank, workspace, steps, begin, end, x
):
    """Improve the unknowns x of a batch of rows by conjugate gradient steps, in place."""
    indptr, num_rows, unknowns = matrix.indptr, end - begin, padded_gram.shape[0]
    _gather(matrix, objective, other, rank, workspace, indptr[begin], indptr[end] - indptr[begin])
    residual = np.empty((num_rows, unknowns), np.float32)
    direction = np.empty((num_rows, unknowns), np.float32)
    product = np.empty((num_rows, unknowns), np.float32)
    _multiply_normal_matrices(matrix, objective, padded_gram, workspace, begin, end, x, product)
    squared_norm = np.empty(num_rows, np.float32)
    for i in range(num_rows):
        ri = residual[i]
        for j in range(unknowns):
            ri[j] = -product[i, j]
        for k in range(indptr[begin + i] - indptr[begin], indptr[begin + i + 1] - indptr[begin]):
            for j in range(unknowns):
                ri[j] += workspace.targets[k] * workspace.factors[k, j]
        direction[i] = ri
        squared_norm[i] = np.dot(ri, ri)
    for _ in range(steps):
        _multiply_normal_matrices(matrix, objective, padded_gram, workspace, begin, end, direction, product)
        for i in range(num_rows):
            if squared_norm[i] < _CONVERGED:
                continue
            xi, ri, pi, ai = x[i], residual[i], direction[i], product[i]
            step = squared_norm[i] / np.dot(pi, ai)
            new_squared_norm = np.float32(0)
            for j in range(unknowns):
                xi[j] += step * pi[j]
                ri[j] -= step * ai[j]
                new_squared_norm += ri[j] * ri[j]
            ratio = new_squared_norm / squared_norm[i]
            for j in range(unknowns):
                pi[j] = ri[j] + ratio * pi[j]
            squared_norm[i] = new_squared_norm


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _multiply_normal_matrices(  # type: ignore[no-untyped-def]
    matrix, objective, padded_gram, workspace, begin, end, vectors, products
):
    """Multiply each row's normal matrix by its vector; `vectors` and `products` have shape (rows, unknowns)."""
    indptr, num_rows, unknowns = matrix.indptr, end - begin, padded_gram.shape[0]
    if objective.feedback == EXPLICIT:
        products[:num_rows] = 0
    else:
        np.dot(vectors[:num_rows], padded_gram, products[:num_rows])
    for i in range(num_rows):
        low, high = indptr[begin + i] - indptr[begin], indptr[begin + i + 1] - indptr[begin]
        penalty = np.float32(objective.reg_param * (high - low) ** objective.reg_exponent)
        vector, product = vectors[i], products[i]
        for j in range(unknowns):
            product[j] += penalty * vector[j]
        for k in range(low, high):
            y = workspace.factors[k]
            score = np.float32(0)
            for j in range(unknowns):
                score += y[j] * vector[j]
            score *= workspace.weights[k]
            for j in range(unknowns):
                product[j] += score * y[j]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(matrix, objective, other, rank, workspace, start, count):  # type: ignore[no-untyped-def]
    """Fill the workspace with the factors, weights and targets of `count` entries from entry `start`."""
    for k in range(count):
        y = other[matrix.indices[start + k]]
        for j in range(rank):
            workspace.factors[k, j] = y[j]
        if objective.bias >= 0:
            workspace.factors[k, rank] = np.float32(1)
        workspace.weights[k] = _weight(objective, matrix.data[start + k])
        workspace.targets[k] = _target(objective, matrix.data[start + k], workspace.weights[k], y)


@njit(cache=True, nogil=True)
def _weight(objective, value):  # type: ignore[no-untyped-def]
    if objective.feedback == EXPLICIT:
        return np.float32(1)
    if objective.feedback == LINEAR:
        return objective.alpha * value
    if objective.feedback == LOG:
        return objective.alpha * np.log1p(value)
    return objective.alpha


@njit(cache=True, nogil=True)
def _target(objective, value, weight, y):  # type: ignore[no-untyped-def]
    if objective.feedback == EXPLICIT:
        return value - objective.mean - (y[objective.other_bias] if objective.other_bias >= 0 else np.float32(0))
    return weight + np.float32(1)


@njit(cache=True, nogil=True)
def _unpack_row(factors, unknowns, rank, bias):  # type: ignore[no-untyped-def]
    """Copy a row's factors, and its bias if it has one, into its unknowns."""
    unknowns[:rank] = factors[:rank]
    if bias >= 0:
        unknowns[rank] = factors[bias]


@njit(cache=True, nogil=True)
def _pack_row(unknowns, factors, rank, bias):  # type: ignore[no-untyped-def]
    """The inverse of `_unpack_row`."""
    factors[:rank] = unknowns[:rank]
    if bias >= 0:
        factors[bias] = unknowns[rank]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def squared_error(matrix, objective, other, own, rank, first, last):  # type: ignore[no-untyped-def]
    """Contribution of the entries of rows `first` to `last` to the objective, without regularisation.

    For implicit feedback, the sum of all squared scores is left out: it follows from the two Gram matrices.
    """
    total = 0.0
    for row in range(first, last):
        x = own[row]
        for k in range(matrix.indptr[row], matrix.indptr[row + 1]):
            y = other[matrix.indices[k]]
            score = np.float32(0)
            for j in range(rank):
                score += x[j] * y[j]
            weight = _weight(objective, matrix.data[k])
            if objective.feedback == EXPLICIT:
                bias = x[objective.bias] if objective.bias >= 0 else np.float32(0)
                error = _target(objective, matrix.data[k], weight, y) - score - bias
                total += error * error
            else:
                total += (1 + weight) * (1 - score) ** 2 - score * score
    return total
