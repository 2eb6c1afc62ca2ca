"""The console in a real browser: no error on any page, a bar that moves to its end, charts for keys and phones."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.utils import timezone

from paiid_perf import tasks
from paiid_perf.conf import get_settings
from paiid_perf.contracts import ChangeHandler, Measurement, Phase, PhaseResult, QueryMeasure, Verdict
from paiid_perf.database import statements
from paiid_perf.models import BlockedAddress, Mark, Metric, OptimizationRun, Recommendation, SecurityEvent
from paiid_perf.optimization import runner
from paiid_perf.registry import registry
from paiid_perf.telemetry.histogram import bucket_of
from paiid_perf.testing import register_temporarily

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (requirements/test.txt)"
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: install it, or set CHROMIUM"),
]
#: axe-core's script: where .ci/run puts it, or an npm install in the project.
AXE = Path(os.environ.get("AXE_CORE") or "node_modules/axe-core/axe.min.js")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HOME = "/admin/paiid_perf/"
WAIT_MS = 20_000
DESK = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC"}


@pytest.fixture(scope="module")
def chromium():
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        # Playwright keeps an event loop in this thread, and Django would call every query here a mistake.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        playwright.expect.set_options(timeout=WAIT_MS)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium, live_server, client_of):
    """Open a page as a superuser; an error of the page, or a refused resource, fails the test."""
    complaints, contexts = [], []
    cookie = client_of("superuser").cookies["sessionid"].value

    def start(**options):
        context = chromium.new_context(**DESK | options)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: _listen(message, complaints))
        return page

    def go(path="", page=None, **options):
        page = page or start(**options)
        address = f"{live_server.url}{HOME}{path}"
        # No response: a reload of the page that was left came in between; then it is asked again.
        response = page.goto(address) or page.goto(address)
        assert response.ok
        assert response.headers["content-security-policy"].startswith("default-src 'self'")
        return page

    go.complaints = complaints
    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def _listen(message, complaints):
    is_icon = message.location.get("url", "").endswith("/favicon.ico")  # the browser asks; the host has none
    if message.type in ("error", "warning") and not is_icon:
        complaints.append(message.text)


@pytest.fixture
def traffic(transactional_db):
    now = timezone.now().replace(second=0, microsecond=0)
    Metric.objects.bulk_create(
        Metric(
            name="api.latency_ms",
            subject="GET api/orders/ 2xx",
            resolution=60,
            at=now - timedelta(minutes=minute + 1),
            count=30,
            total=1050,
            buckets={str(bucket_of(value)): 10 for value in (5, 20, 80)},
        )
        for minute in range(20)
    )


@pytest.fixture
def worker(monkeypatch):
    """A worker in a thread, whose second phase goes on when it is told to; yields what tells it."""
    go_on, threads = threading.Event(), []

    def half_way(context):
        context.progress(0.5, "half way")
        assert go_on.wait(WAIT_MS / 1000)
        return PhaseResult("succeeded", "went on")

    phases = (
        Phase("database", "Database", 1, lambda context: PhaseResult("succeeded", "looked")),
        Phase("api", "API", 2, half_way),
    )
    others = {key: item for key, item in registry._items.items() if key[0] is not Phase}
    monkeypatch.setattr(registry, "_items", others | {(Phase, phase.name): phase for phase in phases})
    monkeypatch.setattr(runner, "WRITE_EVERY_SECONDS", 0.0)

    def work(pk):
        try:
            runner.execute(pk)
        finally:
            connections.close_all()

    def send(task, pk, *more):
        threads.append(threading.Thread(target=work, args=(pk,)))
        threads[-1].start()
        return True

    monkeypatch.setattr(runner, "_send", send)
    yield go_on
    go_on.set()
    for thread in threads:
        thread.join()


def test_the_run_button_leads_to_a_bar_that_reaches_its_end(browse, worker):
    page = browse()

    page.get_by_role("button", name="Run full optimization").click()

    bar = page.locator("progress")
    playwright.expect(bar).to_have_attribute("value", "75")
    playwright.expect(page.locator("[data-step]")).to_have_text("API: half way")
    worker.set()
    playwright.expect(bar).to_have_attribute("value", "100")
    playwright.expect(page.locator("[data-status]")).to_have_text("succeeded")
    playwright.expect(page.locator("[data-phase=api] [data-phase-summary]")).to_have_text("went on")
    assert OptimizationRun.objects.get().status == "succeeded"


def test_the_overview_follows_a_run_too(browse, worker):
    page = browse()
    page.get_by_role("button", name="Run quick optimization").click()
    page.wait_for_url("**/optimizationrun/*/change/")
    playwright.expect(page.locator("progress")).to_have_attribute("value", "75")

    browse(page=page)
    playwright.expect(page.locator("progress")).to_have_attribute("value", "75")
    worker.set()

    playwright.expect(page.locator("progress")).to_have_count(0)
    playwright.expect(page.get_by_text("succeeded").first).to_be_visible()


def test_without_script_everything_still_works(browse, worker):
    page = browse(java_script_enabled=False)

    page.get_by_role("button", name="Run full optimization").click()
    playwright.expect(page.get_by_text("API: half way")).to_be_visible()  # the page asks again by itself
    worker.set()

    playwright.expect(page.get_by_text("went on")).to_be_visible()


def test_a_recommendation_is_approved_after_being_asked(browse, rec):
    page = browse(f"recommendation/{rec.pk}/change/")

    page.get_by_role("link", name="Approve").click()
    playwright.expect(page.get_by_text("CREATE INDEX CONCURRENTLY")).to_be_visible()
    page.get_by_role("button", name="Approve").click()

    playwright.expect(page.locator("h1 .perf-pill")).to_have_text("approved")
    assert Recommendation.objects.get().state == "approved"


class Handled:
    """A change that makes one query ten times as fast, as long as it is there."""

    is_there = False

    def apply(self, payload, context):
        self.is_there = True
        return {}

    def revert(self, payload, context):
        self.is_there = False

    def measure(self, payload, context):
        query = QueryMeasure("q", "SELECT 1", 100, 2.0 if self.is_there else 20.0)
        return Measurement("replay", (query,))


@pytest.fixture
def handled(monkeypatch):
    """A change to press buttons for, and a worker in a thread that does what it is sent."""
    change, threads = Handled(), []
    work = {"paiid_perf.apply": tasks.apply, "paiid_perf.revert": tasks.revert}

    def do(task, args):
        try:
            work[task](*args)
        finally:
            connections.close_all()

    def send(task, *args):
        threads.append(threading.Thread(target=do, args=(task, args)))
        threads[-1].start()
        return True

    def judge(before, after, settings):
        return Verdict(True, "20 → 2 ms", 0.9)

    monkeypatch.setattr(runner, "_send", send)
    handler = ChangeHandler(
        "index_create", change.apply, change.revert, change.measure, judge, lambda *_: None
    )
    with register_temporarily(handler):
        yield change
        for thread in threads:
            thread.join()


def test_a_change_is_applied_kept_and_taken_back_under_the_readers_eyes(browse, rec, handled):
    page = browse(f"recommendation/{rec.pk}/change/")
    state = page.locator("h1 .perf-pill")

    page.get_by_role("link", name="Apply now").click()
    page.get_by_role("button", name="Apply now").click()
    playwright.expect(state).to_have_text("kept")
    playwright.expect(page.get_by_text("20 → 2 ms").first).to_be_visible()
    assert handled.is_there

    page.get_by_role("link", name="Revert").click()
    page.get_by_role("button", name="Revert").click()
    playwright.expect(state).to_have_text("reverted")
    assert not handled.is_there
    assert LogEntry.objects.count() == 2


def test_the_migration_is_copied(browse, rec):
    page = browse(f"recommendation/{rec.pk}/change/", permissions=["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy").nth(1).click()

    playwright.expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == rec.migration


def test_a_chart_tells_its_values_to_the_pointer_and_to_the_keys(browse, traffic):
    page = browse()
    plot = page.locator("[data-plot]").first
    tip = plot.locator(".perf-tip")

    plot.locator(".perf-slot").nth(3).hover()
    playwright.expect(tip).to_contain_text("p95")
    page.mouse.move(0, 0)
    playwright.expect(tip).to_be_hidden()

    plot.focus()
    page.keyboard.press("ArrowLeft")
    last = tip.inner_text()
    page.keyboard.press("ArrowLeft")
    playwright.expect(tip).not_to_have_text(last)
    page.keyboard.press("Escape")
    playwright.expect(tip).to_be_hidden()

    page.get_by_text("Table").first.click()
    playwright.expect(page.locator(".perf-figures table").first).to_be_visible()


def test_times_are_told_in_the_readers_zone(browse, a_run):
    page = browse(f"optimizationrun/{a_run.pk}/change/", timezone_id="Asia/Kathmandu")

    playwright.expect(page.get_by_text("Times in Asia/Kathmandu")).to_be_visible()


PAGES = (
    "",
    "?window=30d",
    "recommendation/",
    "recommendation/{rec}/change/",
    "recommendation/{rec}/act/apply/",
    "optimizationrun/",
    "optimizationrun/{run}/change/",
    "alert/",
    "alertrule/",
    "alertsilence/",
    "mark/",
    "mark/add/",
    "securityevent/overview/",
    "securityevent/",
    "usersession/",
    "blockedaddress/",
    "blockedaddress/add/",
    "score/",
    "metric/endpoints/",
    "metric/endpoints/one/?name=GET%20api/orders/",
    "metric/cache/",
    "metric/cache/clear/standard/",
    "metric/system/",
    "metric/outlook/",
    "metric/database/",
    "metric/settings/",
    "statementsnapshot/queries/",
    "statementsnapshot/queries/{query}/",
)


#: scheme → what axe looks for: the dark pages differ in their colours alone.
SCHEMES = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}
FOUND = """async (options) => (await axe.run(document, options)).violations
  .filter((found) => ["serious", "critical"].includes(found.impact))
  .flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.html.slice(0, 200)}`))"""


@pytest.fixture
def query(transactional_db):
    """The id of a query that the server counted."""
    found = statements.counted(get_settings())
    assert not found.because
    texts = statements.texts(get_settings(), [row.queryid for row in found.rows])
    return next(queryid for queryid, text in texts.items() if text.startswith("SELECT") and "FROM" in text)


@pytest.fixture
def events(transactional_db):
    at = timezone.now() - timedelta(minutes=5)
    SecurityEvent.objects.create(
        at=at, kind="sqli", severity="high", address="203.0.113.7", path="/", count=9
    )
    BlockedAddress.objects.create(network="198.51.100.0/24", reason="scanner")
    Mark.objects.create(at=at, kind="deployment", label="release 2.0")


@pytest.fixture
def filled(redis_cache, query, traffic, events, rec, a_run, a_score, an_alert):
    """Something on every page; fills a path's places."""
    return lambda path: path.format(rec=rec.pk, run=a_run.pk, query=query)


@pytest.mark.skipif(AXE.exists(), reason="the next test loads them all")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_loads_without_a_complaint(scheme, browse, filled):
    page = None
    for path in PAGES:
        page = browse(filled(path), page, color_scheme=scheme)
        playwright.expect(page.get_by_role("navigation", name="Performance", exact=True)).to_be_visible()


@pytest.mark.skipif(
    not AXE.exists(), reason="axe-core is not here: npm install axe-core, or name its axe.min.js in AXE_CORE"
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_on_any_page_shuts_anybody_out(scheme, browse, filled):
    page, complaints, source = None, {}, AXE.read_text()
    for path in PAGES:
        page = browse(filled(path), page, color_scheme=scheme, reduced_motion="reduce")
        playwright.expect(page.get_by_role("navigation", name="Performance", exact=True)).to_be_visible()
        assert browse.complaints == [], path
        page.evaluate(source)
        if found := page.evaluate(FOUND, SCHEMES[scheme]):
            complaints[path] = found
        browse.complaints.clear()  # axe tries styles of its own, which our policy refuses

    assert complaints == {}


def test_a_phone_needs_no_sideways_scrolling(browse, filled):
    page, wide = None, []
    for path in PAGES:
        page = browse(filled(path), page, viewport={"width": 390, "height": 844})
        if page.evaluate("document.documentElement.scrollWidth") > 390:
            wide.append(path)

    assert wide == []
