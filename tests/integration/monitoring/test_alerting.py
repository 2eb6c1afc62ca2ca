"""Alerts on a real database: one for each trouble, told once to those whom it concerns."""

from __future__ import annotations

import json
import socketserver
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import pytest
from celery import current_app
from celery.exceptions import Retry
from celery.utils import time as celery_time
from django.core import mail
from django.db import connection

from paiid_perf import tasks
from paiid_perf.conf import get_settings
from paiid_perf.models import Alert, AlertRule, AlertSilence, Metric
from paiid_perf.monitoring import actions, notifiers, readings
from paiid_perf.monitoring.types import AlertThreshold
from paiid_perf.telemetry.histogram import bucket_of
from paiid_perf.testing import make_settings, register_temporarily

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = make_settings()
LOG = "paiid_perf.monitoring.notifiers.log"
EMAIL = "paiid_perf.monitoring.notifiers.email"
WEBHOOK = "paiid_perf.monitoring.notifiers.webhook"
SLACK = "paiid_perf.monitoring.notifiers.slack"


def minutes(count):
    return NOON + timedelta(minutes=count)


def metric(name="api.latency_ms", subject="GET x 2xx", at=NOON, count=1, total=10.0):
    buckets = {bucket_of(total / count): count}
    return Metric.objects.create(
        name=name, subject=subject, at=at, count=count, total=total, buckets=buckets, resolution=60
    )


def gauge(name, value, at, subject="web-1"):
    return Metric.objects.create(name=name, subject=subject, at=at, count=1, total=value, resolution=60)


def cpu(value, start, end, subject="web-1"):
    """The CPU at this value in the minutes from start to end."""
    for minute in range(start, end):
        gauge("system.cpu_percent", value, minutes(minute), subject)


def spikes(count, settings=SETTINGS):
    """Judge every three minutes while the CPU goes from far too high to calm and back."""
    for n in range(count):
        cpu(95 if n % 24 < 12 else 20, n, n + 1)
        if n % 3 == 0:
            actions.evaluate(minutes(n), settings)


def test_a_breach_opens_one_alert_and_calm_resolves_it(settings):
    settings.ADMINS = [("Ann", "ann@example.com")]
    told = make_settings(NOTIFIERS=("paiid_perf.monitoring.notifiers.email", "no.such.notifier"))
    cpu(95, 0, 6)
    now = NOON + timedelta(minutes=6)

    first = actions.evaluate(now, told)
    actions.evaluate(now + timedelta(seconds=30), told)

    alert = Alert.objects.get()
    assert [a.pk for a in first.opened] == [alert.pk]
    assert (alert.subject, alert.times, alert.status) == ("web-1", 2, "open")
    assert "cpu_percent on web-1 is 95 %" in alert.message
    cpu(20, 6, 14)
    actions.evaluate(NOON + timedelta(minutes=14), told)
    alert.refresh_from_db()
    assert alert.status == "resolved"
    assert [m.subject.split()[1] for m in mail.outbox] == ["[open]", "[resolved]"]


def test_a_declared_threshold_follows_its_declaration_until_a_person_edits_it():
    with register_temporarily(AlertThreshold("cpu_percent", above=50)):
        actions.sync_rules()
        assert AlertRule.objects.get(name="cpu_percent").threshold == 50
    actions.sync_rules()
    assert AlertRule.objects.get(name="cpu_percent").threshold == 80
    AlertRule.objects.filter(name="cpu_percent").update(threshold=99, declared=False)
    actions.sync_rules()
    assert AlertRule.objects.get(name="cpu_percent").threshold == 99


def test_a_rule_whose_declaration_is_gone_is_disabled_and_its_alert_resolves():
    for minute in range(6):
        gauge("test.heat", 95, NOON + timedelta(minutes=minute))
    now = NOON + timedelta(minutes=6)
    with register_temporarily(AlertThreshold("test.heat", above=50)):
        actions.evaluate(now, SETTINGS)
        assert Alert.objects.get().status == "open"

    actions.evaluate(now, SETTINGS)

    assert Alert.objects.get().status == "resolved"
    assert not AlertRule.objects.get(name="test.heat").enabled
    with register_temporarily(AlertThreshold("test.heat", above=50)):
        actions.sync_rules()
    assert AlertRule.objects.get(name="test.heat").enabled


