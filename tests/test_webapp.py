"""The admin page, on small published versions with a real SQLite store."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from support.published import HOSTILE, USERS, publish, record, stage, started

from config.fallbacks import TIERS
from config.paths import PROJECT
from models.registry import VersionRegistry
from models.serving_records import ScoredTrack, StoredTrack
from models.serving_store import FILE
from webapp import create_app
from webapp.__main__ import main
from webapp.rendering import charts
from webapp.rendering.charts.histograms import with_empty_bins
from webapp.rendering.formats import DASH, duration, percent
from webapp.serving.scoreboard import Scoreboard


def words_of(html: str) -> str:
    """Return a page's text without markup, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def test_overview_shows_served_version(client: FlaskClient) -> None:
    answer = client.get("/")
    text = words_of(answer.text)
    assert answer.status_code == 200
    assert "<h1>Tiny &amp; small</h1>" in answer.text
    assert "ndcg@10 of the champion 0.2500 ×2.50 the value of popularity" in text
    assert "Users 12,345" in text
    assert "Sparsity 98.8 %" in text
    assert "Songs 3" in text
    assert (
        "Measured on 321 users, with 2,000 interactions held out for the test and 8,000 interactions for training."
        in text
    )


def test_leaderboard_lists_champion_first_and_baseline_last(client: FlaskClient) -> None:
    table = client.get("/leaderboard").text.split('<table class="metrics">')[1].split("</table>")[0]
    rows = [words_of(row) for row in table.split("<tr")[2:]]
    assert [re.sub(r'^class="[^"]*">\s*', "", row).lstrip("> ") for row in rows] == [
        f"als ★ champion 0.2500 ×2.50 0.3000 ×1.50 {DASH}",
        "als_explicit 0.0500 ×0.50 0.0600 ×0.30 0.8642",
        f"popularity baseline 0.1000 0.2000 {DASH}",
    ]


def test_overview_says_that_popularity_is_champion(roots: tuple[Path, Path], bare: FlaskClient) -> None:
    publish(roots[0], metrics={"champion": "popularity"})
    assert "Popularity is the champion" in bare.get("/").text


def test_no_ratio_to_zero_baseline() -> None:
    board = Scoreboard.from_metrics(
        {"champion": "als", "models": {"als": {"ndcg@10": 0.5}, "popularity": {"ndcg@10": 0.0}}}
    )
    assert board.headline.value == 0.5
    assert board.headline.ratio is None


def test_headline_shows_interval(roots: tuple[Path, Path], bare: FlaskClient) -> None:
    intervals = {"als": {"ndcg@10": [0.2312, 0.27], "recall@10": [0.2, 0.4]}, "popularity": {"ndcg@10": [0.09, 0.11]}}
    publish(roots[0], metrics={"intervals": intervals})
    text = words_of(bare.get("/").text)
    assert "ndcg@10 of the champion 0.2500 0.2312–0.2700 ×2.50 the value of popularity" in text
    text = words_of(bare.get("/leaderboard").text)
    assert "als ★ champion 0.2500 0.2312–0.2700 ×2.50 0.3000 ×1.50" in text
    assert "popularity baseline 0.1000 0.0900–0.1100 0.2000" in text


def test_scoreboard_separates_beyond_accuracy_and_longer_lists() -> None:
    names = ("mae", "cold_users", "gini@20", "arp@10", "mrr@20", "rmse", "coverage@10", "mrr@10", "ndcg@10")
    board = Scoreboard.from_metrics({"champion": "als", "models": {"als": dict.fromkeys(names, 0.5)}})
    assert [metric.name for metric in board.main] == ["ndcg@10", "mrr@10", "coverage@10", "rmse", "mae"]
    assert [metric.name for metric in board.beyond_accuracy] == ["arp@10", "cold_users"]
    assert [metric.name for metric in board.longer_lists] == ["mrr@20", "gini@20"]
    assert all(metric.meaning for metric in board.metrics)


def test_scoreboard_lists_champion_with_rules_after_champion() -> None:
    lists = {"metrics": {"ndcg@10": 0.4}, "intervals": {"ndcg@10": [0.3, 0.5]}}
    models = {"ease": {"ndcg@10": 0.6}, "als": {"ndcg@10": 0.5}, "popularity": {"ndcg@10": 0.2}}
    board = Scoreboard.from_metrics({"champion": "als", "models": models, "lists": lists})
    assert [candidate.name for candidate in board.candidates] == ["als", "als with list rules", "ease", "popularity"]
    assert board.champion.name == "als"
    assert board.candidates[1].cells["ndcg@10"].ratio == pytest.approx(2.0)


