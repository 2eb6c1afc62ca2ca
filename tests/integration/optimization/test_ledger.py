"""The ledger on a real database: each change proposed once, applied once, measured, kept or reverted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from paiid_perf import tasks
from paiid_perf.contracts import ChangeContext, ChangeHandler, Measurement, Proposal, QueryMeasure, Verdict
from paiid_perf.exceptions import ActionFailed, ActionRefused, AlreadyRunning, InvalidTransition
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger
from paiid_perf.testing import FrozenClock, make_settings, register_temporarily

pytestmark = pytest.mark.django_db(transaction=True)
State = Recommendation.State


@dataclass
class Bench:
    """A change whose effect on one query's time is known, and what was done to it."""

    faster_to: float = 5.0
    method: str = "replay"
    fails_with: Exception | None = None
    applied: bool = False
    calls: list[str] = field(default_factory=list)

    def apply(self, payload, context):
        self.calls.append("apply")
        if self.fails_with:
            raise self.fails_with
        self.applied = True
        return {"bytes": 1}

    def revert(self, payload, context):
        self.calls.append("revert")
        self.applied = False

    def measure(self, payload, context):
        time = self.faster_to if self.applied else 10.0
        return Measurement(self.method, (QueryMeasure("q", "SELECT 1", 100, time),))

    def clean_up(self, payload, context):
        self.calls.append("clean_up")

    def handler(self, revertible=True):
        return ChangeHandler(
            "index_create",
            self.apply,
            self.revert if revertible else None,
            self.measure,
            judge,
            self.clean_up,
        )


def judge(before, after, settings):
    gain = 1 - after.queries[0].mean_ms / before.queries[0].mean_ms
    return Verdict(gain >= settings.MIN_GAIN, f"{gain:.0%}", gain)


@pytest.fixture
def bench():
    made = Bench()
    with register_temporarily(made.handler()):
        yield made


@pytest.fixture
def clock():
    return FrozenClock()


def proposal(key="t (a)", kind="index_create", **values):
    return Proposal("database", kind, key, f"Index {key}", "because", **values)


def settle(settings, clock, **terms):
    tally = ledger.Tally()
    ledger.settle(
        "database",
        ledger.Terms(settings, **terms),
        clock,
        tally=tally,
        progress=lambda fraction, step: None,
        out_of_time=lambda: False,
    )
    return tally.to_json()


AUTO = make_settings(POLICY={"*": "auto"}, VERIFY="replay")


def propose(clock, settings=AUTO, **values):
    (pk,) = ledger.propose([proposal(**values)], now=clock(), settings=settings)
    return Recommendation.objects.get(pk=pk)


def test_a_change_that_pays_is_kept_with_the_numbers(bench, clock):
    rec = propose(clock)

    counts = settle(AUTO, clock)

    rec.refresh_from_db()
    assert (rec.state, rec.measured_gain) == (State.KEPT, 0.5)
    assert counts == {"applied": 1, "kept": 1, "reverted": 0, "failed": 0, "verifying": 0}
    assert [entry["state"] for entry in rec.history] == ["proposed", "applying", "verifying", "kept"]
    assert rec.before["queries"][0]["mean_ms"] == 10.0
    assert rec.after["queries"][0]["mean_ms"] == 5.0


def test_a_change_that_does_not_pay_is_undone_and_rests(bench, clock):
    bench.faster_to = 9.8
    rec = propose(clock)

    settle(AUTO, clock)

    rec.refresh_from_db()
    assert rec.state == State.REVERTED
    assert bench.calls == ["apply", "revert"]
    assert ledger.propose([proposal()], now=clock(), settings=AUTO) == []
    clock.advance(AUTO.REVERTED_COOL_OFF)
    assert ledger.propose([proposal()], now=clock(), settings=AUTO) != []


@pytest.mark.parametrize(
    ("policy", "terms", "applied"),
    [
        ("report", {}, 0),
        ("approve", {}, 0),
        ("auto", {}, 1),
        ("auto", {"dry_run": True}, 0),
        ("auto", {"quick": True}, 0),
        ("report", {"apply": True}, 1),
    ],
)
def test_policy_decides_what_a_run_applies(bench, clock, policy, terms, applied):
    settings = make_settings(POLICY={"*": policy}, VERIFY="replay")
    propose(clock, settings)

    assert settle(settings, clock, **terms)["applied"] == applied