def test_an_alert_without_data_stays_until_its_subject_is_gone_for_a_day():
    cpu(95, 0, 6)
    opened = NOON + timedelta(minutes=6)
    actions.evaluate(opened, SETTINGS)

    silent = actions.evaluate(opened + timedelta(hours=1), SETTINGS)
    assert "cpu_percent" in silent.without_data
    assert Alert.objects.get().status == "no data"
    assert AlertRule.objects.get(name="cpu_percent").state == "no data"
    actions.evaluate(opened + timedelta(hours=25), SETTINGS)
    assert Alert.objects.get().status == "resolved"


@pytest.mark.django_db(transaction=True)
def test_processes_that_judge_at_once_open_one_alert():
    cpu(95, 0, 6)
    actions.sync_rules()
    barrier, opened = Barrier(4), []

    def judge(number):
        barrier.wait()
        try:
            opened.extend(actions.evaluate(NOON + timedelta(minutes=6, microseconds=number), SETTINGS).opened)
        finally:
            connection.close()

    threads = [Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Alert.objects.count() == 1
    assert len(opened) == 1


def test_a_rule_that_cannot_be_judged_stops_no_other(monkeypatch, caplog):
    def broken(start, end):
        raise ValueError("no such reading")

    monkeypatch.setattr(readings, "READINGS", {**readings.READINGS, "api_p95_ms": broken})
    cpu(95, 0, 6)

    assert len(actions.evaluate(NOON + timedelta(minutes=6), SETTINGS).opened) == 1
    assert "api_p95_ms could not be judged" in caplog.text


def test_errors_that_burn_the_budget_are_an_alert():
    for minute in range(60):
        at = NOON + timedelta(minutes=minute)
        metric(subject="GET x 2xx", at=at, count=95)
        metric(subject="GET x 5xx", at=at, count=5)

    actions.evaluate(NOON + timedelta(minutes=60), SETTINGS)

    assert Alert.objects.get(rule__name="api_burn_rate").severity == "critical"


def test_a_metric_that_flaps_gives_one_alert_and_few_messages(settings):
    settings.ADMINS = [("Ann", "ann@example.com")]

    spikes(72, make_settings(NOTIFIERS=(EMAIL,)))

    alert = Alert.objects.get(rule__name="cpu_percent")
    assert alert.flaps >= 1
    assert len(mail.outbox) <= 4


def test_a_breach_long_after_the_last_one_is_an_alert_of_its_own():
    cpu(95, 0, 6)
    actions.evaluate(minutes(6), SETTINGS)
    cpu(20, 6, 14)
    actions.evaluate(minutes(14), SETTINGS)
    cpu(95, 100, 106)

    actions.evaluate(minutes(106), SETTINGS)

    assert list(Alert.objects.order_by("pk").values_list("status", flat=True)) == ["resolved", "open"]


def test_data_that_come_back_find_the_alert_where_a_person_left_it():
    cpu(95, 0, 6)
    actions.evaluate(minutes(6), SETTINGS)
    Alert.objects.update(status="acknowledged", acknowledged_at=minutes(7), comment="on it")
    actions.evaluate(minutes(30), SETTINGS)
    assert Alert.objects.get().status == "no data"
    cpu(95, 34, 40)

    actions.evaluate(minutes(40), SETTINGS)

    found = Alert.objects.get()
    assert (found.status, found.comment, found.flaps) == ("acknowledged", "on it", 1)


def test_data_that_come_and_go_are_told_of_less_and_less(settings):
    settings.ADMINS = [("Ops", "ops@example.com")]
    for start in range(0, 100, 20):
        cpu(95, start, start + 6)
        for look in (6, 16):
            actions.evaluate(minutes(start + look), make_settings(NOTIFIERS=[EMAIL]))

    assert Alert.objects.get().flaps == 4
    assert len(mail.outbox) <= 4  # of ten changes


def test_a_host_that_falls_silent_is_an_alert_where_the_rule_wants_it():
    cpu(20, 0, 10)
    with register_temporarily(
        AlertThreshold("system.cpu_percent", above=80, no_data=timedelta(minutes=10), label="hosts")
    ):
        for minute in (10, 15, 21):
            actions.evaluate(minutes(minute), SETTINGS)
        alert = Alert.objects.get()
        assert (alert.status, alert.rule.name) == ("no data", "hosts")
        assert "on web-1 sends no data since 2026-01-01 12:09" in alert.message
        cpu(20, 21, 27)

        actions.evaluate(minutes(27), SETTINGS)

    assert Alert.objects.get().status == "resolved"


def test_a_rule_speaks_only_of_the_subjects_that_its_filter_names():
    for host in ("web-1", "web-9", "db-1"):
        cpu(95, 0, 6, host)
    with register_temporarily(AlertThreshold("cpu_percent", above=80, subjects="web-*; !web-9")):
        actions.evaluate(minutes(6), SETTINGS)

    assert [alert.subject for alert in Alert.objects.all()] == ["web-1"]


def test_some_endpoints_have_a_rule_of_their_own():
    for minute in range(6):
        metric(subject="GET slow/ 2xx", at=minutes(minute), count=30, total=30 * 900)
        metric(subject="GET slow/ 5xx", at=minutes(minute), count=30, total=30 * 900)
        metric(subject="GET quick/ 2xx", at=minutes(minute), count=900, total=900)
    rules = (
        AlertThreshold("api_error_rate", above=0.4, subjects="* slow/*", label="slow errors"),
        AlertThreshold("api_p95_ms", above=800, subjects="* slow/*", label="slow p95"),
        AlertThreshold("endpoint_p95_ms", above=500, label="each"),
    )
    with register_temporarily(*rules):
        actions.evaluate(minutes(6), SETTINGS)

    found = Alert.objects.filter(rule__name__in=("slow errors", "slow p95", "each"))
    assert sorted(found.values_list("rule__name", "subject")) == [
        ("each", "GET slow/"),
        ("slow errors", "* slow/*"),
        ("slow p95", "* slow/*"),
    ]


def test_answers_that_are_too_slow_burn_a_budget_of_their_own(settings):
    settings.PAIID_PERF = {"LATENCY_OBJECTIVE": (0.99, 500)}
    for minute in range(60):
        metric(at=minutes(minute), count=70, total=70 * 50)
        metric(subject="GET y 2xx", at=minutes(minute), count=30, total=30 * 900)

    actions.evaluate(minutes(60), get_settings())

    alert = Alert.objects.get(rule__name="api_latency_burn_rate")
    assert alert.value == pytest.approx(0.3 / 0.01 / 6)


def test_filters_reach_budgets_and_hit_ratios(settings):
    settings.PAIID_PERF = {"LATENCY_OBJECTIVE": (0.9, 500)}
    for minute in range(60):
        metric(subject="GET bad/ 2xx", at=minutes(minute), count=10, total=10 * 900)
        metric(subject="GET bad/ 5xx", at=minutes(minute), count=10, total=10 * 10)
        metric(subject="GET good/ 2xx", at=minutes(minute), count=5000, total=5000 * 10)
        metric("cache.hits", "cold", minutes(minute), count=1, total=1)
        metric("cache.misses", "cold", minutes(minute), count=3, total=3)
        metric("cache.hits", "warm", minutes(minute), count=5000, total=5000)
    end = minutes(60)

    def last(name, subjects):
        return readings.reading_of(name, subjects)(end - timedelta(minutes=20), end)[subjects][-1].value

    assert last("api_burn_rate", "* bad/*") == pytest.approx(0.5 / 0.001 / 6)
    assert last("api_burn_rate", "* good/*") == 0
    assert last("api_latency_burn_rate", "* bad/*") == pytest.approx(0.5 / 0.1 / 6)
    assert last("cache_hit_ratio", "cold") == 0.25


# --- who is told ---------------------------------------------------------------------------------------


def test_a_silence_keeps_an_alert_from_people_until_it_ends(settings):
    settings.ADMINS = [("Ann", "ann@example.com")]
    told = make_settings(NOTIFIERS=(EMAIL,))
    AlertSilence.objects.create(subjects="web-*", until=minutes(8), comment="maintenance")
    cpu(95, 0, 10)

    actions.evaluate(minutes(6), told)
    assert (Alert.objects.get().status, mail.outbox) == ("open", [])
    actions.evaluate(minutes(9), told)

    assert [message.subject.split()[1] for message in mail.outbox] == ["[open]"]


def test_a_silence_of_another_rule_or_subject_keeps_nothing_back(settings):
    settings.ADMINS = [("Ann", "ann@example.com")]
    actions.sync_rules()
    other = AlertRule.objects.get(name="memory_percent")
    AlertSilence.objects.create(rule=other, until=minutes(60), comment="another rule")
    AlertSilence.objects.create(subjects="db-*", until=minutes(60), comment="another subject")
    cpu(95, 0, 6)

    actions.evaluate(minutes(6), make_settings(NOTIFIERS=(EMAIL,)))

    assert len(mail.outbox) == 1


def test_each_severity_has_its_own_notifiers(settings, caplog):
    settings.ADMINS = [("Ann", "ann@example.com")]
    cpu(95, 0, 6)
    for minute in range(6):
        gauge("system.disk_percent", 99, minutes(minute))
    caplog.set_level("INFO", "paiid_perf.alerts")

    actions.evaluate(minutes(6), make_settings(NOTIFIERS={"critical": (EMAIL,), "*": (LOG,)}))

    assert [message.subject.split()[2] for message in mail.outbox] == ["critical:"]
    assert [r.message.split(":")[0] for r in caplog.records if r.name == "paiid_perf.alerts"] == [
        "[open] warning"
    ]


@pytest.fixture(autouse=True)
def without_a_broker(monkeypatch):
    """Whoever runs the tests may have one, and nobody who works for it."""
    monkeypatch.setattr(current_app.conf, "broker_url", None)


@pytest.fixture
def hook():
    """A real HTTP server that answers 500 to the first request and keeps all it was sent."""
    kept = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.append((body, self.headers["X-Perf-Signature"]))
            self.send_response(500 if len(kept) == 1 else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", kept
        server.shutdown()


@pytest.fixture
def post_office():
    """A real SMTP server, as far as one mail needs it; yields its port and the mails."""
    mails = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            self.say("220 here")
            while line := self.rfile.readline().strip().upper():
                if line == b"DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mails.append(message_from_bytes(b"".join(lines)))
                self.say("221 bye" if line == b"QUIT" else "250 well")

        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1], mails
        server.shutdown()


def test_a_mail_goes_through_a_mail_server(post_office, settings):
    port, mails = post_office
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.ADMINS = [("Ann", "ann@example.com")]
    cpu(95, 0, 6)

    actions.evaluate(minutes(6), make_settings(NOTIFIERS=(EMAIL,)))

    (message,) = mails
    assert message["To"] == "ann@example.com"
    assert "".join(message["Subject"].splitlines()).endswith("[open] warning: " + Alert.objects.get().message)
    assert "Open since 2026-01-01 12:06 UTC" in message.get_payload()


def test_without_a_broker_one_that_fails_stops_no_other(hook, settings, caplog):
    url, kept = hook
    settings.ADMINS = [("Ann", "ann@example.com")]
    settings.PAIID_PERF = {"SLACK_URL": url, "NOTIFIERS": (SLACK, "no.such.notifier", EMAIL)}
    cpu(95, 0, 6)

    actions.evaluate(minutes(6), get_settings())

    assert [message.subject.split()[1] for message in mail.outbox] == ["[open]"]
    assert "the notifier no.such.notifier failed" in caplog.text
    assert f"the notifier {SLACK} failed" in caplog.text
    assert json.loads(kept[0][0]) == {"text": f"[open] warning: {Alert.objects.get().message}"}


def test_with_a_broker_each_notifier_is_a_task_that_tries_again(hook, settings, monkeypatch):
    url, kept = hook
    settings.PAIID_PERF = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": "shh", "NOTIFIERS": (WEBHOOK, LOG)}
    sent = []
    monkeypatch.setattr(current_app.conf, "broker_url", "memory://")
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: sent.append((name, args)))
    cpu(95, 0, 6)

    actions.evaluate(minutes(6), get_settings())

    alert = Alert.objects.get()
    assert sent == [("paiid_perf.notify", [path, alert.pk, "open"]) for path in (WEBHOOK, LOG)]
    assert tasks.notify.apply(args=sent[0][1]).successful()
    body, signed = kept[-1]
    assert len(kept) == 2
    assert json.loads(body)["message"] == alert.message
    assert signed == notifiers.signature(body, "shh")


