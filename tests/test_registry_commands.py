"""`python -m models COMMAND` on versions on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.published import publish
from support.versions import write_version

from common.errors import UserError
from common.files import STAGING
from config.paths import PROJECT
from models.__main__ import main
from models.manifest import creation_order, read_manifest
from models.registry import VersionRegistry


class Commands:
    """Runs commands on the dataset `models/tiny` in a temporary directory."""

    def __init__(self, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.models, self.registry, self._capsys = models, VersionRegistry(models / "tiny"), capsys

    def __call__(self, command: str, *given: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        try:
            code = main([command, f"--models={self.models}", "--dataset=tiny", *given])
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        return code, *self._capsys.readouterr()

    def refusal(self, command: str, *given: str) -> tuple[int, str]:
        """Run a command that must fail; return its exit code and message."""
        code, _, err = self(command, *given)
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        return code, err.removeprefix("Error: ").rstrip("\n")


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Three versions, promoted one after the other."""
    for name in ("aaaa11112222bbbb", "aaaa33334444bbbb", "0123456789abcdef"):
        publish(tmp_path / "models", version=name)
    return Commands(tmp_path / "models", capsys)


def damage(version: Path) -> None:
    store = version / "serving.sqlite"
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 1
    store.write_bytes(content)


def _stderr_of(process: subprocess.Popen[str]) -> str:
    """Return the standard error of a process, read to its end."""
    assert process.stderr is not None
    with process.stderr as told:
        return told.read()


class TestListVersions:
    def test_lists_newest_first_with_marks(self, commands: Commands) -> None:
        (commands.registry.root / "aaaa11112222bbbb" / "users.parquet").write_bytes(b"cut off")
        commands.registry.roll_back("aaaa33334444bbbb", expected="0123456789abcdef", via="a test")
        code, out, _ = commands("versions")
        lines = out.splitlines()
        assert code == 0
        assert [line[:16] for line in lines[1:4]] == ["#3  0123456789ab", "#2  aaaa33334444", "#1  aaaa11112222"]
        assert [line.split("B", 1)[1].strip() for line in lines[1:4]] == ["", "served, pinned", "damaged"]
        assert "als       ndcg@10 0.2500  12,345       3            12" in lines[1]
        assert lines[-1].endswith("rolled back: #3 0123456789ab → #2 aaaa33334444, via a test")
        assert len(lines) == 1 + 3 + 1 + 4

    def test_shows_the_last_ten_audit_entries(self, commands: Commands) -> None:
        for number in range(9):
            commands.registry.audit_log.append(f"test {number}", version="gone")
        audit = commands("versions")[1].split("\n\n")[1].splitlines()
        assert len(audit) == 10
        assert "promoted by the user: #2 aaaa33334444 → #3 0123456789ab" in audit[0]
        assert audit[-1].endswith("test 8: gone")

    def test_shows_unreadable_versions(self, commands: Commands) -> None:
        (commands.registry.root / "0123456789abcdef" / "manifest.json").write_text("{")
        lines = commands("versions")[1].splitlines()
        assert lines[3].split()[:3] == ["#–", "0123456789ab", "–"]
        assert lines[3].endswith("served, damaged")

    def test_refuses_a_dataset_without_versions(self, commands: Commands) -> None:
        sentence = f"'nobody' has no version in {commands.models}. Published datasets: tiny."
        assert commands.refusal("versions", "--dataset=nobody") == (2, sentence)


