"""`make faults`: inject faults into a run at every step that changes the disk, and damage every output.

python tests/faults/matrix.py [--only TEXT] [--at-once 2] [--every N] [--from N]

The faults: the process is killed, the disk is full, or a file is truncated, altered or removed. After each fault,
readers must find the complete old or new version; the next run must succeed with the same result as a run without
faults, and repeat no finished stage; and no file or process may be left over. The commands that change versions are
killed, and find the disk full, in the same way. Prints the matrix, with a line per stage, and the failed cells.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from common.checksums import changed_files
from common.files import STAGING, read_json
from config.paths import PROJECT, SUCCESS
from models.forget import versions_with_user
from models.manifest import MANIFEST, verify_version
from models.recommender import recommend
from models.registry import VersionRegistry

SETTINGS = (
    "--synthetic-num-users=60", "--synthetic-num-tracks=40", "--synthetic-num-interactions=900", "--als-rank=4",
    "--als-max-iter=3", '--selection-candidates=["als"]', "--tune-trials=1", "--recommend-max-per-artist=2",
    "--retry-wait-s=0", "--spark-session-master=local[1]",
)  # fmt: skip
"""Settings of a short run that contains every kind of stage."""

BEFORE, AFTER = "--synthetic-seed=1", "--synthetic-seed=2"
"""The settings that differ between the old and the new version."""

RUN = "run"
KILLED, FULL = "kill", "full"
DAMAGES = ("truncate", "flip", "remove")
PATIENCE_S = 300
END_S = 30
"""Maximum seconds until the processes that a run has started must have ended."""

TUNE = "Tune als"
TRIALS = "data/work/synthetic/Tune/*.trials"
FORGOTTEN = "2"
VERSION_COMMANDS = {
    "promote": ("models", "promote", "1"), "rollback": ("models", "rollback", "1"),
    "prune": ("workflow", "prune", "--keep=1"), "forget": ("models", "forget", FORGOTTEN),
}  # fmt: skip
"""Commands that change versions. The old version has the number 1, and the new one is served."""

_SCRATCH = shutil.ignore_patterns("scratch")  # removed shortly after the run
VICTIM = Path(__file__).with_name("victim.py")


@dataclass(frozen=True)
class Cell:
    """A fault and its place: a step of a stage, or a file of its output."""

    stage: str
    where: str
    fault: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.fault} at {self.where}"


@dataclass
class World:
    """The results of a run without faults, from which each cell starts."""

    root: Path
    old: str
    new: str
    steps: list[tuple[str, str]]
    """Every step of the run, as pairs of stage and step."""
    outputs: dict[str, Path]
    """The directory of each stage, below the root."""
    requires: dict[str, list[str]]
    lists: dict[str, Any] = field(default_factory=dict)
    """The recommendations of each version."""

    @classmethod
    def make(cls, root: Path) -> World:
        """Publish an old version, and a new one in a copy of its root."""
        _require_success(_luigi(root / "old", BEFORE))
        old = _current(root / "old")
        shutil.copytree(root / "old", root / "new", ignore=_SCRATCH)
        listed = root / "steps.json"
        _require_success(_victim(root / "new", {"list": str(listed)}, RUN))
        record = _record(root / "new")
        stages = {_label(line): line for line in record if line["event"] == "stage"}
        outputs = {
            label: Path("models/synthetic" if line["stage"] == "Publish" else f"data/work/synthetic/{line['stage']}")
            / line["fingerprint"]
            for label, line in stages.items()
            if line["stage"] != "Promote"
        }
        steps = read_json(listed)
        for verb in VERSION_COMMANDS:
            shutil.copytree(root / "new", root / verb, ignore=_SCRATCH)
            _require_success(_victim(root / verb, {"list": str(listed)}, verb))
            steps += read_json(listed)
            shutil.rmtree(root / verb)
        world = cls(
            root,
            old,
            _current(root / "new"),
            [(stage, step) for stage, step in steps],
            outputs,
            {label: line["requires"] for label, line in stages.items()},
        )
        world.lists = {version: _lists(root / "new", version) for version in (old, world.new)}
        return world

    def before(self, stage: str, into: Path) -> None:
        """Create a root in the state before a stage: with the outputs that do not depend on the stage."""
        shutil.copytree(self.root / ("new" if stage in VERSION_COMMANDS else "old"), into, ignore=_SCRATCH)
        for label, output in self.outputs.items():
            if stage in self.requires and not self._needs(label, stage):
                shutil.copytree(self.root / "new" / output, into / output)

    def after(self, stage: str, into: Path) -> None:
        """Create a root in the state after a stage, before the stages that depend on it."""
        self.before(stage, into)
        shutil.copytree(self.root / "new" / self.outputs[stage], into / self.outputs[stage])

    def _needs(self, label: str, stage: str) -> bool:
        """Whether the stage `label` is `stage` or depends on it."""
        return label == stage or any(self._needs(name, stage) for name in self.requires[label])

    def cells(self) -> Iterator[Cell]:
        """Every cell of the matrix."""
        for stage, step in self.steps:
            yield Cell(stage, step, KILLED)
            if not step.startswith(("remove", "truncate", "stage")):
                yield Cell(stage, step, FULL)
        for stage, output in self.outputs.items():
            largest = max(_files(self.root / "new" / output), key=lambda file: file.stat().st_size)
            names = {str(largest.relative_to(self.root / "new" / output)), SUCCESS}
            if stage == "Publish":
                names |= {"manifest.json", "metrics.json", "serving.sqlite"}
            yield from (Cell(stage, name, damage) for name in sorted(names) for damage in DAMAGES)
        for stage, names in (("Promote", ("current", "audit.jsonl")), (TUNE, (TRIALS,))):
            yield from (Cell(stage, name, damage) for name in names for damage in DAMAGES)

    def visit(self, cell: Cell, root: Path) -> list[str]:
        """Inject the fault in a new root; return the problems found afterwards."""
        try:
            problems = self._damage_output(cell, root) if cell.fault in DAMAGES else self._check_step_fault(cell, root)
            problems += (
                self._check_repeated_command(cell.stage, root)
                if cell.stage in VERSION_COMMANDS
                else self._check_next_run(root)
            )
            problems += [f"{path} is left over" for path in _leftovers(root)]
            return [*problems, *(f"{command} is still running" for command in _running_commands(root))]
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _check_step_fault(self, cell: Cell, root: Path) -> list[str]:
        self.before(cell.stage, root)
        is_version_command, plan = cell.stage in VERSION_COMMANDS, {"at": [cell.stage, cell.where], "fault": cell.fault}
        ended = _victim(root, plan, cell.stage if is_version_command else RUN)
        problems = []
        if cell.fault == KILLED and ended.returncode != -9:
            problems.append(f"the step did not occur: the run ended with {ended.returncode}")
        if cell.fault == FULL and ended.returncode == 0 and (is_version_command or _current(root) != self.new):
            problems.append("the full disk was not reported")
        if cell.fault == FULL and ended.returncode != 0:
            stopped = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")][:-1] or [ended.stderr]
            problems += [
                f"the error does not mention a full disk: {line[-300:]!r}"
                for line in stopped
                if " is full: " not in line
            ]
        if "Traceback" in ended.stderr:
            problems.append(f"printed a traceback: {ended.stderr[-1500:]}")
        return problems + self._check_readable(root)

    def _damage_output(self, cell: Cell, root: Path) -> list[str]:
        if cell.where == TRIALS:  # the trials of a killed run
            self.before(cell.stage, root)
            new, old = ({file.name for file in self.root.glob(f"{side}/{TRIALS}")} for side in ("new", "old"))
            file = (root / TRIALS).with_name(*(new - old))
            file.parent.mkdir(exist_ok=True)
            shutil.copy(self.root / "new" / file.relative_to(root), file)
        elif cell.stage in self.outputs and cell.stage != "Publish":
            self.after(cell.stage, root)
            file = root / self.outputs[cell.stage] / cell.where
        else:
            shutil.copytree(self.root / "new", root, ignore=_SCRATCH)
            file = root / (self.outputs["Publish"] if cell.stage == "Publish" else "models/synthetic") / cell.where
        damage(file, cell.fault)
        return []

    def _check_readable(self, root: Path) -> list[str]:
        """The problems that a reader finds in the served version."""
        version = _current(root)
        if version not in self.lists:
            return [f"serves {version!r}"]
        directory = root / "models" / "synthetic" / version
        problems = verify_version(directory)
        if not problems and len(recommend(root / "models" / "synthetic", "1")) == 0:
            problems = ["the first user has no list"]
        return [f"{version} is served, and {problem}" for problem in problems]

    def _check_next_run(self, root: Path) -> list[str]:
        """The problems after the next run."""
        finished = {file: file.stat().st_ino for file in _markers(root) if _is_intact(file.parent)}
        ended = _luigi(root, AFTER)
        problems = []
        if ended.returncode:
            problems.append(f"the next run ended with {ended.returncode}: {ended.stderr[-300:]!r}")
        if _current(root) != self.new:
            problems.append(f"the next run left {_current(root)} served")
        elif not _lists(root, self.new).equals(self.lists[self.new]):
            problems.append("the next run made different recommendations")
        for file, inode in finished.items():
            if not file.exists() or file.stat().st_ino != inode:
                problems.append(f"{file.parent.relative_to(root)} was finished and has been rebuilt")
        return problems + self._check_readable(root)

    def _check_repeated_command(self, verb: str, root: Path) -> list[str]:
        """The problems after the command is repeated; a further run removes the leftovers of pruned versions."""
        repeated = _run(_version_command(verb, root))
        problems = (
            [f"the repeated command ended with {repeated.returncode}: {repeated.stderr[-300:]!r}"]
            if repeated.returncode
            else []
        )
        registry, served = (
            VersionRegistry(root / "models" / "synthetic"),
            self.old if verb in ("promote", "rollback") else self.new,
        )
        if _current(root) != served:
            problems.append(f"{_current(root)} is served")
        if registry.is_pinned() != (verb == "rollback"):
            problems.append("is pinned" if registry.is_pinned() else "is not pinned")
        if registry.versions() != ([self.new] if verb == "prune" else [self.old, self.new]):
            problems.append(f"left the versions {registry.versions()}")
        if verb == "forget" and (known := versions_with_user(registry, FORGOTTEN)):
            problems.append(f"{known} know the user")
        if verb == "prune" and (run := _luigi(root, AFTER)).returncode:
            problems.append(f"the next run ended with {run.returncode}: {run.stderr[-300:]!r}")
        return problems + self._check_readable(root)

    @cached_property
    def labels(self) -> list[str]:
        """The stages in the order of the run, with the steps before and between them."""
        return list(dict.fromkeys(stage for stage, _ in self.steps))


def damage(file: Path, how: str) -> None:
    """Truncate a file to half, flip a bit in its middle, or remove it."""
    if how == "remove":
        file.unlink()
        return
    content = bytearray(file.read_bytes())
    if how == "truncate":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


def visit_all(
    world: World, cells: list[Cell], at_once: int, report: Callable[[int, Cell, list[str]], None]
) -> dict[Cell, list[str]]:
    """The problems of each cell; `report` is called for each as soon as they are known."""
    problems_by_cell: dict[Cell, list[str]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        for number, (cell, problems) in enumerate(
            zip(cells, pool.map(lambda numbered: _visit_safely(world, *numbered), enumerate(cells)), strict=True), 1
        ):
            problems_by_cell[cell] = problems
            report(number, cell, problems)
    return problems_by_cell


def _visit_safely(world: World, number: int, cell: Cell) -> list[str]:
    try:
        return world.visit(cell, world.root / f"cell-{number}")
    except Exception as error:  # any error fails the cell
        return [f"{type(error).__name__}: {error}"]


def _luigi(root: Path, seed: str) -> subprocess.CompletedProcess[str]:
    return _run([str(Path(sys.executable).with_name("luigi")), *_arguments(root, seed)])


def _victim(root: Path, plan: dict[str, Any], what: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline or a command by its name in the victim process."""
    plan = {"root": str(root)} | plan
    command = ["luigi", *_arguments(root, AFTER)] if what == RUN else _version_command(what, root)[2:]
    return _run([sys.executable, str(VICTIM), json.dumps(plan), *command])