def test_each_try_waits_twice_as_long_and_at_most_an_hour(settings, monkeypatch):
    settings.PAIID_PERF = {"WEBHOOK_URL": "http://127.0.0.1:9/", "NOTIFIERS": (WEBHOOK,)}
    rule = AlertRule.objects.create(name="r", metric="m", comparison="above", threshold=1)
    alert = Alert.objects.create(rule=rule, severity="info", message="x", opened_at=NOON, seen_at=NOON)
    waits = []

    def remember(exc, countdown, **_):
        waits.append(countdown)
        return Retry(exc=exc)

    monkeypatch.setattr(tasks.notify, "retry", remember)
    monkeypatch.setattr(celery_time.random, "randrange", lambda end: end - 1)  # as long as the jitter allows

    for tried in range(8):
        tasks.notify.apply(args=(WEBHOOK, alert.pk, "open"), retries=tried)

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert tasks.notify.max_retries == 6


def test_a_broker_that_is_away_keeps_nobody_from_being_told(settings, monkeypatch):
    settings.ADMINS = [("Ann", "ann@example.com")]

    def refuse(*args, **options):
        raise ConnectionRefusedError

    monkeypatch.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(current_app, "send_task", refuse)
    cpu(95, 0, 6)

    actions.evaluate(minutes(6), make_settings(NOTIFIERS=(EMAIL,)))

    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("notifier_paths", "status"), [((), "open"), ((LOG,), "resolved"), ({"critical": (LOG,)}, "open")]
)
def test_the_task_tells_no_old_news_and_nobody_who_is_not_in_the_settings(
    notifier_paths, status, settings, caplog
):
    settings.PAIID_PERF = {"NOTIFIERS": notifier_paths}
    caplog.set_level("INFO", "paiid_perf.alerts")
    rule = AlertRule.objects.create(name="r", metric="m", comparison="above", threshold=1)
    alert = Alert.objects.create(rule=rule, severity="info", message="x", opened_at=NOON, seen_at=NOON)

    tasks.notify(LOG, alert.pk, status)

    assert caplog.records == []