class TestFind:
    @pytest.mark.parametrize("query", ["2", "#2", "aaaa3", "aaaa33334444bbbb"])
    def test_accepts_number_id_and_prefix(self, commands: Commands, query: str) -> None:
        assert commands.registry.find(query) == "aaaa33334444bbbb"

    def test_a_number_takes_precedence_over_a_prefix(self, commands: Commands) -> None:
        publish(commands.models, version="1fffffffffffffff")
        assert commands.registry.find("1") == "aaaa11112222bbbb"
        assert commands.registry.find("1f") == "1fffffffffffffff"

    def test_refuses_an_ambiguous_prefix(self, commands: Commands) -> None:
        with pytest.raises(UserError) as refused:
            commands.registry.find("aaaa")
        assert str(refused.value) == ("'aaaa' matches several versions of tiny: #2 aaaa33334444, #1 aaaa11112222.")

    @pytest.mark.parametrize("query", ["99", "#0", "ffff", "../tiny/0123456789abcdef", "current"])
    @pytest.mark.parametrize("command", ["promote", "rollback", "verify"])
    def test_refuses_an_unknown_version(self, commands: Commands, command: str, query: str) -> None:
        assert commands.refusal(command, "--", query) == (
            2,
            f"tiny has no version {query!r}. Available: #3 0123456789ab, #2 aaaa33334444, #1 aaaa11112222.",
        )
        assert commands.registry.current() == "0123456789abcdef"

    def test_promote_requires_a_version(self, commands: Commands) -> None:
        code, sentence = commands.refusal("promote", "--")
        assert (code, sentence.startswith("Name a version of tiny with VERSION=. Available: #3 ")) == (2, True)


class TestRollBack:
    def test_serves_the_previous_version_and_pins_it(self, commands: Commands) -> None:
        code, out, _ = commands("rollback")
        assert code == 0
        assert out == (
            "tiny serves #2 aaaa33334444 instead of #3 0123456789ab and is pinned to it: runs publish, but do not "
            "promote, until you run make promote VERSION=….\n"
        )
        assert commands.registry.current() == "aaaa33334444bbbb"
        assert commands.registry.is_pinned()
        assert commands.registry.audit()[-1]["via"] == "the command line"

    def test_a_second_rollback_goes_further_back(self, commands: Commands) -> None:
        commands("rollback")
        commands("rollback")
        assert commands.registry.current() == "aaaa11112222bbbb"
        assert commands.refusal("rollback") == (
            1,
            "tiny has no version that served earlier: name one with VERSION=.",
        )

    def test_skips_versions_that_are_gone_or_never_served(self, commands: Commands) -> None:
        write_version(commands.registry.root, "never-served")
        (commands.registry.root / "aaaa33334444bbbb").rename(commands.registry.root / f"aaaa33334444bbbb{STAGING}")
        commands("rollback")
        assert commands.registry.current() == "aaaa11112222bbbb"

    def test_undoes_a_promotion(self, commands: Commands) -> None:
        commands("rollback", "1")
        assert commands("promote", "3")[0] == 0
        commands("rollback")
        assert commands.registry.current() == "aaaa11112222bbbb"

    def test_accepts_any_version(self, commands: Commands) -> None:
        assert commands("rollback", "aaaa1")[0] == 0
        assert commands.registry.current() == "aaaa11112222bbbb"

    def test_refuses_a_damaged_version(self, commands: Commands) -> None:
        damage(commands.registry.root / "aaaa33334444bbbb")
        version = commands.registry.root / "aaaa33334444bbbb"
        expected = (1, f"{version} does not verify: serving.sqlite differs from what was published.")
        assert commands.refusal("rollback") == commands.refusal("promote", "2") == expected
        assert commands.registry.current() == "0123456789abcdef"
        assert not commands.registry.is_pinned()


