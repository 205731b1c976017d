"""The layout of `data/` and `models/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The root of the repository."""

CURRENT = "current"
"""Name of the file in `models/<dataset>/` with the id of the served version."""

SUCCESS = "_SUCCESS"
"""Name of the JSON file that marks a stage output as complete and holds its checksums and row counts."""

EVALUATION = "evaluation.parquet"
"""Name of a version's file with the champion's metrics per user, to compare later versions with."""


@dataclass(frozen=True)
class Paths:
    """Paths below the two roots. Does no I/O."""

    data_root: Path = PROJECT / "data"
    models_root: Path = PROJECT / "models"

    @property
    def compiled(self) -> Path:
        """Compiled numba kernels, one set per processor type."""
        return self.data_root / "numba"

    @property
    def code(self) -> Path:
        """Archives of the project's code for the workers of a cluster."""
        return self.data_root / "code"

    @property
    def scratch(self) -> Path:
        """Spark's temporary files, one directory per session."""
        return self.data_root / "scratch"

    def raw(self, dataset: str) -> Path:
        """The default raw directory of a dataset; `--raw-dir` overrides it."""
        return self.data_root / "raw" / dataset

    def work(self, dataset: str) -> Path:
        """The stage outputs, `<stage>/<fingerprint>/`."""
        return self.data_root / "work" / dataset

    def runs(self, dataset: str) -> Path:
        """Run records (`<run id>.jsonl`), logs (`<run id>.log`) and progress files of active runs (`<run id>.now`)."""
        return self.data_root / "runs" / dataset

    def versions(self, dataset: str) -> Path:
        """The published versions, and `current`."""
        return self.models_root / dataset
