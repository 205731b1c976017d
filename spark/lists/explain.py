"""Why a track is recommended: which tracks that the user heard contributed most to its score.

Each model says how much every track that was heard contributes to the score of a listed one. Of factors that is exact
(Hu, Koren and Volinsky 2008, section 5): a score is a sum over what was heard, each track counting by how similar it is
to the listed one in the eyes of that user. Of neighbours and EASE these are the summands; of content, what two tracks
share. Of a hybrid, the shares that its parts see, by their weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark.algorithms.content import ContentScorer
from spark.algorithms.ease import EaseScorer
from spark.algorithms.factor_model import FactorScorer
from spark.algorithms.hybrid import HybridScorer
from spark.algorithms.item_knn import NeighbourScorer
from spark.algorithms.scorer import FloatArray, IndexArray, Scorer
from spark.storage.interaction_matrix import CSRMatrix

REASONS = 2
"""Tracks that are named for each recommendation, at most."""


def explain_lists(
    scorer: Scorer, users: IndexArray, heard: CSRMatrix, tracks: IndexArray, sizes: NDArray[np.int64]
) -> IndexArray:
    """The tracks that each user heard and that contributed most, shape (users, k, REASONS); −1: no more did.

    Args:
        tracks, sizes: the users' lists: see `spark.lists.topk.Lists`.
    """
    found = np.full((*tracks.shape, REASONS), -1, np.int32)
    for row, user in enumerate(users.tolist()):
        entries = slice(heard.indptr[user], heard.indptr[user + 1])
        own, listed = heard.indices[entries], tracks[row, : sizes[row]]
        if not len(own) or not len(listed):
            continue
        shares = contributions(scorer, own, heard.data[entries], listed)
        if shares is None:
            continue
        order = np.argsort(-shares, axis=1, kind="stable")[:, :REASONS]
        positive = np.take_along_axis(shares, order, axis=1) > 0
        found[row, : len(listed), : order.shape[1]] = np.where(positive, own[order], -1)
    return found


def contributions(
    scorer: Scorer, heard: IndexArray, values: FloatArray, listed: IndexArray
) -> NDArray[np.floating] | None:
    """How much each track that was heard contributes to each listed one, shape (listed, heard); None: unknown."""
    if isinstance(scorer, FactorScorer):
        return scorer.contributions(heard, values, listed)
    if isinstance(scorer, EaseScorer):
        return scorer.weights_between(heard, listed).T
    if isinstance(scorer, NeighbourScorer):
        return np.stack([scorer.similarities_of(track, listed) for track in heard.tolist()], axis=1)
    if isinstance(scorer, ContentScorer):
        return np.asarray((scorer.features[listed] @ scorer.features[heard].T).toarray())
    if isinstance(scorer, HybridScorer):
        return _blended(scorer, heard, values, listed)
    return None


def _blended(scorer: HybridScorer, heard: IndexArray, values: FloatArray, listed: IndexArray) -> NDArray[np.float64]:
    """The sum of the parts' contributions, each as a share of what that part sees in all."""
    total = np.zeros((len(listed), len(heard)))
    for name, part in scorer.parts.items():
        found = contributions(part, heard, values, listed)
        if found is not None:
            whole = np.abs(found).sum(axis=1, keepdims=True)
            total += scorer.weights[name] * np.divide(found, whole, out=np.zeros(found.shape), where=whole > 0)
    return total
