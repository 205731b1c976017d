"""Adds the toy algorithm to the catalogue of every Python process whose PYTHONPATH has this directory."""

from __future__ import annotations

import importlib.util
import sys

if importlib.util.find_spec("config") and "pytest" not in sys.modules:
    from toy_algorithm import ENTRY

    from config.algorithm_catalog import CATALOG

    CATALOG[ENTRY.name] = ENTRY