def test_user_page_explains_recommendations(client: FlaskClient) -> None:
    page = client.get("/users/u1").text
    assert "1 untitled because of Plain song" in words_of(page)
    assert page.count("because of") == 1
    assert 'href="/tracks/plain"' in page


class TestTryIt:
    """Recommendations from picked tracks."""

    def test_picks_in_url_give_recommendations(self, client: FlaskClient) -> None:
        page = client.get("/try").text
        assert "Recommendations appear here after your first pick." in page
        assert 'href="/try?t=plain"' in page
        text = words_of(client.get("/try?t=plain&t=gone&t=plain").text)
        assert "Your picks Plain song Somebody Remove" in text
        assert "By summed similarity to your picks" in text
        assert "0.875" in text

    def test_pick_can_be_removed_and_is_not_suggested(self, client: FlaskClient) -> None:
        page = client.get("/try?t=plain&t=untitled&q=somebody").text
        assert 'href="/try?t=untitled&amp;q=somebody"' in page
        assert re.findall(r'aria-label="Add ([^"]+)"', page) == ["&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"]
        assert "No recommendations for these picks" in client.get("/try?t=untitled").text

    def test_refuses_too_many_picks(self, client: FlaskClient) -> None:
        assert client.get("/try", query_string={"t": [str(n) for n in range(51)]}).status_code == 400


class TestTracks:
    """Track search and track pages."""

    def test_track_page_shows_details_and_similar_tracks(self, client: FlaskClient) -> None:
        page = client.get("/tracks/plain")
        text = words_of(page.text)
        assert "Listeners 9 Artist Somebody Genre folk" in text
        assert "Similar songs" in text
        assert HOSTILE not in page.text
        assert "0.875" in text
        assert "No similar songs" in client.get("/tracks/hostile").text

    def test_unknown_track_or_no_match(self, client: FlaskClient) -> None:
        answer = client.get("/tracks/nothing")
        assert answer.status_code == 404
        assert "The served version has no song &#39;nothing&#39;." in answer.text
        assert "No song matches" in client.get("/tracks?q=zzz").text
        assert client.get("/tracks", query_string={"q": "x" * 501}).status_code == 400

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ("pl", ["plain"]), ("SONG pla", ["plain"]), ("somebody", ["plain", "hostile"]), ("else", ["hostile"]),
            ("", ["plain", "untitled", "hostile"]), ('"*(', ["plain", "untitled", "hostile"]), ("NEAR(", []),
            ("alert('x", ["hostile"]),
        ],
    )  # fmt: skip
    def test_search_by_words_of_title_and_artist(self, client: FlaskClient, wanted: str, found: list[str]) -> None:
        page = client.get("/tracks", query_string={"q": wanted}).text
        assert re.findall(r'<th scope="row"><a href="/tracks/(\w+)"', page) == found

    def test_search_redirects_exact_id(self, client: FlaskClient) -> None:
        answer = client.get("/tracks?q=untitled")
        assert (answer.status_code, answer.location) == (302, "/tracks/untitled")


def test_user_page_names_the_fallback_tier(client: FlaskClient) -> None:
    for user, tier in ((USERS[0], "model"), (USERS[1], "content")):
        assert escape(TIERS[tier]) in client.get("/users", query_string={"q": user}, follow_redirects=True).text


def test_overview_explains_metrics(client: FlaskClient) -> None:
    assert "The share of a user&#39;s held-out tracks that the list contains." in client.get("/").text


def test_overview_says_that_version_is_pinned(roots: tuple[Path, Path], client: FlaskClient) -> None:
    assert "pinned" not in client.get("/").text
    VersionRegistry(roots[0] / "tiny").roll_back("v1", expected="v1")
    assert "A rollback pinned this version" in client.get("/").text


def test_overview_lists_runs_newest_first(roots: tuple[Path, Path], client: FlaskClient) -> None:
    finished = {"event": "run_finished", "status": "nothing_to_do", "duration_s": 0.4}
    skipped = [stage("Ingest", "skipped"), stage("Train", "skipped", model="als"), stage("Train", "skipped", model="b")]
    record(roots[1], "newer", started("2025-11-02T08:00:00Z"), *skipped, finished)
    failed = stage("Ingest", "failed", "plays.csv: 9 of 10 rows were <rejected>.")
    done = stage("Generate", "done")
    closing = {"event": "run_finished", "status": "failed", "duration_s": 75.0}
    record(roots[1], "older", started("2025-11-01T08:00:00Z"), done, stage("Split", "failed"), stage("Split", "done"),
           failed, closing)  # fmt: skip
    html = client.get("/").text
    text = words_of(html)
    newer = text.index("2 Nov 2025 – nothing to do 0.4 s 0 3 0")
    older = text.index("1 Nov 2025 ✕ failed 1 min 15 s 2 0 1 Ingest: plays.csv")
    assert newer < older
    assert "rows were &lt;rejected&gt;." in html


