"""The pages in Chromium: accessibility, layout, and use by mouse, by keyboard and without JavaScript."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, ViewportSize, expect
from support import browser
from support.browser import opened, served
from support.published import HOSTILE, METRICS, TOKEN, publish, record, stage, started

from models.registry import VersionRegistry
from webapp import create_app

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.NO_CHROMIUM)]
expect.set_options(timeout=15_000)

WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 360, "height": 740}
LONG = "x" * 300
"""Text without a line break opportunity."""

PAGES: dict[str, dict[str, int]] = {
    "pages.overview": {"/": 200},
    "pages.runs": {"/runs": 200},
    "pages.run": {"/runs/failed": 200, "/runs/going": 200, "/runs/starting": 200, f"/runs/{LONG}": 404},
    "pages.versions": {"/versions": 200},
    "pages.version": {"/versions/v3?verify=1": 200},
    "pages.leaderboard": {"/leaderboard?by=ndcg@20": 200, "/leaderboard?by=none": 400},
    "pages.data": {"/data": 200},
    "pages.users": {"/users": 200, "/users?q=u1&after=u1": 200, f"/users?q={LONG}": 200},
    "pages.user": {"/users/u1": 200, f"/users/{quote(HOSTILE, safe='')}": 200, f"/users/{LONG}": 404},
    "pages.tracks": {"/tracks": 200, f"/tracks?q={LONG}": 200},
    "pages.track": {"/tracks/plain": 200, "/tracks/hostile": 200, "/tracks/none": 404},
    "pages.try_it": {"/try": 200, "/try?t=plain&t=hostile&q=none": 200},
    "pages.api": {"/api": 200},
    "auth.login": {"/login": 200},
    "actions.confirm_promote": {"/versions/v1/promote": 200},
    "actions.confirm_roll_back": {"/versions/v1/roll-back": 200},
    "actions.confirm_prune": {"/prune": 200, "/prune?keep=1": 200},
    "actions.new_run": {"/pipeline": 200},
    "nothing": {"/nowhere": 404},
}
"""URLs of every page with the expected status."""

Visit = Callable[..., Page]
Sites = tuple[str, Path, Path]


# -- fixtures: the browser, the served data, and the recorder of browser errors ----------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of the module."""
    with opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve two datasets whose versions and runs have every optional part, and return the URL."""
    models, data = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("data")
    publish(models, "another")
    publish(models)
    publish(models, version="v2", settings={"als": {"rank": 32}}, **_evaluated())
    publish(models, version="v3", settings={"als": {"rank": 64}}, **_evaluated())
    VersionRegistry(models / "tiny").roll_back("v2", expected="v3")
    stages = [{"stage": "Ingest", "requires": [], "to_do": True}, {"stage": "Split", "requires": ["Ingest"]}]
    opening = started("2025-11-02T08:00:00Z") | {"stages": stages, "settings": {"als": {"rank": 64}},
                                                "changed": {"als": ["rank"]}}  # fmt: skip
    done = stage("Ingest", "done") | {"duration_s": 2.0, "rows_in": 1000, "rows_out": 900}
    record(data, "failed", opening, done, stage("Split", "failed", f"{HOSTILE} {LONG}"))
    runs = data / "runs" / "tiny"
    (runs / "failed.log").write_text(f"first line\n{HOSTILE}\n{LONG}\n")
    (runs / "starting.out").write_text(f"{LONG}\n")
    record(data, "going", opening, done, {"event": "stage_started", "stage": "Split", "at": "2025-11-02T08:00:02Z"})
    with locked_record(runs / "going.jsonl"), served(models, data, TOKEN) as address:
        yield address


def _evaluated() -> dict[str, Any]:
    """Return the evaluation and tuning documents of a version."""
    intervals = {name: {"ndcg@10": [0.01, 0.3], "recall@10": [0.02, 0.4]} for name in METRICS}
    difference = {"difference": 0.15, "interval": [0.1, 0.2]}
    group = {"users": 40, "metrics": {"ndcg@10": 0.2}, "intervals": {"ndcg@10": [0.1, 0.3]}}
    trials = [{"score": score} for score in (0.2, 0.3, 0.25)]
    return {
        "metrics": {
            "intervals": intervals,
            "segments": {name: {"activity": {"low": group, "high": group}} for name in METRICS},
            "curves": {name: {"ndcg": [0.1, 0.2, 0.25], "recall": [0.1, 0.2, 0.3]} for name in METRICS},
        },
        "leaderboard": [
            *({"model": name, "to_popularity": difference, "to_champion": difference} for name in METRICS),
            {"model": "content", "reason": "the catalogue has no tags"},
        ],
        "tuning": {
            "als": {"trials": trials, "score": 0.3, "settings": {"rank": 32}, "importance": {"rank": 0.8}},
            "hybrid": {"settings": {"weights": {"als": 0.8, "ease": 0.2}}, "alone": {"als": 0.2}},
        },
    }


@pytest.fixture
def site(roots: tuple[Path, Path]) -> Iterator[Sites]:
    """Serve two versions, the second promoted, for one test; return the URL, models root and data root.

    Request it before `visit`, so that the browser contexts close before the server stops.
    """
    publish(roots[0])
    publish(roots[0], version="v2")
    with served(*roots, TOKEN) as address:
        yield address, *roots


@contextmanager
def locked_record(run: Path) -> Iterator[None]:
    """Hold the lock of a run record, as a running run does."""
    with run.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Open pages in separate browser contexts; fail the test on any browser error."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(home: str, **options: Any) -> Page:
        context = chromium.new_context(**{"base_url": home, "viewport": WIDE} | options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        _listen(page, home, errors)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def _listen(page: Page, home: str, errors: list[str]) -> None:
    """Record console errors, failed and external requests, dialogs and exceptions. Tests check the status."""
    navigated: set[str] = set()

    def on_request(request: Request) -> None:
        if request.is_navigation_request():
            navigated.add(request.url)
        if not request.url.startswith(f"{home}/"):
            errors.append(f"{page.url}: requested {request.url}")

    def on_failure(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # navigation cancels pending requests
            errors.append(f"{page.url}: {request.url}: {request.failure}")

    def on_console(message: ConsoleMessage) -> None:
        is_status = message.text.startswith("Failed to load resource") and message.location["url"] in navigated
        if message.type in ("error", "warning") and not is_status:
            errors.append(f"{page.url}: {message.type}: {message.text}")

    def on_dialog(dialog: Dialog) -> None:
        errors.append(f"{page.url}: a dialog, {dialog.message}")
        dialog.dismiss()

    page.on("request", on_request)
    page.on("requestfailed", on_failure)
    page.on("console", on_console)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))


def sign_in(page: Page) -> None:
    """Sign in with the token."""
    page.goto("/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.fixture(scope="module")
def owner(chromium: Browser, home: str) -> Any:
    """Return the storage state of a signed-in browser."""
    with chromium.new_context(base_url=home) as context:
        sign_in(context.new_page())
        return context.storage_state()


def violations(page: Page) -> list[str]:
    """Return axe's violations: the rule and the first element that violates it."""
    result = Axe().run(page, options={"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}})
    return [f"{violation['id']}: {violation['nodes'][0]['html']}" for violation in result.response["violations"]]


def overflowing_elements(page: Page) -> list[str]:
    """Return the elements that make the document wider than the window."""
    elements: list[str] = page.evaluate(
        """() => {
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            const outside = (element) => element.getBoundingClientRect().right > wide + 0.5;
            const elements = [...document.querySelectorAll("body *")].filter(outside);
            return ["the document", ...elements.map((element) => element.outerHTML)];
        }"""
    )
    return elements


# -- every page --------------------------------------------------------------------------------------------------------


def test_all_pages_are_checked(roots: tuple[Path, Path]) -> None:
    app = create_app(*roots)
    routes = app.url_map.bind("127.0.0.1")
    endpoints = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith(("pages.", "actions.", "auth.")) and "GET" in (rule.methods or ())
    }
    assert endpoints - {"pages.graph_style"} == set(PAGES) - {"nothing"}
    for endpoint, addresses in PAGES.items():
        if endpoint != "nothing":
            assert {routes.match(address.partition("?")[0])[0] for address in addresses} == {endpoint}


@pytest.mark.parametrize(("address", "status"), [pair for pages in PAGES.values() for pair in pages.items()])
def test_page_is_accessible_and_fits(visit: Visit, home: str, owner: Any, address: str, status: int) -> None:
    page = visit(home, storage_state=owner)
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == status
    assert overflowing_elements(page) == []
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(NARROW)
    assert overflowing_elements(page) == []
    assert violations(page) == []


def test_empty_page_is_accessible_and_fits(visit: Visit, roots: tuple[Path, Path]) -> None:
    record(roots[1], "r", started("2025-11-02T08:00:00Z"), stage("Ingest", "failed", LONG))
    with served(*roots, TOKEN) as home:
        page = visit(home, viewport=NARROW)
        page.goto("/")
        expect(page.get_by_role("heading", name="Nothing published yet")).to_be_visible()
        assert overflowing_elements(page) == []
        assert violations(page) == []
        page.context.close()


def test_checks_find_problems(visit: Visit, home: str) -> None:
    page = visit(home, viewport=NARROW)
    page.goto("/users")
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate(f"document.querySelector('h1').innerHTML = '<pre>{LONG}</pre>'")
    assert [violation.partition(":")[0] for violation in violations(page)] == ["label"]
    assert any("<pre>" in element for element in overflowing_elements(page))
    errors: list[str] = []
    page = page.context.new_page()
    _listen(page, home, errors)
    page.goto("/users")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.2:9/x.png\">')")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    page.evaluate("setTimeout(() => { throw new Error('mine') })")
    with page.expect_event("dialog"):
        page.evaluate("alert('x')")
    text = "\n".join(errors)
    assert "mine" in text and "a dialog, x" in text
    assert "img-src" in text and "style-src" in text