class TestPromote:
    def test_removes_a_pin(self, commands: Commands) -> None:
        commands("rollback")
        assert commands("promote", "3") == (
            0,
            "tiny serves #3 0123456789ab instead of #2 aaaa33334444. The pin is removed: runs promote again.\n",
            "",
        )
        assert not commands.registry.is_pinned()
        assert commands("promote", "1")[1] == "tiny serves #1 aaaa11112222 instead of #3 0123456789ab.\n"

    def test_one_of_two_concurrent_promotions_is_refused(self, commands: Commands) -> None:
        script = (
            "import sys; from pathlib import Path; from common.errors import StoreError\n"
            "from models.registry import VersionRegistry; sys.stdin.read()\n"
            "try: VersionRegistry(Path(sys.argv[1])).promote(sys.argv[2], expected='0123456789abcdef', by='user')\n"
            "except StoreError as error: sys.exit(str(error))\n"
        )
        both = {
            version: subprocess.Popen(
                [sys.executable, "-c", script, str(commands.registry.root), version],
                cwd=PROJECT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for version in ("aaaa11112222bbbb", "aaaa33334444bbbb")
        }  # fmt: skip
        for process in both.values():
            assert process.stdin is not None
            process.stdin.close()  # both start
        errors = {version: _stderr_of(process) for version, process in both.items()}
        codes = {version: process.wait(timeout=60) for version, process in both.items()}
        assert sorted(codes.values()) == [0, 1]
        winner, loser = sorted(codes, key=codes.__getitem__)
        assert commands.registry.current() == winner
        assert f"names {winner}, not 0123456789abcdef: another promotion came first." in errors[loser]
        assert [entry["to"] for entry in commands.registry.audit()][3:] == [winner]


class TestVerify:
    def test_prints_a_line_per_version(self, commands: Commands) -> None:
        code, out, _ = commands("verify")
        files = len(read_manifest(commands.registry.root / "0123456789abcdef")["files"])
        assert code == 0
        assert out.splitlines() == [
            f"#1 aaaa11112222: ok, {files} files",
            f"#2 aaaa33334444: ok, {files} files",
            f"#3 0123456789ab (served): ok, {files} files",
        ]

    def test_names_the_damaged_file_and_continues(self, commands: Commands) -> None:
        damage(commands.registry.root / "aaaa33334444bbbb")
        code, out, err = commands("verify")
        assert code == 1
        assert [line.partition(": ")[2][:14] for line in out.splitlines()] == [
            "ok, 7 files",
            "serving.sqlite",
            "ok, 7 files",
        ]
        fault = "serving.sqlite differs from what was published."
        assert err == f"Error: Verification failed for 1 of 3 versions of tiny: {fault}\n"

    def test_verifies_only_the_given_version(self, commands: Commands) -> None:
        damage(commands.registry.root / "aaaa33334444bbbb")
        assert commands("verify", "3")[0] == 0
        assert commands("verify", "2")[0] == 1

    def test_reports_a_missing_served_version(self, commands: Commands) -> None:
        (commands.registry.root / "0123456789abcdef").rename(commands.registry.root / f"0123456789abcdef{STAGING}")
        assert (
            commands("verify")[2] == "Error: tiny's served version 0123456789abcdef is missing: promote another one.\n"
        )


def test_concurrent_versions_get_different_numbers(tmp_path: Path) -> None:
    write_version(tmp_path, f"one{STAGING}")
    assert creation_order(write_version(tmp_path, "two"))[0] == 2


def test_a_version_without_manifest_is_oldest_and_can_be_pruned(commands: Commands) -> None:
    (commands.registry.root / "aaaa33334444bbbb" / "manifest.json").unlink()
    assert commands.registry.versions()[0] == "aaaa33334444bbbb"
    assert commands.registry.prune(2) == ["aaaa33334444bbbb"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["promote", "VERSION=#3"], ["promote", "--", "#3"]),
        (["rollback"], ["rollback", "--"]),
        (["rollback", "VERSION=it's"], ["rollback", "--", "it's"]),
        (["forget", "ID=a b"], ["forget", "--", "a b"]),
        (["prune", "KEEP=2", "DRY_RUN=1"], ["prune", "--keep", "2", "--dry-run"]),
        (["prune"], ["prune"]),
    ],
)
def test_make_passes_its_variables(given: list[str], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "spark").mkdir()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(0o755)
    for name in ("requirements.txt", "pyproject.toml", "spark/runtime/jvm_cds.py", ".venv/.installed"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ran = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "-f", str(PROJECT / "Makefile"), "DATASET=d", *given],
        env={"PATH": "/usr/bin:/bin", "VERSION": "of something else"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    passed = json.loads(ran.stdout)
    assert passed[2] == expected[0]
    assert passed[passed.index("d") + 1 :] == expected[1:]