# --- anomalies ---------------------------------------------------------------------------------------------


def usual_week(now, value=30.0, name="system.cpu_percent"):
    """Three weeks of hours and the minutes of today and yesterday, at one value."""
    hours = [(now - timedelta(hours=n), 3600) for n in range(21 * 24, 0, -1)]
    near = [(now - timedelta(minutes=n), 60) for n in (*range(1620, 1260, -1), *range(360, 5, -1))]
    Metric.objects.bulk_create(
        Metric(name=name, subject="web-1", at=at, resolution=resolution, count=1, total=value)
        for at, resolution in (*hours, *near)
    )


def test_what_leaves_its_band_is_a_quiet_alert_that_shows_why():
    usual_week(NOON)
    cpu(55, -5, 0)

    actions.evaluate(NOON + timedelta(seconds=20), SETTINGS)

    alert = Alert.objects.get()
    assert (alert.rule.name, alert.subject, alert.severity) == ("anomaly", "cpu_percent web-1", "info")
    assert alert.message == "cpu_percent web-1 is 55 %, usually 20 to 40 at this time"
    assert alert.evidence["band"] == {"value": 55.0, "low": 20.0, "middle": 30.0, "high": 40.0}
    assert len(alert.evidence["points"]) == 360
    cpu(30, 0, 6)

    actions.evaluate(minutes(6), SETTINGS)

    assert Alert.objects.get().status == "resolved"


def test_what_is_usual_is_no_anomaly(django_assert_max_num_queries):
    usual_week(NOON)
    cpu(32, -5, 0)
    actions.evaluate(NOON, SETTINGS)

    with django_assert_max_num_queries(50):
        actions.evaluate(NOON, SETTINGS)

    assert not Alert.objects.exists()
    assert AlertRule.objects.get(name="anomaly").state == "ok"