def test_run_with_truncated_record_is_unfinished(roots: tuple[Path, Path], client: FlaskClient) -> None:
    record(roots[1], "cut", started("2025-11-01T08:00:00Z"), stage("Generate", "done"), '{"event": "stage", "sta')
    record(roots[1], "empty", "")
    text = words_of(client.get("/").text)
    assert f"1 Nov 2025 … unfinished {DASH} 1 0 0" in text
    assert f"empty … unfinished {DASH} 0 0 0" in text


@pytest.mark.parametrize("user_id", USERS)
def test_user_list_links_every_user(client: FlaskClient, user_id: str) -> None:
    html = client.get("/users").text
    links = re.findall(r'<a href="(/users[/?][^"]+)"><code class="id">', html)
    answer = client.get(links[USERS.index(user_id)])
    assert answer.status_code == 200
    shown = user_id.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = shown.replace("'", "&#39;").replace('"', "&#34;")
    assert f'<h1>User <code class="id">{shown}</code></h1>' in answer.text
    assert HOSTILE not in answer.text


@pytest.mark.parametrize("user_id", [user_id for user_id in USERS if user_id != ".."])
def test_search_redirects_exact_user_id(client: FlaskClient, user_id: str) -> None:
    answer = client.get("/users", query_string={"q": user_id}, follow_redirects=True)
    assert [response.status_code for response in answer.history] == [302]
    assert answer.status_code == 200
    assert "<h1>User " in answer.text


def test_dot_ids_are_linked_by_query(client: FlaskClient) -> None:
    html = client.get("/users").text
    assert 'href="/users?q=.."' in html
    assert 'href="/users/.."' not in html


def test_user_page_shows_profile_list_and_history(client: FlaskClient) -> None:
    text = words_of(client.get("/users/u1").text)
    assert "Songs heard 1" in text
    assert "Country NO" in text
    assert "Age" not in text  # not known of this user
    assert re.search(
        rf"1 untitled because of Plain song {DASH} {DASH} 0\.750 Score 0\.750 "
        r"2 &lt;script&gt;\S+ Somebody else jazz 0\.500",
        text,
    )
    assert "Plays Plain song Somebody 1,234" in text


def test_user_page_limits_recommendations(client: FlaskClient) -> None:
    assert "0.500" in client.get("/users/u1").text
    html = client.get("/users/u1?k=1").text
    assert "0.500" not in html
    assert 'href="/users/u1?k=100&amp;heard=25"' in html


def test_search_lists_users_by_prefix(client: FlaskClient) -> None:
    text = words_of(client.get("/users?q=u").text)
    assert "3 users whose id starts with the search text" in text
    assert "u1 1 u10 1 u2 1" in text


def test_search_ignores_spaces_around_id(client: FlaskClient) -> None:
    assert client.get("/users?q=%20u2%20").location == "/users/u2"


def test_search_without_match(client: FlaskClient) -> None:
    answer = client.get("/users", query_string={"q": "<b>"})
    assert answer.status_code == 200
    assert "&lt;b&gt;" in answer.text
    assert "<b>" not in answer.text


