"""One half-iteration of ALS: tasks solve ranges of rows of one side, with the factors of the other side fixed.

The factors of a side are a flat float32 file, shape (rows, width), which workers map into memory. A task reads the
rows of the other side that its entries refer to, and writes its own rows, at their position, into a new file. A
repeated task therefore writes the same bytes, and only Gram matrices pass through the driver.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark.storage.interaction_matrix import USER, CSRMatrix, load_csr, memory_map, write_at

if TYPE_CHECKING:
    from spark.algorithms.als.kernel import SideObjective, SparseRows

Factors = NDArray[np.float32]
RowRange = tuple[int, int]
"""First row and the row after the last."""

_COST_PER_TASK = 2_000_000
"""Approximate cost of a task; an entry costs 1."""
_COST_PER_ROW = 16
_ROWS_PER_GENERATOR = 1 << 14
"""Rows whose initial factors come from one random generator."""
_INITIAL_SCALE = 0.1
_ROWS_PER_GRAM = 4096


@dataclass(frozen=True)
class Objective:
    """The objective that ALS minimises: see `spark.algorithms.als.kernel`."""

    rank: int
    reg_param: float
    reg_exponent: float
    value: str
    """Weight function of implicit feedback, "binary", "linear" or "log"; or "rating" for explicit feedback."""
    alpha: float = 0.0
    biases: bool = False
    """Whether users and tracks have biases; explicit feedback only."""
    mean: float = 0.0
    """Mean rating, to which the biases are relative."""

    @property
    def feedback(self) -> int:
        """The kernel's constant for `value`."""
        return ("binary", "linear", "log", "rating").index(self.value)

    @property
    def width(self) -> int:
        """Number of columns of a factor file.

        With biases, a user's row is (factors, bias, 1) and a track's (factors, 1, bias), so that the inner product of
        the two is the prediction.
        """
        return self.rank + (2 if self.biases else 0)


@dataclass(frozen=True)
class HalfIteration:
    """The inputs and the output of a half-iteration."""

    matrix: Path
    """The training data: see `spark.storage.interaction_matrix`."""
    side: str
    objective: Objective
    own: Path
    """Current factors of the side."""
    result: Path
    """New factors of the side."""
    other: Path
    """Factors of the other side."""
    gram: NDArray[np.float64]
    """Gram matrix of the other side's factors, shape (rank, rank)."""
    steps: int

    def kernel_arguments(self) -> tuple[SparseRows, SideObjective]:
        """The interactions and the objective as the kernel takes them."""
        from spark.algorithms.als import kernel

        csr, objective = load_csr(self.matrix, self.side), self.objective
        user_bias, track_bias = objective.rank, objective.rank + 1
        biases = (user_bias, track_bias) if self.side == USER else (track_bias, user_bias)
        side_objective = kernel.SideObjective(
            objective.feedback, np.float32(objective.alpha), objective.reg_param, objective.reg_exponent,
            np.float32(objective.mean), *(biases if objective.biases else (-1, -1)),
        )  # fmt: skip
        return kernel.SparseRows(csr.indptr, csr.indices, csr.data), side_objective


def solve_rows(job: HalfIteration, rows: RowRange) -> NDArray[np.float64]:
    """Solve a range of rows and write their factors; return the Gram matrix of the new factors, zeros if explicit."""
    from spark.algorithms.als.kernel import solve

    (first, last), objective = rows, job.objective
    own, other = (map_factors(file, objective.width) for file in (job.own, job.other))
    is_explicit = objective.value == "rating"
    zeros = np.zeros((objective.rank, objective.rank))
    gram = (zeros if is_explicit else job.gram).astype(np.float32)
    matrix, side_objective = job.kernel_arguments()
    solved = solve(matrix, side_objective, other, gram, own, job.steps, first, last)
    if objective.biases:
        solved[:, side_objective.other_bias] = 1.0
    write_at(job.result, 4 * objective.width * first, solved)
    return zeros if is_explicit else gram_matrix(solved)


def objective_of_rows(job: HalfIteration, rows: RowRange) -> NDArray[np.float64]:
    """Contribution of a range of rows to the objective, shape (): the penalty, and the error if the rows are users."""
    from spark.algorithms.als.kernel import squared_error

    (first, last), objective = rows, job.objective
    own, other = (map_factors(file, objective.width) for file in (job.own, job.other))
    matrix, side_objective = job.kernel_arguments()
    counts = np.diff(matrix.indptr[first : last + 1])
    known = counts > 0
    penalized = [*range(objective.rank), *([side_objective.bias] if objective.biases else [])]
    squared_norms = (own[first:last, penalized].astype(np.float64)[known] ** 2).sum(axis=1)
    value = objective.reg_param * (counts[known] ** objective.reg_exponent @ squared_norms)
    if job.side == USER:
        value += squared_error(matrix, side_objective, other, own, objective.rank, first, last)
    return np.array(value)


def draw_factors(file: Path, objective: Objective, seed: int, rows: RowRange) -> NDArray[np.float64]:
    """Draw the initial factors of a range of rows and write them; return their Gram matrix."""
    first, last = rows
    rng = np.random.default_rng([seed, first // _ROWS_PER_GENERATOR])
    factors = np.zeros((last - first, objective.width), np.float32)
    factors[:, : objective.rank] = rng.standard_normal((last - first, objective.rank), np.float32)
    factors *= np.float32(_INITIAL_SCALE / objective.rank**0.5)
    if objective.biases:
        factors[:, objective.rank] = 1.0
    write_at(file, 4 * objective.width * first, factors)
    return gram_matrix(factors[:, : objective.rank])


def generator_ranges(count: int) -> list[RowRange]:
    """Split rows into the ranges that `draw_factors` takes."""
    return list(itertools.pairwise([*range(0, count, _ROWS_PER_GENERATOR), count]))


def balanced_ranges(csr: CSRMatrix) -> list[RowRange]:
    """Split rows into ranges of equal cost. The ranges depend on the data alone, not on the number of workers."""
    cost = csr.indptr + _COST_PER_ROW * np.arange(len(csr.indptr))
    count = max(1, round(int(cost[-1]) / _COST_PER_TASK))
    cuts = np.searchsorted(cost, np.linspace(0, int(cost[-1]), count + 1)[1:-1])
    return list(itertools.pairwise(sorted({0, *cuts.tolist(), len(csr)})))


def gram_matrix(factors: Factors) -> NDArray[np.float64]:
    """Compute FᵀF: batches of rows in single precision, their sum in double precision."""
    batches = (factors[start : start + _ROWS_PER_GRAM] for start in range(0, len(factors), _ROWS_PER_GRAM))
    total: NDArray[np.float64] = sum(
        ((batch.T @ batch).astype(np.float64) for batch in batches), np.zeros((factors.shape[1],) * 2)
    )
    return total


def map_factors(file: Path, width: int) -> Factors:
    """Map a factor file into memory, shape (rows, width)."""
    return memory_map(file, np.float32).reshape(-1, width)
