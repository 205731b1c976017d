"""`python -m models VERB`: what a person does with the versions, tried with real ones on disk."""

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


class Verbs:
    """The command on a models root of its own, `models/tiny`."""

    def __init__(self, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.models, self.registry, self._capsys = models, VersionRegistry(models / "tiny"), capsys

    def __call__(self, verb: str, *given: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        try:
            code = main([verb, f"--models={self.models}", "--dataset=tiny", *given])
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        return code, *self._capsys.readouterr()

    def refusal(self, verb: str, *given: str) -> tuple[int, str]:
        """Exit code and sentence of what must be refused."""
        code, _, err = self(verb, *given)
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        return code, err.removeprefix("Error: ").rstrip("\n")


@pytest.fixture
def verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verbs:
    """Three versions that were promoted one after the other."""
    for name in ("aaaa11112222bbbb", "aaaa33334444bbbb", "0123456789abcdef"):
        publish(tmp_path / "models", version=name)
    return Verbs(tmp_path / "models", capsys)


def damage(version: Path) -> None:
    store = version / "serving.sqlite"
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 1
    store.write_bytes(content)


def _said(process: subprocess.Popen[str]) -> str:
    """What a process says on standard error until it ends."""
    assert process.stderr is not None
    with process.stderr as told:
        return told.read()


class TestVersions:
    def test_come_with_the_newest_first_and_what_marks_them(self, verbs: Verbs) -> None:
        (verbs.registry.root / "aaaa11112222bbbb" / "users.parquet").write_bytes(b"cut off")
        verbs.registry.roll_back("aaaa33334444bbbb", expected="0123456789abcdef", via="a test")
        code, out, _ = verbs("versions")
        lines = out.splitlines()
        assert code == 0
        assert [line[:16] for line in lines[1:4]] == ["#3  0123456789ab", "#2  aaaa33334444", "#1  aaaa11112222"]
        assert [line.split("B", 1)[1].strip() for line in lines[1:4]] == ["", "served, pinned", "damaged"]
        assert "als       ndcg@10 0.2500  12,345       3            12" in lines[1]
        assert lines[-1].endswith("rolled back: #3 0123456789ab → #2 aaaa33334444, via a test")
        assert len(lines) == 1 + 3 + 1 + 4

    def test_show_the_last_ten_lines_of_the_audit(self, verbs: Verbs) -> None:
        for number in range(9):
            verbs.registry.audit_log.append(f"test {number}", version="gone")
        audit = verbs("versions")[1].split("\n\n")[1].splitlines()
        assert len(audit) == 10
        assert "promoted by the user: #2 aaaa33334444 → #3 0123456789ab" in audit[0]
        assert audit[-1].endswith("test 8: gone")

    def test_that_cannot_be_read_are_shown_all_the_same(self, verbs: Verbs) -> None:
        (verbs.registry.root / "0123456789abcdef" / "manifest.json").write_text("{")
        lines = verbs("versions")[1].splitlines()
        assert lines[3].split()[:3] == ["#–", "0123456789ab", "–"]
        assert lines[3].endswith("served, damaged")

    def test_of_a_dataset_that_has_none(self, verbs: Verbs) -> None:
        sentence = f"'nobody' has no version in {verbs.models}. Published datasets: tiny."
        assert verbs.refusal("versions", "--dataset=nobody") == (2, sentence)


class TestNames:
    @pytest.mark.parametrize("asked", ["2", "#2", "aaaa3", "aaaa33334444bbbb"])
    def test_of_a_version_are_its_number_its_id_and_the_beginning_of_it(self, verbs: Verbs, asked: str) -> None:
        assert verbs.registry.find(asked) == "aaaa33334444bbbb"

    def test_a_number_goes_before_the_beginning_of_an_id(self, verbs: Verbs) -> None:
        publish(verbs.models, version="1fffffffffffffff")
        assert verbs.registry.find("1") == "aaaa11112222bbbb"
        assert verbs.registry.find("1f") == "1fffffffffffffff"

    def test_an_ambiguous_one_is_refused_with_those_that_are_meant(self, verbs: Verbs) -> None:
        with pytest.raises(UserError) as refused:
            verbs.registry.find("aaaa")
        assert str(refused.value) == ("'aaaa' matches several versions of tiny: #2 aaaa33334444, #1 aaaa11112222.")

    @pytest.mark.parametrize("asked", ["99", "#0", "ffff", "../tiny/0123456789abcdef", "current"])
    @pytest.mark.parametrize("verb", ["promote", "rollback", "verify"])
    def test_an_unknown_one_is_refused_with_those_there_are(self, verbs: Verbs, verb: str, asked: str) -> None:
        assert verbs.refusal(verb, "--", asked) == (
            2,
            f"tiny has no version {asked!r}. Available: #3 0123456789ab, #2 aaaa33334444, #1 aaaa11112222.",
        )
        assert verbs.registry.current() == "0123456789abcdef"

    def test_promoting_needs_one(self, verbs: Verbs) -> None:
        code, sentence = verbs.refusal("promote", "--")
        assert (code, sentence.startswith("Name a version of tiny with VERSION=. Available: #3 ")) == (2, True)


class TestRollingBack:
    def test_goes_to_what_served_before_and_pins_it(self, verbs: Verbs) -> None:
        code, out, _ = verbs("rollback")
        assert code == 0
        assert out == (
            "tiny serves #2 aaaa33334444 instead of #3 0123456789ab and is pinned to it: runs publish, but do not "
            "promote, until you run make promote VERSION=….\n"
        )
        assert verbs.registry.current() == "aaaa33334444bbbb"
        assert verbs.registry.is_pinned()
        assert verbs.registry.audit()[-1]["via"] == "the command line"

    def test_a_second_time_goes_further_back_and_then_no_further(self, verbs: Verbs) -> None:
        verbs("rollback")
        verbs("rollback")
        assert verbs.registry.current() == "aaaa11112222bbbb"
        assert verbs.refusal("rollback") == (
            1,
            "tiny has no version that served earlier: name one with VERSION=.",
        )

    def test_passes_over_what_was_pruned_and_what_never_served(self, verbs: Verbs) -> None:
        write_version(verbs.registry.root, "never-served")
        (verbs.registry.root / "aaaa33334444bbbb").rename(verbs.registry.root / f"aaaa33334444bbbb{STAGING}")
        verbs("rollback")
        assert verbs.registry.current() == "aaaa11112222bbbb"

    def test_after_a_promotion_comes_back_to_what_that_replaced(self, verbs: Verbs) -> None:
        verbs("rollback", "1")
        assert verbs("promote", "3")[0] == 0
        verbs("rollback")
        assert verbs.registry.current() == "aaaa11112222bbbb"

    def test_to_any_kept_version(self, verbs: Verbs) -> None:
        assert verbs("rollback", "aaaa1")[0] == 0
        assert verbs.registry.current() == "aaaa11112222bbbb"

    def test_is_refused_where_the_version_does_not_verify(self, verbs: Verbs) -> None:
        damage(verbs.registry.root / "aaaa33334444bbbb")
        version = verbs.registry.root / "aaaa33334444bbbb"
        expected = (1, f"{version} does not verify: serving.sqlite differs from what was published.")
        assert verbs.refusal("rollback") == verbs.refusal("promote", "2") == expected
        assert verbs.registry.current() == "0123456789abcdef"
        assert not verbs.registry.is_pinned()


class TestPromoting:
    def test_ends_a_pin_and_says_so(self, verbs: Verbs) -> None:
        verbs("rollback")
        assert verbs("promote", "3") == (
            0,
            "tiny serves #3 0123456789ab instead of #2 aaaa33334444. The pin is removed: runs promote again.\n",
            "",
        )
        assert not verbs.registry.is_pinned()
        assert verbs("promote", "1")[1] == "tiny serves #1 aaaa11112222 instead of #3 0123456789ab.\n"

    def test_of_two_at_once_one_wins_and_the_other_is_told(self, verbs: Verbs) -> None:
        script = (
            "import sys; from pathlib import Path; from common.errors import StoreError\n"
            "from models.registry import VersionRegistry; sys.stdin.read()\n"
            "try: VersionRegistry(Path(sys.argv[1])).promote(sys.argv[2], expected='0123456789abcdef', by='user')\n"
            "except StoreError as error: sys.exit(str(error))\n"
        )
        both = {
            version: subprocess.Popen(
                [sys.executable, "-c", script, str(verbs.registry.root), version],
                cwd=PROJECT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for version in ("aaaa11112222bbbb", "aaaa33334444bbbb")
        }  # fmt: skip
        for process in both.values():
            assert process.stdin is not None
            process.stdin.close()  # both go ahead
        told = {version: _said(process) for version, process in both.items()}
        codes = {version: process.wait(timeout=60) for version, process in both.items()}
        assert sorted(codes.values()) == [0, 1]
        winner, loser = sorted(codes, key=codes.__getitem__)
        assert verbs.registry.current() == winner
        assert f"names {winner}, not 0123456789abcdef: another promotion came first." in told[loser]
        assert [entry["to"] for entry in verbs.registry.audit()][3:] == [winner]


class TestVerifying:
    def test_says_a_line_for_each_and_marks_the_served_one(self, verbs: Verbs) -> None:
        code, out, _ = verbs("verify")
        files = len(read_manifest(verbs.registry.root / "0123456789abcdef")["files"])
        assert code == 0
        assert out.splitlines() == [
            f"#1 aaaa11112222: ok, {files} files",
            f"#2 aaaa33334444: ok, {files} files",
            f"#3 0123456789ab (served): ok, {files} files",
        ]

    def test_names_the_file_and_goes_on_with_the_others(self, verbs: Verbs) -> None:
        damage(verbs.registry.root / "aaaa33334444bbbb")
        code, out, err = verbs("verify")
        assert code == 1
        assert [line.partition(": ")[2][:14] for line in out.splitlines()] == [
            "ok, 7 files",
            "serving.sqlite",
            "ok, 7 files",
        ]
        fault = "serving.sqlite differs from what was published."
        assert err == f"Error: Verification failed for 1 of 3 versions of tiny: {fault}\n"

    def test_of_one_looks_at_no_other(self, verbs: Verbs) -> None:
        damage(verbs.registry.root / "aaaa33334444bbbb")
        assert verbs("verify", "3")[0] == 0
        assert verbs("verify", "2")[0] == 1

    def test_misses_the_version_that_is_to_be_served(self, verbs: Verbs) -> None:
        (verbs.registry.root / "0123456789abcdef").rename(verbs.registry.root / f"0123456789abcdef{STAGING}")
        assert verbs("verify")[2] == "Error: tiny's served version 0123456789abcdef is missing: promote another one.\n"


def test_versions_that_are_made_at_the_same_time_get_different_numbers(tmp_path: Path) -> None:
    write_version(tmp_path, f"one{STAGING}")
    assert creation_order(write_version(tmp_path, "two"))[0] == 2


def test_a_version_without_a_manifest_is_the_oldest_and_can_be_pruned(verbs: Verbs) -> None:
    (verbs.registry.root / "aaaa33334444bbbb" / "manifest.json").unlink()
    assert verbs.registry.versions()[0] == "aaaa33334444bbbb"
    assert verbs.registry.prune(2) == ["aaaa33334444bbbb"]


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
def test_make_passes_on_what_it_is_given(given: list[str], expected: list[str], tmp_path: Path) -> None:
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