def test_unknown_user_page_shows_popular_tracks(client: FlaskClient) -> None:
    answer = client.get("/users/%3Cimg%3E")
    assert answer.status_code == 404
    assert "&lt;img&gt;" in answer.text
    assert "<img>" not in answer.text
    assert "1 Plain song Somebody folk 9" in words_of(answer.text)
    assert 'role="search"' in answer.text


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=ten", "k=-1", "k=", "k=9" + "9" * 5000, "heard=1001"])
def test_refuses_invalid_query_value(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/users/u1?{query}")
    assert answer.status_code == 400
    assert f"{query.partition('=')[0]} = " in answer.text
    assert "is not a whole number from 1 to" in answer.text


def test_refuses_overlong_id(client: FlaskClient) -> None:
    assert client.get("/users", query_string={"q": "x" * 501}).status_code == 400


def test_dataset_switcher_and_default_dataset(
    roots: tuple[Path, Path], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.serving.version_cache.DATASETS_TTL_S", 0.0)
    assert 'class="dataset-switcher"' not in client.get("/").text
    publish(roots[0], "other", title="The other")
    os.utime(roots[0] / "tiny" / "current", (1, 1))
    assert "<h1>The other</h1>" in client.get("/").text
    html = client.get("/?dataset=tiny").text
    assert "<h1>Tiny &amp; small</h1>" in html
    assert 'class="dataset-switcher"' in html
    assert 'href="/?dataset=other"' in html
    assert 'href="/users?dataset=tiny"' in html
    users = client.get("/users?dataset=tiny").text
    assert 'href="/users/u1?dataset=tiny"' in users
    assert '<input type="hidden" name="dataset" value="tiny">' in users


@pytest.mark.parametrize("path", ["/", "/users", "/users/u1"])
@pytest.mark.parametrize("name", ["nobody", "../secret", "", "tiny/", "."])
def test_only_listed_datasets_reach_the_file_system(
    roots: tuple[Path, Path], client: FlaskClient, path: str, name: str
) -> None:
    publish(roots[0].parent, "secret")
    answer = client.get(path, query_string={"dataset": name})
    assert answer.status_code == 404
    assert f"There is no dataset {name!r}".replace("'", "&#39;") in answer.text
    assert '<a href="/?dataset=tiny">tiny</a>' in answer.text


@pytest.mark.parametrize("path", ["/", "/users", "/users/u1"])
def test_nothing_published_shows_first_command(roots: tuple[Path, Path], bare: FlaskClient, path: str) -> None:
    record(roots[1], "r", started("2025-11-01T08:00:00Z"), stage("Ingest", "failed", "No such file."))
    answer = bare.get(path)
    assert answer.status_code == 200
    assert "<code>make pipeline</code>" in answer.text
    assert "Ingest: No such file." in answer.text


def test_unknown_page_is_404(client: FlaskClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "<h1>Not Found</h1>" in answer.text


def test_wrong_method_keeps_its_allow_header(client: FlaskClient) -> None:
    answer = client.post("/users")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "<h1>Method Not Allowed</h1>" in answer.text


def test_internal_error_shows_logged_id(
    roots: tuple[Path, Path], client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    publish(
        roots[0], version="v2", profile={"quartiles": []}
    )  # sealed so: the version verifies, and the page about it breaks
    with caplog.at_level(logging.ERROR):
        answer = client.get("/data?dataset=tiny")
    assert answer.status_code == 500
    found = re.search(r"under the id <code>(\w{8})</code>", answer.text)
    assert found
    (logged,) = [entry for entry in caplog.records if found[1] in entry.getMessage()]
    assert logged.exc_info
    assert "Traceback" not in answer.text


def test_healthz_without_versions(bare: FlaskClient) -> None:
    answer = bare.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "empty", "datasets": {}})


def test_healthz_names_every_version(roots: tuple[Path, Path], client: FlaskClient) -> None:
    publish(roots[0], "other", version="v7")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "datasets": {"tiny": "v1", "other": "v7"}})


def lose_store(root: Path) -> None:
    (root / "v1" / FILE).unlink()


def damage_store(root: Path) -> None:
    (root / "v1" / FILE).write_bytes(b"no database" * 1000)


def damage_metrics(root: Path) -> None:
    (root / "v1" / "metrics.json").write_text('{"models": ')


def empty_current(root: Path) -> None:
    (root / "current").write_text("")


@pytest.mark.parametrize("harm", [lose_store, damage_store, damage_metrics, empty_current])
def test_healthz_reports_unreadable_version(
    roots: tuple[Path, Path], client: FlaskClient, harm: Callable[[Path], None]
) -> None:
    harm(roots[0] / "tiny")
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["status"] == "unreadable"
    assert "tiny" in answer.json["error"]
    page = client.get("/users/u1")
    assert page.status_code == 503
    assert "<h1>The served version cannot be read</h1>" in page.text


@pytest.mark.parametrize("path", ["/", "/users/u1", "/nowhere", "/?dataset=x", "/login"])
def test_pages_have_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/healthz", "/static/encore.css", "/api/v1/users/u1", "/api/v1/nowhere", "/graph.css", "/metrics"]
)
def test_other_responses_have_strict_policy(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:  # closes the file that a static answer holds open
        headers = answer.headers
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] in ("no-cache", "max-age=3600")


@pytest.mark.parametrize("path", ["/", "/users", "/users/u1", "/users/nobody", "/nowhere"])
def test_pages_comply_with_content_security_policy(client: FlaskClient, path: str) -> None:
    html = client.get(path).text
    assert not re.search(r"<style|<script(?! src=\"/static/)|\sstyle=|\son\w+=", html)
    assert not re.search(r'(?:src|href)="(?!/|#)', html)


