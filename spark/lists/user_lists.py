"""The list of each user: from the best tier of the fallback chain that can serve them, within the list rules."""

from __future__ import annotations

import numpy as np

from config.fallbacks import TIERS
from spark.algorithms.scorer import IndexArray
from spark.lists.fallback_chain import FallbackChain, TierCodes
from spark.lists.list_rules import ListRules, lists_within_rules
from spark.lists.topk import TopKLists
from spark.storage.interaction_matrix import CSRMatrix


def build_lists(
    chain: FallbackChain, users: IndexArray, history: CSRMatrix, k: int, rules: ListRules
) -> tuple[TopKLists, TierCodes]:
    """Return the lists of some users, and the tier of each."""
    tiers, lists = chain.tiers(users, history), TopKLists.empty(len(users), k)
    for code, tier in enumerate(TIERS):
        rows = np.flatnonzero(tiers == code)
        if len(rows):
            scorer = chain.scorers[tier]
            lists.put(rows, lists_within_rules(scorer, users[rows], history, k, rules, chain.content))
    return lists, tiers


def lists_only(chain: FallbackChain, rules: ListRules, users: IndexArray, history: CSRMatrix, k: int) -> TopKLists:
    """Like `build_lists`, without the tiers."""
    return build_lists(chain, users, history, k, rules)[0]
