"""Where things are: one place that knows the layout of `data/` and `models/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The repository's root: stages name the source files they depend on relative to it."""

CURRENT = "current"
"""Name of the one mutable cell in `models/<dataset>/`: the id of the version that is served."""

SUCCESS = "_SUCCESS"
"""Name of the JSON file in every whole stage output, with the rows that the stage reported."""

EVALUATION = "evaluation.parquet"
"""Name of the file in a version that a later one is compared by: what the champion's evaluation found of each user."""


@dataclass(frozen=True)
class Paths:
    """The layout under the two roots; nothing here touches the disk."""

    data_root: Path = PROJECT / "data"
    models_root: Path = PROJECT / "models"

    @property
    def compiled(self) -> Path:
        """Machine code of the engine's inner loops, made once for each kind of processor."""
        return self.data_root / "numba"

    @property
    def code(self) -> Path:
        """The project's code, for the workers of a cluster."""
        return self.data_root / "code"

    @property
    def scratch(self) -> Path:
        """What Spark puts down for a while, a directory for each session."""
        return self.data_root / "scratch"

    def raw(self, dataset: str) -> Path:
        """Where a dataset's raw files are looked for unless `--raw-dir` says otherwise."""
        return self.data_root / "raw" / dataset

    def work(self, dataset: str) -> Path:
        """Stage outputs: `<stage>/<fingerprint>/` below this."""
        return self.data_root / "work" / dataset

    def runs(self, dataset: str) -> Path:
        """Run records and logs: `<run id>.jsonl` and `<run id>.log`; while a run goes on, `<run id>.now` too."""
        return self.data_root / "runs" / dataset

    def versions(self, dataset: str) -> Path:
        """Published versions, and `current`."""
        return self.models_root / dataset