def test_histogram_includes_empty_bins() -> None:
    bins = [{"from": 0, "to": 1, "count": 2}, {"from": 4, "to": 8, "count": 1}]
    doubled = [each["from"] for each in with_empty_bins(bins, doubling=True)]
    assert doubled == [0, 1, 2, 4]
    even = [{"from": 1.0, "to": 1.5, "count": 2}, {"from": 2.5, "to": 3.0, "count": 1}]
    assert [each["from"] for each in with_empty_bins(even, doubling=False)] == [1.0, 1.5, 2.0, 2.5]


def test_charts_escape_text() -> None:
    assert HOSTILE not in charts.score_bar(1.0, 2.0, HOSTILE)


def test_track_table_escapes_text_from_the_data(tmp_path: Path) -> None:
    with_title, without = StoredTrack(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1), StoredTrack('"&', None, None, None, 1)
    lines = [ScoredTrack(with_title, 0.5, (without, with_title)), ScoredTrack(without, 0.25)]
    app = create_app(tmp_path, tmp_path)
    with app.test_request_context():
        rows = str(app.jinja_env.globals["parts"].track_table(lines, "", "song", HOSTILE, "score", 1.0))
    assert HOSTILE not in rows
    assert rows.count("&lt;script&gt;") == 9  # the title and id of two links, artist, genre, two bars and the heading
    assert rows.count('<code class="id">&#34;&amp;</code>') == 2
    assert rows.count('href="/tracks/%22%26"') == 2


@pytest.mark.parametrize(("value", "highest", "width"), [(1, 2, "50.0"), (-1, 2, "0.0"), (0, 0, "0.0")])
def test_score_bar_width(value: float, highest: float, width: str) -> None:
    assert f'class="fill" width="{width}"' in charts.score_bar(value, highest, "")


def test_percent_never_rounds_to_all_or_nothing() -> None:
    assert [percent(share) for share in (1.0, 0.0, 0.5, 0.99996)] == ["100.0 %", "0.0 %", "50.0 %", "99.996 %"]


def test_duration_units() -> None:
    assert [duration(s) for s in (0.04, 41.6, 125, 4320, None)] == ["0.0 s", "42 s", "2 min 5 s", "1 h 12 min", DASH]


LAYERS: dict[str, set[str]] = {
    "url_converters": set(),
    "security": set(),
    "serving": set(),
    "rendering": {"serving", "url_converters"},
    "run_launcher": {"security", "serving"},
    "api": {"serving"},
    "monitoring": {"serving"},
    "error_handlers": {"api", "serving"},
    "views": {"api", "rendering", "run_launcher", "security", "serving", "url_converters"},
}
"""What each part of `webapp` may import from the others."""


@pytest.mark.parametrize("part", LAYERS)
def test_parts_import_in_one_direction(part: str) -> None:
    root = PROJECT / "webapp"
    files = [root / f"{part}.py"] if (root / f"{part}.py").is_file() else sorted((root / part).rglob("*.py"))
    assert files
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    imported = set(re.findall(r"^\s*from webapp\.(\w+)", text, re.MULTILINE))
    imported |= set(re.findall(r"^\s*from webapp import (\w+)", text, re.MULTILINE))
    assert imported - {part} <= LAYERS[part]


def test_application_does_not_import_pyspark() -> None:
    code = (
        "import sys; from webapp import create_app; import webapp.__main__; create_app();"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'pyspark', 'py4j', 'luigi', 'spark'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_refuses_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Error: Port {port} on 127.0.0.1 is in use")
    assert said.count("\n") == 1


def test_refuses_missing_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"Error: There is no directory {tmp_path / 'none'}.\n"


@pytest.mark.parametrize("arguments", [["--port", "http"], ["--port", "65536"], ["--prot", "1"]])
def test_refuses_bad_argument(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert arguments[1] in said
    assert said.count("\n") == 1


def test_refuses_unknown_host_address(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_TOKEN", "a token that is long enough")
    assert main(["--host", "256.0.0.1"]) == 2
    assert capsys.readouterr().err.startswith("Error: Cannot listen on 256.0.0.1, port 8000: ")


def test_server_prints_its_url(roots: tuple[Path, Path]) -> None:
    publish(roots[0])
    command = [sys.executable, "-m", "webapp", "--port", "0", "--models", str(roots[0]), "--data", str(roots[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            said = server.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", said)
            assert url, said
            with urllib.request.urlopen(f"{url[0]}users/%2Flead%2F%2Fdouble%2F", timeout=10) as answer:
                assert "/lead//double/" in answer.read().decode()
        finally:
            server.terminate()