def _version_command(verb: str, root: Path) -> list[str]:
    module, *words = VERSION_COMMANDS[verb]
    roots = [f"--models={root / 'models'}", *([f"--data={root / 'data'}"] if verb in ("prune", "forget") else [])]
    return [sys.executable, "-m", module, *words, *roots]


def _arguments(root: Path, seed: str) -> list[str]:
    roots = (f"--paths-data-root={root / 'data'}", f"--paths-models-root={root / 'models'}")
    return ["--module", "workflow", "RecommendAll", "--local-scheduler", *SETTINGS, *roots, seed]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a new process group, so that it can kill all processes it has started."""
    return subprocess.run(
        command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True,
        start_new_session=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def _require_success(ended: subprocess.CompletedProcess[str]) -> None:
    if ended.returncode:
        sys.exit(f"A run without faults ended with {ended.returncode}: {ended.stderr}")


def _current(root: Path) -> str | None:
    return VersionRegistry(root / "models" / "synthetic").current()


def _lists(root: Path, version: str) -> Any:
    table = pq.read_table(root / "models" / "synthetic" / version / "recommendations").to_pandas()
    return table.sort_values(["user_id", "rank"], ignore_index=True)


def _record(root: Path) -> list[dict[str, Any]]:
    last = max((root / "data" / "runs" / "synthetic").glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(line) for line in last.read_text(encoding="utf-8").splitlines()]


def _label(line: dict[str, Any]) -> str:
    return f"{line['stage']} {line['model']}" if line["model"] else str(line["stage"])


def _files(output: Path) -> list[Path]:
    return [file for file in sorted(output.rglob("*")) if file.is_file() and file.name != SUCCESS]


def _markers(root: Path) -> list[Path]:
    markers = [*root.glob(f"data/work/*/*/*/{SUCCESS}"), *root.glob(f"models/*/*/{SUCCESS}")]
    return [marker for marker in markers if not marker.parent.name.endswith(STAGING)]


def _leftovers(root: Path) -> list[str]:
    """Unfinished files and directories, without Spark's scratch, which is removed shortly after the run."""
    paths = []
    for directory, names, files in os.walk(root):
        here = os.path.relpath(directory, root)
        paths += [f"{here}/{name}" for name in (*names, *files) if name.endswith((".staging", ".now", ".replaced"))]
        names[:] = [name for name in names if f"{here}/{name}" != "data/scratch"]
    return paths


