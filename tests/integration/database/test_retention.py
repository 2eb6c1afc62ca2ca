"""Old rows deleted on a real server: in batches, by every way, resumable, within a budget."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from paiid_perf.database import retention_changes
from paiid_perf.database.actions import retention as actions
from paiid_perf.database.facts import retention as facts
from paiid_perf.database.rules.retention import cutoff
from paiid_perf.database.types import RetentionRule
from paiid_perf.exceptions import ActionFailed, ConfigurationError
from paiid_perf.models import LoginFailure, OptimizationRun, PhaseRun, SecurityEvent

NOW = timezone.now()
EVENTS = RetentionRule("paiid_perf.SecurityEvent", timedelta(days=90), "at", batch_size=100)
FAILURES = RetentionRule("paiid_perf.LoginFailure", timedelta(days=90), "window_ends_at", batch_size=100)
RUNS = RetentionRule("paiid_perf.OptimizationRun", timedelta(days=90), "created_at", batch_size=60)
RULES = {"index": EVENTS, "blocks": FAILURES, "orm": RUNS}

pytestmark = pytest.mark.django_db(transaction=True)


def fill(old: int = 450, young: int = 50) -> None:
    """Rows of each kind, alternately young and old, so that neither lies at one end of the heap."""
    days = sorted([100 + n for n in range(old)] + [n % 90 for n in range(young)], key=lambda n: n % 7)
    moments = [NOW - timedelta(days=n) for n in days]
    SecurityEvent.objects.bulk_create(SecurityEvent(at=at, kind="x", severity="low") for at in moments)
    LoginFailure.objects.bulk_create(
        LoginFailure(key=str(n), window_ends_at=at) for n, at in enumerate(moments)
    )
    runs = OptimizationRun.objects.bulk_create(OptimizationRun(kind="quick", created_at=at) for at in moments)
    PhaseRun.objects.bulk_create(PhaseRun(run=run, name="database", position=0) for run in runs)


@pytest.fixture
def filled() -> None:
    fill()
    with connection.cursor() as cursor:
        # Without the index that the model has, LoginFailure is the table that has none.
        cursor.execute("DROP INDEX IF EXISTS perf_login_window")
        cursor.execute("ANALYZE paiid_perf_loginfailure")
        yield_index = "CREATE INDEX perf_login_window ON paiid_perf_loginfailure (window_ends_at)"
    yield
    with connection.cursor() as cursor:
        cursor.execute(yield_index)


def rows_of(rule: RetentionRule) -> tuple[int, int]:
    """(rows that are due, rows that stay)"""
    goal = facts.target(rule, "default")
    due = goal.old(cutoff(rule, NOW)).count()
    return due, goal.model._base_manager.count() - due


def apply(rule: RetentionRule, context: Any) -> dict[str, Any]:
    return dict(retention_changes.HANDLER.apply(retention_changes.payload(rule), context))


@pytest.mark.parametrize("method", RULES)
def test_what_is_old_goes_and_the_rest_stays(filled: None, change: Any, method: str) -> None:
    rule = RULES[method]

    result = apply(rule, change(NOW, RETENTION_TIME=timedelta(seconds=60)))

    assert (result["method"], result["deleted"], result["stopped"]) == (method, 450, "")
    assert result["batches"] >= 4
    assert result["vacuum"] == "done"
    assert rows_of(rule) == (0, 50)


def test_what_refers_to_the_rows_goes_with_them(filled: None, change: Any) -> None:
    apply(RUNS, change(NOW))

    assert PhaseRun.objects.count() == 50


@pytest.mark.parametrize("method", RULES)
def test_the_budget_of_rows_holds_and_the_next_run_goes_on(filled: None, change: Any, method: str) -> None:
    rule = RULES[method]
    context = change(NOW, RETENTION_MAX_ROWS=120)

    first = apply(rule, context)
    assert 120 <= first["deleted"] < 450
    assert "RETENTION_MAX_ROWS" in first["stopped"]

    while apply(rule, context)["deleted"]:
        pass
    assert rows_of(rule) == (0, 50)


def test_the_budget_of_time_holds(filled: None, session: Any) -> None:
    moments = iter(range(0, 10_000, 4))
    slept: list[float] = []
    clock = actions.Clock(now=lambda: float(next(moments)), sleep=slept.append)
    goal, before = facts.target(EVENTS, "default"), cutoff(EVENTS, NOW)
    budget = actions.Budget(10**6, 10.0, timedelta(seconds=5))

    report = actions.delete(session, goal, before, method="index", batch=50, budget=budget, clock=clock)

    assert "RETENTION_TIME" in report.stopped
    assert 0 < report.rows < 450
    assert len(slept) == report.batches - 1
    assert all(pause > 0 for pause in slept)


def test_killed_between_two_batches_it_has_deleted_whole_batches(filled: None, session: Any) -> None:
    class Killed(BaseException):
        pass

    def die(rows: int) -> None:
        if rows >= 200:
            raise Killed

    goal, before = facts.target(EVENTS, "default"), cutoff(EVENTS, NOW)
    budget = actions.Budget(10**6, 60.0, timedelta(seconds=5))
    ways: dict[str, Any] = {"method": "index", "batch": 100, "budget": budget}

    with pytest.raises(Killed):
        actions.delete(session, goal, before, progress=die, **ways)
    assert rows_of(EVENTS) == (250, 50)

    assert actions.delete(session, goal, before, **ways).rows == 250
    assert rows_of(EVENTS) == (0, 50)


@pytest.mark.parametrize("method", ["index", "blocks"])
def test_rows_that_somebody_holds_are_left_for_next_time(
    filled: None, change: Any, another: Any, method: str
) -> None:
    rule = RULES[method]
    goal = facts.target(rule, "default")
    oldest = goal.old(cutoff(rule, NOW)).order_by(rule.field).first()
    holder = another()
    holder.execute("BEGIN")
    holder.execute(f"SELECT 1 FROM public.{goal.table} WHERE id = {oldest.pk} FOR UPDATE")

    assert apply(rule, change(NOW))["deleted"] == 449

    holder.execute("ROLLBACK")
    assert apply(rule, change(NOW))["deleted"] == 1


def test_a_batch_that_runs_into_the_time_out_is_halved_until_it_fits(filled: None, session: Any) -> None:
    goal, before = facts.target(EVENTS, "default"), cutoff(EVENTS, NOW)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION drag() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER drag BEFORE DELETE ON paiid_perf_securityevent FOR EACH ROW EXECUTE FUNCTION drag()"
        )
    try:
        budget = actions.Budget(10**6, 60.0, timedelta(milliseconds=400))
        report = actions.delete(session, goal, before, method="index", batch=450, budget=budget)
        assert report.timeouts >= 1
        assert rows_of(EVENTS) == (0, 50)

        old = [NOW - timedelta(days=100)] * 450
        SecurityEvent.objects.bulk_create(SecurityEvent(at=at, kind="x", severity="low") for at in old)
        tight = actions.Budget(10**6, 60.0, timedelta(milliseconds=20))
        with pytest.raises(ActionFailed, match="STATEMENT_TIMEOUT"):
            actions.delete(session, goal, before, method="index", batch=400, budget=tight)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION drag CASCADE")


def test_partitions_are_gone_through_one_by_one(plant: Any, session: Any, monkeypatch: Any) -> None:
    """A ctid means something within one heap only: the same one in another partition must survive."""
    plant(
        "CREATE TABLE log (id int, at timestamptz) PARTITION BY RANGE (id)",
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (1000) TO (2000)",
        "INSERT INTO log SELECT i, now() - interval '200 days' FROM generate_series(0, 299) i",
        "INSERT INTO log SELECT i, now() FROM generate_series(1000, 1299) i",
        "ANALYZE log",
    )
    monkeypatch.setattr(SecurityEvent._meta, "db_table", 'planted"."log')
    goal, before = facts.target(EVENTS, "default"), cutoff(EVENTS, NOW)
    budget = actions.Budget(10**6, 60.0, timedelta(seconds=5))

    assert [heap["name"] for heap in facts.heaps(session, goal)] == ["log_1", "log_2"]
    report = actions.delete(session, goal, before, method="blocks", batch=100, budget=budget)

    assert report.rows == 300
    assert plant("SELECT count(*), min(id) FROM log") == [(300, 1000)]


@pytest.fixture
def months(plant: Any) -> Any:
    """The events by months: two partitions wholly old, one that the cut-off lies in, one young."""
    spans = (("a", 300, 250), ("b", 250, 200), ("c", 200, 30), ("d", 30, -30))
    plant(
        "ALTER TABLE paiid_perf_securityevent RENAME TO events_aside",
        "CREATE TABLE public.paiid_perf_securityevent (LIKE events_aside INCLUDING DEFAULTS) PARTITION BY RANGE (at)",
        *(
            f"CREATE TABLE public.log_{name} PARTITION OF paiid_perf_securityevent FOR VALUES "
            f"FROM ('{NOW - timedelta(days=begin):%Y-%m-%d}') TO ('{NOW - timedelta(days=end):%Y-%m-%d}')"
            for name, begin, end in spans
        ),
        *(
            "INSERT INTO paiid_perf_securityevent (id, at, kind, severity, path, field, sample, action, count) "
            f"SELECT i, now() - interval '{days} days', 'x', 'low', '', '', '', '', 1 FROM generate_series(1, 100) i"
            for days in (270, 220, 150, 60, 1)
        ),
        "ANALYZE paiid_perf_securityevent",
    )
    yield plant
    plant(
        "DROP TABLE public.paiid_perf_securityevent CASCADE",
        "ALTER TABLE events_aside RENAME TO paiid_perf_securityevent",
    )


def attached(plant: Any) -> list[str]:
    rows = plant("SELECT relname FROM pg_class WHERE relname LIKE 'log\\__' AND relkind = 'r' ORDER BY 1")
    return [name for (name,) in rows]


def test_partitions_that_are_old_as_a_whole_are_dropped(months: Any, change: Any, session: Any) -> None:
    fact = facts.survey(session, facts.target(EVENTS, "default"), cutoff(EVENTS, NOW))
    assert list(fact.partitions) == ['"public"."log_a"', '"public"."log_b"']
    assert fact.partitioned

    result = apply(EVENTS, change(NOW, RETENTION_TIME=timedelta(seconds=60)))

    assert result["partitions_dropped"] == ["log_a", "log_b"]
    assert result["rows_in_partitions"] == 200
    assert result["deleted"] == 100
    assert attached(months) == ["log_c", "log_d"]
    assert months("SELECT count(*) FROM paiid_perf_securityevent") == [(200,)]


def test_with_a_default_partition_they_go_all_the_same(months: Any, change: Any) -> None:
    months("CREATE TABLE public.log_x PARTITION OF paiid_perf_securityevent DEFAULT")

    assert apply(EVENTS, change(NOW))["partitions_dropped"] == ["log_a", "log_b"]
    assert attached(months) == ["log_c", "log_d", "log_x"]


def test_a_partition_that_a_killed_run_detached_goes_with_the_next(months: Any, change: Any) -> None:
    mark = facts.mark(facts.target(EVENTS, "default")).replace("'", "''")
    months(
        f"COMMENT ON TABLE log_a IS '{mark}'", "ALTER TABLE paiid_perf_securityevent DETACH PARTITION log_a"
    )

    assert sorted(apply(EVENTS, change(NOW))["partitions_dropped"]) == ["log_a", "log_b"]
    assert attached(months) == ["log_c", "log_d"]


def test_a_partition_that_somebody_holds_is_left_for_the_next_run(
    months: Any, change: Any, another: Any
) -> None:
    holder = another()
    holder.autocommit = False
    holder.execute("SELECT count(*) FROM log_a")

    result = apply(EVENTS, change(NOW, LOCK_TIMEOUT=timedelta(milliseconds=100)))

    assert "lock timeout" in result["partitions_refused"]
    # The rows of the one that is half detached are out of sight already.
    assert result["deleted"] >= 200
    holder.rollback()
    assert sorted(apply(EVENTS, change(NOW))["partitions_dropped"]) == ["log_a", "log_b"]


# --- what is said before anything is done ---------------------------------------------------------------


def test_the_survey_counts_and_names_the_way(filled: None, session: Any) -> None:
    goal = facts.target(EVENTS, "default")

    fact = facts.survey(session, goal, cutoff(EVENTS, NOW))

    assert (fact.due, fact.capped, fact.index, fact.method) == (450, False, "perf_event_at", "index")
    assert fact.oldest == NOW - timedelta(days=549)
    assert rows_of(EVENTS) == (450, 50)
    held = session.rows("SELECT pg_total_relation_size('paiid_perf_securityevent') AS n")[0]["n"]
    assert fact.bytes is None if not fact.total else 0 < fact.bytes <= held


def test_measuring_and_judging_around_a_deletion(filled: None, change: Any) -> None:
    payload, context = retention_changes.payload(EVENTS), change(NOW, RETENTION_MAX_ROWS=100)
    before = retention_changes.HANDLER.measure(payload, context)
    retention_changes.HANDLER.apply(payload, context)
    after = retention_changes.HANDLER.measure(payload, context)

    verdict = retention_changes.HANDLER.judge(before, after, context.settings)

    assert before.method == "none"
    assert verdict.keep is True
    assert verdict.reason == "450 rows were due, 350 are left for the next run"


def test_counting_that_takes_too_long_is_given_up(filled: None, session: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(session, "_statement", timedelta(microseconds=1))
    monkeypatch.setattr(facts, "_index", lambda *_: "perf_event_at")
    monkeypatch.setattr(facts, "_whole", lambda *_: (0, 0))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO paiid_perf_securityevent (at, kind, severity, path, field, sample, action, count) "
            "SELECT now() - interval '1 year', 'x', 'low', '', '', '', '', 1 FROM generate_series(1, 50000)"
        )

    fact = facts.survey(session, facts.target(EVENTS, "default"), cutoff(EVENTS, NOW))

    assert (fact.due, fact.capped) == (facts.COUNT_LIMIT, True)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (RetentionRule("paiid_perf.Nothing", timedelta(days=1), "at"), "Nothing"),
        (RetentionRule("nonsense", timedelta(days=1), "at"), "nonsense"),
        (RetentionRule("paiid_perf.SecurityEvent", timedelta(days=1), "when"), "when"),
        (RetentionRule("paiid_perf.SecurityEvent", timedelta(days=1), "kind"), "DateField"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_what_is_wrong(rule: RetentionRule, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        facts.target(rule, "default")
