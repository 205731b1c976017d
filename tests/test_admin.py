"""Administration pages: access control, promotion and rollback, runs, and damaged versions."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.published import CURVES, HOSTILE, TOKEN, publish, record, stage, started

from common import files
from common.errors import UserError
from common.files import read_json
from config.paths import PROJECT, Paths
from models.registry import VersionRegistry
from models.serving_store import FILE
from webapp import create_app, run_launcher
from webapp.api.csv_export import escape_formula
from webapp.security import access, secret_files
from webapp.security.login_attempts import MAX_ATTEMPTS, WINDOW_S

PAGES = ("/", "/runs", "/versions", "/versions/v1", "/leaderboard", "/data", "/users", "/tracks", "/try", "/api")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def sign_in(client: FlaskClient, token: str = TOKEN) -> int:
    return client.post("/login", data={"token": token, "next": "/versions"}).status_code


class TestAccess:
    """Access control."""

    def test_access_table_matches_routes(self, client: FlaskClient) -> None:
        routes = {rule.endpoint for rule in client.application.url_map.iter_rules()}
        named = [endpoint for endpoints in access.ACCESS.values() for endpoint in endpoints]
        assert sorted(named) == sorted(routes)

    def test_post_requires_owner_except_login_and_new_users(self, client: FlaskClient) -> None:
        rules = client.application.url_map.iter_rules()
        posts = {rule.endpoint for rule in rules if "POST" in (rule.methods or ())}
        assert posts - set(access.ACCESS[access.OWNER]) == {
            "auth.sign_in",
            "auth.sign_out",
            "api.new_user_recommendations",
        }

    @pytest.mark.parametrize("path", ["/versions/v1/promote", "/versions/v1/roll-back", "/prune", "/pipeline"])
    def test_actions_require_token(self, client: FlaskClient, path: str) -> None:
        answer = client.get(path)
        assert (answer.status_code, answer.location.split("?")[0]) == (302, "/login")
        assert client.post(path).status_code == 401
        assert client.get(path, headers=BEARER).status_code == 200
        assert sign_in(client) == 302
        assert client.get(path).status_code == 200

    def test_actions_are_forbidden_without_configured_token(
        self, roots: tuple[Path, Path], client: FlaskClient
    ) -> None:
        bare = create_app(*roots, {"TESTING": True}).test_client()
        assert bare.post("/prune").status_code == 403
        assert sign_in(bare, "") == 403
        assert sign_in(bare, "anything") == 403

    def test_private_page_allows_only_health_and_login(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        private = create_app(*roots, {"TESTING": True, "TOKEN": TOKEN, "PUBLIC_READ": False}).test_client()
        assert [private.get(page).status_code for page in PAGES] == [302] * len(PAGES)
        refused = private.get("/api/v1/users")
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert private.get("/nowhere").status_code == 302
        assert [private.get(page).status_code for page in ("/healthz", "/readyz", "/login")] == [200] * 3
        assert private.get("/api/v1/users", headers=BEARER).status_code == 200

    def test_wrong_tokens_are_rate_limited(self, client: FlaskClient) -> None:
        assert [sign_in(client, "wrong") for _ in range(MAX_ATTEMPTS)] == [401] * MAX_ATTEMPTS
        assert sign_in(client) == 429
        refused = client.get("/prune", headers=BEARER)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_S

    def test_changed_token_ends_sessions(self, client: FlaskClient) -> None:
        sign_in(client)
        client.application.config["TOKEN"] = "another token, as long"
        assert client.get("/prune").status_code == 302

    def test_session_cookie_attributes(self, client: FlaskClient) -> None:
        answer = client.post("/login", data={"token": TOKEN})
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
        answer = client.post("/login", data={"token": TOKEN}, base_url="https://localhost")
        assert "Secure" in answer.headers["Set-Cookie"]

    @pytest.mark.parametrize(
        "headers",
        [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
         {"Origin": "null"}],
    )  # fmt: skip
    def test_refuses_cross_site_post(self, client: FlaskClient, headers: dict[str, str]) -> None:
        sign_in(client)
        assert client.post("/prune", data={"keep": "1"}, headers=headers).status_code == 403

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1:x", "[::2]", "[::1", "[::1]evil.example", "[::1]:x", "x[::1]", ""],
    )
    def test_refuses_untrusted_host(self, client: FlaskClient, host: str) -> None:
        for path in ("/", "/api/v1/users/u1/recommendations"):
            assert client.get(path, headers={"Host": host}).status_code == 400
        client.application.config["PUBLIC_READ"] = False
        assert client.get("/", headers={"Host": host}).status_code == 400

    @pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000/", "http://localhost/", "https://[::1]:8443/"])
    def test_answers_trusted_host(self, roots: tuple[Path, Path], client: FlaskClient, base_url: str) -> None:
        public = create_app(*roots, {"TESTING": True}).test_client()
        assert public.get("/api/v1/users/u1", base_url=base_url).status_code == 200

    @pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "x"])
    def test_login_does_not_redirect_to_other_sites(self, client: FlaskClient, target: str) -> None:
        assert client.post("/login", data={"token": TOKEN, "next": target}).location == "/"

    def test_secret_file_is_created_once_with_mode_0600(self, tmp_path: Path) -> None:
        file = tmp_path / "web" / "token"
        made = secret_files.load_or_create_secret(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert secret_files.load_or_create_secret(file) == made
        assert len(made) > 30
        file.chmod(0o644)
        with pytest.raises(UserError, match="Other users can read"):
            secret_files.load_or_create_secret(file)

    def test_refuses_short_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(secret_files.TOKEN_VARIABLE, "short")
        with pytest.raises(UserError, match="too short"):
            secret_files.token_from_environment()


class TestVersions:
    """Promoting, rolling back and pruning versions."""

    def test_rollback_pins_and_promotion_unpins(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        registry = VersionRegistry(roots[0] / "tiny")
        publish(roots[0], version="v2")
        sign_in(client)
        assert (
            "served and pinned"
            in client.post("/versions/v1/roll-back", data={"expected": "v2"}, follow_redirects=True).text
        )
        assert registry.current() == "v1" and registry.is_pinned()
        assert "A rollback pinned this version" in client.get("/").text
        client.post("/versions/v2/promote", data={"expected": "v1"})
        assert registry.current() == "v2" and not registry.is_pinned()
        last = registry.audit()[-1]
        assert (last["action"], last["via"]) == ("promoted by the user", "the page, from 127.0.0.1")
        assert "the page, from 127.0.0.1" in client.get("/versions").text

    def test_refuses_promotion_after_another(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        publish(roots[0], version="v2")
        answer = client.post("/versions/v1/promote", data={"expected": "v1"}, headers=BEARER)
        assert answer.status_code == 409
        assert "another promotion came first" in answer.text
        assert VersionRegistry(roots[0] / "tiny").current() == "v2"

    def test_refuses_to_promote_damaged_version(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        publish(roots[0], version="v2")
        (roots[0] / "tiny" / "v1" / FILE).write_bytes(b"x")
        answer = client.post("/versions/v1/promote", data={"expected": "v2"}, headers=BEARER)
        assert (answer.status_code, "does not verify" in answer.text) == (409, True)
        assert "Verification failed" in client.get("/versions/v1?verify=1").text
        assert "files match their published SHA-256 checksums" in client.get("/versions/v2?verify=1").text

    def test_reports_full_disk(
        self, roots: tuple[Path, Path], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(roots[0], version="v2")

        def raise_full_disk(*paths: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(files, "fsync", raise_full_disk)
        answer = client.post("/versions/v1/promote", data={"expected": "v2"}, headers=BEARER)
        assert (answer.status_code, f"the disk of {roots[0]} is full: " in answer.text) == (507, True)
        assert VersionRegistry(roots[0] / "tiny").current() == "v2"

    def test_prune_previews_and_keeps_served_version(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        registry = VersionRegistry(roots[0] / "tiny")
        for name in ("v2", "v3"):
            publish(roots[0], version=name)
        registry.roll_back("v1", expected="v3")
        sign_in(client)
        assert "Delete 1 version" in client.get("/prune?keep=1").text
        client.post("/prune", data={"keep": "1"})
        assert registry.versions() == ["v1", "v3"]
        assert registry.audit()[-1]["action"] == "pruned"

    def test_prunes_damaged_version(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        publish(roots[0], version="v2")
        sign_in(client)
        (roots[0] / "tiny" / "v1" / "manifest.json").write_text("{")
        page = client.get("/prune?keep=1").text
        assert ", damaged" in page and "Delete 1 version" in page
        client.post("/prune", data={"keep": "1"})
        assert not (roots[0] / "tiny" / "v1").exists()

    def test_refuses_to_keep_no_version(self, client: FlaskClient) -> None:
        sign_in(client)
        assert client.post("/prune", data={"keep": "0"}).status_code == 400

    def test_overview_shows_changes_since_previous_version(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        publish(roots[0], version="v2", settings={"als": {"rank": 32}}, counts={"users": 12346, "tracks": 3,
                "interactions": 12, "recommendations": 24})  # fmt: skip
        page = client.get("/").text
        assert "Changes since version 1" in page
        assert "Users: 12,345 → 12,346 (+1)" in page
        assert "<code>[als] rank</code>" in page
        assert client.get("/versions?v=v1&v=v2").text.count('name="v"') == 2


class TestDamage:
    """Fallback to the last good version."""

    @pytest.mark.parametrize("damage", ["remove", "truncate", "garbage"])
    def test_falls_back_to_last_good_version(self, roots: tuple[Path, Path], client: FlaskClient, damage: str) -> None:
        made = publish(roots[0], version="v2")
        assert client.get("/api/v1/users/u1").json["version"] == "v2"  # type: ignore[index]
        assert client.get("/readyz").status_code == 200
        file = made / FILE
        if damage == "remove":
            file.unlink()
        elif damage == "truncate":
            file.write_bytes(file.read_bytes()[:4096])
        else:
            file.write_bytes(b"no database" * 1000)
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "v2" in ready.json["error"]  # type: ignore[index]
        assert client.get("/api/v1/users/u1").json["version"] == "v1"  # type: ignore[index]
        assert "which is served instead" in client.get("/").text
        assert 'class="health error"' in client.get("/").text
        assert client.get("/healthz").json["datasets"] == {"tiny": "v1"}  # type: ignore[index]

    def test_readyz_detects_flipped_bit(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        file = publish(roots[0], version="v2") / FILE
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
        assert client.get("/readyz").status_code == 503
        assert client.get("/api/v1/users/u1").json["version"] == "v1"  # type: ignore[index]

    def test_request_that_finds_damage_is_answered(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        file = publish(roots[0], version="v2") / FILE
        file.write_bytes(b"no database" * 1000)
        answer = client.get("/users/u1")
        assert (answer.status_code, "This page shows version 1" in answer.text) == (200, True)

    def test_promoted_version_is_missing(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        (roots[0] / "tiny" / "current").write_text("gone\n")
        assert client.get("/").status_code == 200
        assert client.get("/readyz").status_code == 503

    def test_readyz_without_versions(self, bare: FlaskClient) -> None:
        assert bare.get("/readyz").status_code == 503


class TestRuns:
    """Run pages and starting runs."""

    def test_run_page_shows_stages_settings_and_log(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        stages = [{"stage": "Ingest", "requires": [], "to_do": True}, {"stage": "Split", "requires": ["Ingest"]}]
        for run, rank, day in (("r1", 32, 1), ("r2", 64, 2)):
            opening = started(f"2025-11-0{day}T08:00:00Z") | {"settings": {"als": {"rank": rank}}, "stages": stages}
            done = stage("Ingest", "done") | {"duration_s": 2.0, "rows_in": 1000, "rows_out": 900}
            record(roots[1], run, opening, done, stage("Split", "failed", HOSTILE))
            (roots[1] / "runs" / "tiny" / f"{run}.log").write_text(f"first line\n{HOSTILE}\n")
        page = client.get("/runs/r2").text
        assert "<code>[als] rank</code>" in page and "<code>32</code>" in page and "<code>64</code>" in page
        assert "first line" in page and "1,000" in page and 'class="run-graph"' in page
        assert HOSTILE not in page and "<style" not in page
        assert 'href="/runs/r2"' in client.get("/runs").text
        assert client.get("/runs/nope").status_code == 404
        assert client.get("/runs?page=7").status_code == 404
        assert client.get("/graph.css").mimetype == "text/css"

    def test_refuses_invalid_run(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        def start(**form: str) -> tuple[int, str]:
            answer = client.post("/pipeline", data={"name": "synthetic"} | form, headers=BEARER)
            return answer.status_code, answer.text

        assert start(name="../x")[0] == 400
        assert start(settings="rank")[0] == 409
        for day in ("tomorrow", "20260301", "2026-02-30", "2026-03-01 --workers=9"):
            status, text = start(as_of=day)
            assert (status, "is not a date such as 2026-03-01" in text) == (409, True)
        status, text = start(settings="[paths] data_root = /")
        assert (status, "There is no setting [paths] data_root" in text) == (409, True)
        client.application.config["ALLOW_RUNS"] = False
        assert start()[0] == 403
        assert "without <code>--allow-runs</code>" in client.get("/pipeline", headers=BEARER).text

    def test_starts_one_run_at_a_time(
        self, roots: tuple[Path, Path], client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        script = f"import pathlib, time\np = pathlib.Path({str(go)!r})\nwhile not p.exists(): time.sleep(0.01)"
        monkeypatch.setattr(run_launcher, "_command", lambda *_: [sys.executable, "-c", script])
        paths = Paths(roots[1], roots[0])
        run_id, process = run_launcher.launch(paths, "synthetic", {})
        with pytest.raises(UserError, match="is in progress"):
            run_launcher.launch(paths, "synthetic", {})
        go.touch()
        process.wait(20)
        assert "The run is starting." in client.get(f"/runs/{run_id}").text
        run_launcher.launch(paths, "synthetic", {})[1].wait(20)

    def test_run_command_overrides_luigi_cfg(
        self, roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "own.cfg").write_text("[als]\nalpha = 7.5\n")
        monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "own.cfg"))
        given = {"[als] rank": "8", "[split] test_fraction": "0.3", "[selection] candidates": '["als", "popularity"]'}
        paths = Paths(roots[1], roots[0])
        code = "import json, sys, luigi\nfrom luigi.cmdline_parser import CmdlineParser\nimport workflow\n"
        code += "from config.settings import resolve\n"
        code += "with CmdlineParser.global_instance(sys.argv[1:]): print(json.dumps(resolve()))"
        flags = run_launcher._command(paths, "synthetic", "20260101T000000-abcd", given, "2026-03-01")[3:]
        assert "--as-of=2026-03-01" in flags
        output = subprocess.run([sys.executable, "-c", code, *flags], cwd=PROJECT, env=run_launcher._environment(),
                                capture_output=True, text=True, check=True).stdout  # fmt: skip
        settings = json.loads(output)
        assert (settings["als"]["rank"], settings["als"]["alpha"]) == (8, 7.5)
        assert settings["split"]["test_fraction"] == 0.3


class TestPages:
    """Data page, leaderboard, metrics, CSV export and track pages."""

    @pytest.mark.parametrize("path", [*PAGES, "/metrics", "/tracks/plain", "/users/u1", "/readyz"])
    def test_page_answers(self, client: FlaskClient, path: str) -> None:
        assert client.get(path).status_code == 200

    def test_data_page_shows_rows_rejects_and_checks(self, client: FlaskClient) -> None:
        page = client.get("/data").text
        assert "10,500" in page and "not a number" in page
        assert "Half of &lt;b&gt; is missing." in page

    def test_dated_version_shows_its_date(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        assert "Outside" not in client.get("/data").text
        assert "as of" not in client.get("/versions/v1").text
        profile = read_json(roots[0] / "tiny" / "v1" / "profile.json")
        profile["rows"]["outside"], profile["window"] = 4321, {"from": None, "until": "2026-03-01T00:00:00Z"}
        publish(roots[0], version="v2", profile=profile, as_of="2026-03-01")
        assert "as of 1 Mar 2026, 00:00 UTC" in client.get("/versions/v2").text
        page = client.get("/data").text
        assert "4,321" in page and "time window, which ends 1 Mar 2026, 00:00 UTC" in page

    def test_leaderboard_sorts_by_metric(self, client: FlaskClient) -> None:
        table = client.get("/leaderboard?by=rmse").text.split('<table class="metrics">')[1]
        assert table.index("als_explicit") < table.index("als <")
        assert client.get("/leaderboard?by=nothing").status_code == 400

    def test_leaderboard_draws_curves(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        assert "Metrics by list length" not in client.get("/leaderboard").text
        shorter = CURVES["als"] | {"ndcg": [0.15, 0.2]}
        publish(roots[0], version="v2", metrics={"curves": CURVES | {"als": shorter}})
        page = client.get("/leaderboard").text
        assert re.findall(r">(\w+)@k</h3>", page) == ["ndcg", "recall"]
        ndcg, recall = page.split('class="chart plot"')[1:]
        for chart in (ndcg, recall):
            assert re.findall(r'<g class="series (\w+)"><title>(\w+)</title>', chart) == [
                ("champion", "als"), ("baseline", "popularity"),
            ]  # fmt: skip
        assert re.findall(r"<title>als, (\d+: [\d.]+)</title>", ndcg) == ["1: 0.1500", "2: 0.2000"]
        assert len(re.findall(r"<title>popularity, \d+:", ndcg)) == 3

    def test_metrics_of_served_version_and_runs(self, roots: tuple[Path, Path], client: FlaskClient) -> None:
        record(roots[1], "r", started("2025-11-02T08:00:00Z"), {"event": "run_finished", "status": "failed",
               "duration_s": 3.0})  # fmt: skip
        client.get("/")
        text = client.get("/metrics").text
        assert 'encore_version_info{dataset="tiny",version="v1"} 1.0' in text
        assert 'encore_requests_total{endpoint="pages.overview",status="200"} 1.0' in text
        assert 'encore_last_run_ok{dataset="tiny"} 0.0' in text
        assert "last_success_seconds{" not in text
        assert "data_age_seconds{" not in text

    def test_metrics_of_last_success_and_data_age(self, roots: tuple[Path, Path], bare: FlaskClient) -> None:
        times = {"first": "2001-09-09T01:46:40Z", "last": "2001-09-09T01:46:40Z"}
        publish(roots[0], ingested_at="1970-01-01T00:16:40.000Z", profile={"times": times})
        for run, at, status in (("a", "01", "done"), ("b", "02", "nothing_to_do"), ("c", "03", "failed")):
            ending = {"event": "run_finished", "status": status, "duration_s": 1.5}
            record(roots[1], run, started(f"1970-01-{at}T00:00:00Z"), ending)
            os.utime(roots[1] / "runs" / "tiny" / f"{run}.jsonl", (int(at), int(at)))
        record(roots[1], "d", started("1970-01-04T00:00:00Z"))
        with (roots[1] / "runs" / "tiny" / "d.jsonl").open() as goes_on:
            fcntl.flock(goes_on, fcntl.LOCK_EX)
            before = time.time()
            lines = dict(line.rsplit(" ", 1) for line in bare.get("/metrics").text.splitlines())
        assert float(lines['encore_last_success_seconds{dataset="tiny"}']) == 86401.5
        assert float(lines['encore_last_run_ok{dataset="tiny"}']) == 0
        assert float(lines['encore_last_run_start_seconds{dataset="tiny"}']) == 2 * 86400
        ages = {"encore_data_age_seconds": 1000, "encore_newest_interaction_age_seconds": 1_000_000_000}
        for name, moment in ages.items():
            assert before - moment <= float(lines[f'{name}{{dataset="tiny"}}']) <= time.time() - moment

    def test_csv_escapes_formulas(self, client: FlaskClient) -> None:
        answer = client.get("/api/v1/users/u1/recommendations.csv")
        assert answer.mimetype == "text/csv"
        assert answer.text.splitlines()[1].startswith("1,untitled,,")
        assert [escape_formula(text) for text in ("=1+1", "+x", "-x", "@x", "\tx", "x=", None)] == [
            "'=1+1", "'+x", "'-x", "'@x", "'\tx", "x=", "",
        ]  # fmt: skip

    def test_track_page_shows_audience(self, client: FlaskClient) -> None:
        page = client.get("/tracks/untitled").text
        assert 'href="/users/u1"' in page
        assert "Recommended to" in page
        assert json.loads(client.get("/api/v1/tracks/untitled").text)["track"]["listeners"] == 5