def _running_commands(root: Path) -> list[str]:
    """The commands of processes that still use a root after the time limit."""
    for _ in range(10 * END_S):
        commands = [command for command, environment in _processes() if f"{root}/" in f"{command} {environment}"]
        if not commands:
            break
        time.sleep(0.1)
    return commands


def _processes() -> Iterator[tuple[str, str]]:
    """The command line and the environment of every process that may be read."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended, or belongs to another user
            yield " ".join(process.cmdline()), " ".join(process.environ().values())


def _is_intact(output: Path) -> bool:
    """Whether the files of an output match its checksums."""
    try:
        files = read_json(output / SUCCESS)["files"]
        if (output / MANIFEST).exists():
            return not verify_version(output)
        return not any(changed_files(output, files))
    except (OSError, ValueError, KeyError):
        return False


def _format_matrix(world: World, problems_by_cell: dict[Cell, list[str]]) -> str:
    """Format the matrix and the problems of the failed cells."""
    rows: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for cell, problems in problems_by_cell.items():
        rows[cell.stage][cell.fault].append(not problems)
    columns = (KILLED, FULL, *DAMAGES)
    lines = [f"{'':<24}" + "".join(f"{column:>12}" for column in columns)]
    for stage in (*world.labels, *(stage for stage in rows if stage not in world.labels)):
        counts = (rows[stage][column] for column in columns)
        cells = (f"{sum(passed)}/{len(passed)}" if passed else "" for passed in counts)
        lines.append(f"{stage:<24}" + "".join(f"{text:>12}" for text in cells))
    lines += [f"\n{cell}\n  " + "\n  ".join(problems) for cell, problems in problems_by_cell.items() if problems]
    return "\n".join(lines)


def _report(total: int, number: int, cell: Cell, problems: list[str]) -> None:
    if problems:
        print(f"\r{cell}\n  " + "\n  ".join(problems), file=sys.stderr)
    print(f"\r{number} of {total}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Run the matrix; return 0 if every cell passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run only cells whose description contains this text")
    parser.add_argument("--at-once", type=int, default=2, help="parallel runs (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="run only every Nth cell (default: %(default)s)")
    parser.add_argument(
        "--from", dest="first", type=int, default=1, help="number of the first cell (default: %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="encore-faults-") as directory:
        print("Publishing two versions without faults …", file=sys.stderr)
        world = World.make(Path(directory))
        cells = [cell for cell in world.cells() if options.only in str(cell)][options.first - 1 :: options.every]
        print(f"{len(cells)} cells.", file=sys.stderr)
        problems_by_cell = visit_all(world, cells, options.at_once, partial(_report, len(cells)))
        print("\n" + _format_matrix(world, problems_by_cell))
    failed = sum(bool(problems) for problems in problems_by_cell.values())
    print(f"\n{len(problems_by_cell) - failed} of {len(problems_by_cell)} cells passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