def test_policy_off_proposes_nothing(clock):
    settings = make_settings(POLICY={"index_create": "off"})

    assert ledger.propose([proposal()], now=clock(), settings=settings) == []


def test_what_a_person_approved_is_applied_under_report(bench, clock):
    settings = make_settings(VERIFY="replay")
    rec = propose(clock, settings)
    ledger.approve(rec, None, clock())

    assert settle(settings, clock)["kept"] == 1


def test_the_kill_switch_stops_automatic_changes(bench, clock):
    settings = make_settings(POLICY={"*": "auto"}, KILL_SWITCH=True)
    propose(clock, settings)

    assert settle(settings, clock)["applied"] == 0


def test_the_same_change_is_one_row_and_its_evidence_is_refreshed(clock):
    first = propose(clock, expected_gain=0.2)
    clock.advance(timedelta(hours=1))
    second = propose(clock, expected_gain=0.4)

    assert first.pk == second.pk
    assert second.expected_gain == 0.4
    assert second.confirmed_at == clock()


def test_with_a_window_a_change_waits_for_its_judgement(bench, clock):
    bench.method = "window"
    settings = make_settings(POLICY={"*": "auto"}, VERIFY="window", VERIFY_WINDOW=timedelta(minutes=30))
    rec = propose(clock, settings)

    assert settle(settings, clock)["verifying"] == 1
    clock.advance(timedelta(minutes=29))
    assert settle(settings, clock)["kept"] == 0
    clock.advance(timedelta(minutes=1))
    assert settle(settings, clock)["kept"] == 1
    rec.refresh_from_db()
    assert rec.state == State.KEPT


def test_a_change_that_fails_is_cleaned_up_and_says_why(bench, clock):
    bench.fails_with = RuntimeError("no space left")
    rec = propose(clock)

    assert settle(AUTO, clock)["failed"] == 1

    rec.refresh_from_db()
    assert rec.state == State.FAILED
    assert "no space left" in rec.outcome
    assert bench.calls == ["apply", "clean_up"]


def test_a_change_whose_ground_is_gone_is_closed_and_has_not_failed(bench, clock):
    bench.fails_with = ActionRefused("the index that should serve in its place is not there")
    rec = propose(clock)

    assert not any(settle(AUTO, clock).values())

    rec.refresh_from_db()
    assert (rec.state, rec.outcome) == (State.SUPERSEDED, str(bench.fails_with))
    bench.fails_with = None
    assert propose(clock).pk != rec.pk


def test_one_failure_leaves_the_others_to_go_on(bench, clock):
    propose(clock, key="bad", expected_gain=0.9)
    propose(clock, key="good", expected_gain=0.1)
    bench.fails_with = RuntimeError("once")
    original = bench.apply

    def once(payload, context):
        try:
            return original(payload, context)
        finally:
            bench.fails_with = None

    bench.apply = once
    with register_temporarily(bench.handler()):
        assert settle(AUTO, clock) == {"applied": 1, "kept": 1, "reverted": 0, "failed": 1, "verifying": 0}


def test_what_a_killed_process_left_is_cleaned_up_and_waits_again(bench, clock):
    rec = propose(clock)
    ledger.approve(rec, None, clock())
    Recommendation.objects.filter(pk=rec.pk).update(state=State.APPLYING)

    assert ledger.recover(ChangeContext(AUTO, clock())) == 1

    rec.refresh_from_db()
    assert rec.state == State.APPROVED
    assert bench.calls == ["clean_up"]
    assert settle(AUTO, clock)["kept"] == 1


def test_what_cannot_be_cleaned_up_now_is_left_for_the_next_run(bench, clock):
    rec, other = propose(clock, key="held"), propose(clock, key="free")
    Recommendation.objects.update(state=State.APPLYING)
    original = bench.clean_up

    def held_once(payload, context):
        if not bench.calls:
            bench.calls.append("held")
            raise ActionFailed("somebody holds the table")
        original(payload, context)

    bench.clean_up = held_once
    context = ChangeContext(AUTO, clock())
    with register_temporarily(bench.handler()):
        assert [ledger.recover(context), ledger.recover(context), ledger.recover(context)] == [1, 1, 0]

    for each in (rec, other):
        each.refresh_from_db()
        assert (each.state, each.outcome) == (State.PROPOSED, "")