# -- actions -----------------------------------------------------------------------------------------------------------


def test_sign_in_promote_and_roll_back(site: Sites, visit: Visit) -> None:
    home, models, _ = site
    page = visit(home)
    page.goto("/versions")
    page.get_by_role("link", name="Promote version 1").click()
    page.get_by_label("Token").fill("not the token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong token.")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Promote version 1?")).to_be_visible()
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("status")).to_have_text("Version 1 is promoted and served.")
    assert VersionRegistry(models / "tiny").current() == "v1"

    page.get_by_role("link", name="Roll back to version 2").click()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("status")).to_have_text("Rolled back: version 2 is served and pinned.")
    done = page.get_by_role("region", name="Entries of the audit log").locator("tbody tr")
    expect(done.nth(0)).to_contain_text("rolled back")
    expect(done.nth(0)).to_contain_text("the page, from 127.0.0.1")
    expect(done.nth(1)).to_contain_text("promoted by the user")
    assert VersionRegistry(models / "tiny").current() == "v2"

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    page.goto("/prune")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_compare_versions(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto("/versions")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    for number in (1, 3):
        page.get_by_label(f"Compare version {number}").check()
    page.get_by_role("button", name="Compare").click()
    side = page.get_by_role("region", name="Comparison of versions").locator("thead th")
    expect(side).to_contain_text(["Version 3", "Version 1"])


def test_dataset_stays_selected(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto("/")
    page.get_by_text("Dataset tiny").click()
    page.get_by_role("link", name="another").click()
    page.get_by_role("link", name="Users").click()
    page.get_by_label("User id").fill("u1")
    page.get_by_role("option", name="u1 1 heard").click()
    expect(page).to_have_url(f"{home}/users/u1?dataset=another")


def test_user_suggestions(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto("/users")
    field = page.get_by_role("combobox", name="User id")
    field.press_sequentially("u1")
    options = page.get_by_role("option")
    expect(options).to_have_text(["u1 1 heard", "u10 1 heard"])
    expect(field).to_have_attribute("aria-expanded", "true")
    options.nth(1).click()
    expect(page.get_by_role("heading", name="User u10")).to_be_visible()

    page.goto("/users")
    field.fill("u1")
    field.press("Enter")
    expect(page.get_by_role("heading", name="User u1", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Recommendations")).to_contain_text("because of Plain song")


def test_track_suggestions_by_keyboard(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto("/tracks")
    field = page.get_by_role("combobox", name="Words of title or artist")
    field.press_sequentially("somebody")
    options = page.get_by_role("option")
    expect(options).to_have_text(["Plain song Somebody", f"{HOSTILE} Somebody else"])
    field.press("ArrowDown")
    expect(options.nth(0)).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == options.nth(0).get_attribute("id")
    assert violations(page) == []
    field.press("ArrowUp")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    field.press("Escape")
    expect(options).to_have_count(0)
    expect(field).to_have_attribute("aria-expanded", "false")
    field.press("End")
    field.press("Backspace")
    expect(options).to_have_count(2)
    field.press("ArrowDown")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"/tracks/plain\b"))


def test_try_it(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto("/try")
    recommended = page.get_by_role("region", name="Recommendations")
    expect(recommended).to_contain_text("Recommendations appear here after your first pick.")
    field = page.get_by_role("combobox", name="Words of title or artist")
    field.press_sequentially("plain")
    expect(page.get_by_role("option")).to_have_text(["Plain song Somebody"])
    field.press("ArrowDown")
    field.press("Enter")
    expect(page.get_by_role("link", name="Remove Plain song")).to_be_visible()
    expect(recommended.locator("tbody tr")).to_have_count(1)
    expect(recommended.locator("tbody th")).to_have_text(HOSTILE)
    page.get_by_role("link", name="Add untitled").click()
    expect(page.get_by_role("link", name="Remove untitled")).to_be_visible()
    page.get_by_role("link", name="Remove Plain song").click()
    expect(page.get_by_role("link", name="Remove Plain song")).to_have_count(0)


def test_text_from_data_is_escaped(visit: Visit, home: str) -> None:
    page = visit(home)
    page.goto(f"/users/{quote(HOSTILE, safe='')}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"User {HOSTILE}")
    page.goto("/tracks/hostile")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.goto("/runs/failed")
    expect(page.locator(".error-notice")).to_contain_text(HOSTILE)
    expect(page.get_by_label("Last lines of the log")).to_contain_text(HOSTILE)
    page.goto("/users")
    page.get_by_role("combobox").press_sequentially("<")
    expect(page.get_by_role("option")).to_have_text([f"{HOSTILE} 1 heard"])
    assert page.locator("script").count() == 1


# -- live updates ------------------------------------------------------------------------------------------------------


def test_run_page_updates_itself(site: Sites, visit: Visit) -> None:
    home, _, data = site
    page = visit(home)
    sent = data / "runs" / "tiny"
    sent.mkdir(parents=True)
    (sent / "r.out").write_text("so far so good\n")
    page.goto("/runs/r")
    expect(page.locator("#content")).to_contain_text("The run is starting.")
    page.evaluate("window.isTheSame = true")

    stages = [{"stage": "Ingest", "requires": [], "to_do": True}, {"stage": "Split", "requires": ["Ingest"]}]
    begun = {"event": "stage_started", "stage": "Ingest", "at": "2025-11-02T08:00:02Z"}
    run = sent / "r.jsonl"
    run.touch()
    with locked_record(run):
        record(data, "r", started("2025-11-02T08:00:00Z") | {"stages": stages}, begun)
        expect(page.locator(".notice")).to_contain_text("Ingest is running")
        expect(page).to_have_title("Run r · Encore")
        box = page.locator(".run-graph .running .box")
        assert box.evaluate("box => getComputedStyle(box).stroke") != "none"
        picture = page.get_by_role("region", name="Graph of the stages")
        picture.focus()
        ended = [stage("Ingest", "done"), {"event": "run_finished", "status": "done", "duration_s": 3.0}]
        with run.open("a") as file:
            file.write("".join(f"\n{json.dumps(event)}" for event in ended))
    expect(page.locator(".metadata .status")).to_contain_text("done")
    expect(page.locator(".metadata")).to_contain_text("duration 3")
    expect(picture).to_be_focused()
    expect(page.locator("#content[data-live]")).to_have_count(0)
    assert page.evaluate("window.isTheSame")


# -- the keyboard ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/versions", "/runs/failed"])
def test_keyboard_reaches_everything_with_visible_focus(visit: Visit, home: str, address: str) -> None:
    page = visit(home)
    page.goto(address)
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).not_to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport(ratio=1)
    reached = set()
    for _ in range(page.locator("a, button, input:not([type=hidden]), summary, [tabindex]").count()):
        focus = page.evaluate(
            """() => {
                const { activeElement: at } = document;
                const { outlineStyle, outlineWidth } = getComputedStyle(at);
                return [at.outerHTML, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, at !== document.body];
            }"""
        )
        if not focus[2]:
            break  # the end of the page
        assert focus[1], f"The focus is not visible on {focus[0]}"
        reached.add(focus[0])
        page.keyboard.press("Tab")
    focusable = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), summary, [tabindex]")]
            .filter((element) => element.checkVisibility()).map((element) => element.outerHTML)"""
    )
    assert set(focusable) - reached == set()
    page.goto(address)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


# -- without JavaScript ------------------------------------------------------------------------------------------------


def test_works_without_javascript(site: Sites, visit: Visit) -> None:
    home, models, data = site
    page = visit(home, java_script_enabled=False)
    page.goto("/users")
    page.get_by_label("User id").fill("u1")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="User u1")).to_be_visible()

    page.goto("/tracks")
    page.get_by_label("Words of title or artist").fill("plain")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Plain song").click()
    expect(page.get_by_role("heading", name="Plain song")).to_be_visible()

    page.goto("/try")
    page.get_by_label("Words of title or artist").fill("plain")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Add Plain song").click()
    expect(page.get_by_role("region", name="Recommendations").locator("tbody th")).to_have_text(HOSTILE)

    page.goto("/versions")
    page.get_by_role("link", name="Promote version 1").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("status")).to_have_text("Version 1 is promoted and served.")
    assert VersionRegistry(models / "tiny").current() == "v1"

    record(data, "r", started("2025-11-02T08:00:00Z"))
    with locked_record(data / "runs" / "tiny" / "r.jsonl"):
        page.goto("/runs/r")
        expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(1)
