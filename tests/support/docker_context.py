"""Docker's rules for .dockerignore: which files a build can copy."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath


def context_filter(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate that tells whether a file, relative to the context's root, is part of the build context.

    The last matching pattern decides. A pattern matches a file if it matches its path or that of a parent directory.
    A trailing slash has no meaning. See https://docs.docker.com/build/concepts/context/#dockerignore-files.
    """
    rules = [
        (not pattern.startswith("!"), _regex(pattern.lstrip("!").strip()))
        for pattern in patterns
        if pattern.strip() and not pattern.startswith("#")
    ]

    def is_included(path: str) -> bool:
        candidates = [path, *(str(parent) for parent in list(PurePosixPath(path).parents)[:-1])]
        excluded = False
        for excludes, regex in rules:
            if any(regex.fullmatch(candidate) for candidate in candidates):
                excluded = excludes
        return not excluded

    return is_included


def _regex(pattern: str) -> re.Pattern[str]:
    """Translate a pattern: `**` matches any number of directories, `*` and `?` match within one name."""
    clean = posixpath.normpath(pattern).lstrip("/")
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", clean)
    return re.compile("".join(tokens.get(part, re.escape(part)) for part in parts))