def test_two_people_who_press_apply_apply_once(bench, clock):
    rec = propose(clock)
    stale = Recommendation.objects.get(pk=rec.pk)
    ledger.carry_out(rec, ChangeContext(AUTO, clock()), ledger.Tally())

    with pytest.raises(InvalidTransition, match="somebody else"):
        ledger.carry_out(stale, ChangeContext(AUTO, clock()), ledger.Tally())

    assert bench.calls == ["apply"]


@pytest.fixture
def busy(monkeypatch):
    """A lock that others hold the first two times."""
    left = [AlreadyRunning(7, "now"), AlreadyRunning(7, "now")]
    alone = ledger._alone

    def taken(settings, now):
        if left:
            raise left.pop()
        return alone(settings, now)

    monkeypatch.setattr(ledger, "_alone", taken)
    return left


def test_a_worker_waits_for_its_turn_to_do_what_a_person_pressed(bench, clock, busy):
    rec = propose(clock)
    settle(AUTO, clock)

    tasks.revert.apply(args=(rec.pk,))

    rec.refresh_from_db()
    assert (rec.state, bench.applied, busy) == (State.REVERTED, False, [])


def test_a_worker_that_comes_second_leaves_it_as_the_first_did(bench, clock):
    rec = propose(clock)
    settle(AUTO, clock)

    outcomes = [tasks.revert.apply(args=(rec.pk,)) for _person in range(2)]

    assert [outcome.state for outcome in outcomes] == ["SUCCESS", "SUCCESS"]
    assert bench.calls.count("revert") == 1


def test_a_kept_change_can_be_taken_back_by_hand(bench, clock):
    rec = propose(clock)
    settle(AUTO, clock)
    rec.refresh_from_db()

    ledger.revert(rec, None, clock())

    assert (rec.state, bench.applied) == (State.REVERTED, False)


def test_what_has_no_undo_says_so(bench, clock):
    with register_temporarily(bench.handler(revertible=False)):
        rec = propose(clock)
        settle(AUTO, clock)
        rec.refresh_from_db()
        with pytest.raises(ActionRefused, match="cannot be undone"):
            ledger.revert(rec, None, clock())


def test_advice_has_nothing_to_apply(clock):
    rec = propose(clock, kind="advice")

    assert settle(AUTO, clock)["applied"] == 0
    with pytest.raises(ActionRefused, match="advice"):
        ledger.apply(rec, None, clock())


def test_a_dismissal_lasts_until_it_is_reopened(clock):
    rec = propose(clock)
    ledger.dismiss(rec, None, "we know better", clock())

    assert ledger.propose([proposal()], now=clock(), settings=AUTO) == []
    ledger.reopen(rec, None, clock())
    assert ledger.propose([proposal()], now=clock(), settings=AUTO) == [rec.pk]


def test_proposals_that_no_run_confirms_expire(clock):
    rec = propose(clock)
    clock.advance(AUTO.RECOMMENDATION_EXPIRES + timedelta(seconds=1))

    assert ledger.expire(clock(), AUTO) == 1
    rec.refresh_from_db()
    assert rec.state == State.EXPIRED


def test_advice_that_is_no_longer_found_is_closed_and_changes_stay(clock):
    advice, change = propose(clock, kind="advice", key="a"), propose(clock, key="b")
    began = clock.advance(timedelta(hours=1))

    assert ledger.supersede_unconfirmed("database", began, clock()) == 1
    advice.refresh_from_db()
    change.refresh_from_db()
    assert (advice.state, change.state) == (State.SUPERSEDED, State.PROPOSED)


def test_a_change_applied_by_hand_fails_loudly(bench, clock):
    bench.fails_with = RuntimeError("no rights")
    rec = propose(clock)

    with pytest.raises(ActionFailed, match="no rights"):
        ledger.apply(rec, None, clock())
