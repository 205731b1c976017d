"""Errors that a user can cause. Each has one sentence: the problem, its place, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can correct. Printed as one sentence without a traceback, and never retried."""


class MissingInput(UserError):
    """A raw file or directory that the run needs is missing."""


class StoreError(UserError):
    """A published version, or the registry around it, cannot be used as asked."""


class NotApplicable(UserError):
    """A model cannot learn from this data. The text is the reason, without the model's name."""


def join_sorted(names: Iterable[str]) -> str:
    """The names, sorted and separated by commas, for a sentence."""
    return ", ".join(sorted(names))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known name, e.g. `" (did you mean 'rank'?)"`; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
