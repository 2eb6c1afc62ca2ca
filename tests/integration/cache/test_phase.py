"""The cache phase, its facts and its changes on a real Valkey; what is left of it on locmem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from paiid_perf import cache
from paiid_perf.cache import changes, facts, memory, rules, warming
from paiid_perf.cache.actions import set_config
from paiid_perf.cache.keys import storage_key
from paiid_perf.cache.phase import PHASE
from paiid_perf.cache.recorders import RECORDERS
from paiid_perf.cache.types import CacheStrategy, CacheWarmer
from paiid_perf.conf import Settings, get_settings
from paiid_perf.contracts import ADVICE, ChangeContext, Check, PhaseResult, Proposal
from paiid_perf.exceptions import ActionFailed, ActionRefused
from paiid_perf.invalidation import bump
from paiid_perf.models import Metric
from paiid_perf.optimization import runner, upkeep
from paiid_perf.registry import registry
from paiid_perf.stores import redis_gate

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN = CacheStrategy("plain", ttl=timedelta(minutes=5), early=0, jitter=0)


@dataclass
class Context:
    """A PhaseContext that remembers."""

    settings: Settings = field(default_factory=get_settings)
    now: datetime = NOW
    quick: bool = False
    dry_run: bool = False
    proposed: list[Proposal] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    raised: str = ""

    def policy(self, kind: str) -> str:
        return self.raised or self.settings.policy(kind)

    def progress(self, fraction: float, step: str) -> None:
        self.steps.append(fraction)

    def propose(self, proposals: Iterable[Proposal]) -> Sequence[int]:
        self.proposed.extend(proposals)
        return range(len(self.proposed))

    def settle(self, area: str) -> dict[str, int]:
        return {}

    def out_of_time(self) -> bool:
        return False


def run(**options: Any) -> tuple[PhaseResult, Context]:
    context = Context(**options)
    return PHASE.run(context), context  # type: ignore[arg-type]


def checks(result: PhaseResult) -> dict[str, Check]:
    return {check.name: check for check in result.checks}


@pytest.fixture
def server(redis_cache: Any) -> Iterator[Any]:
    """The raw client; settings that a test changes are set back."""
    names = ("maxmemory", "maxmemory-policy")
    before = {name: redis_cache.config_get(name)[name] for name in names}
    yield redis_cache
    for name, value in before.items():
        redis_cache.config_set(name, value)


@pytest.fixture
def limited_user(server: Any, settings: Any) -> Iterator[Any]:
    """The cache through an ACL user like that of a managed service: no CONFIG, no ACL."""
    server.execute_command(
        "ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config", "-acl"
    )
    location = settings.CACHES["default"]["LOCATION"].replace("redis://", "redis://managed:secret@")
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}}
    yield server
    redis_gate.forget()
    server.execute_command("ACL", "DELUSER", "managed")


# --- the phase -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_on_redis_everything_is_read(server: Any) -> None:
    cache.set("k", {"a": 1}, strategy="standard")
    result, context = run()
    assert result.status == "succeeded"
    assert result.details["server"]["used_bytes"] > 0
    assert {group["group"] for group in result.details["memory"]["groups"]} >= {"standard"}
    assert {"dataset", "server"} <= {part["name"] for part in result.details["footprint"]}
    assert checks(result)["hit_ratio"].value is None
    assert 0 < checks(result)["memory"].value < 100  # type: ignore[operator]
    assert context.steps == sorted(context.steps)


@pytest.mark.django_db
def test_on_locmem_the_rest_works(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    result, context = run()
    assert result.status == "succeeded"
    assert result.details["server"] is None
    assert checks(result)["shared"].value == 0
    assert [proposal.kind for proposal in context.proposed] == [ADVICE]


@pytest.mark.django_db
def test_a_dead_redis_is_said_not_raised(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    result, _ = run()
    assert result.status == "succeeded"
    assert "does not answer" in result.summary
    assert checks(result)["memory"].value is None


@pytest.mark.django_db
def test_hit_ratio_from_the_roll_ups(server: Any) -> None:
    for name, count in (("cache.hits", 900), ("cache.misses", 100)):
        for at, share in ((NOW - timedelta(minutes=5), 1), (NOW - timedelta(hours=2), 50)):
            Metric.objects.create(
                name=name, subject="standard", resolution=60, at=at, count=count * share, total=count * share
            )
    result, _ = run()
    assert checks(result)["hit_ratio"].value == pytest.approx(90)
    assert result.details["strategies"] == [
        {"strategy": "standard", "hits": 900, "misses": 100, "ratio": 0.9}
    ]


# --- settings of the server ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_noeviction_is_changed_judged_and_set_back(server: Any) -> None:
    server.config_set("maxmemory-policy", "noeviction")
    _, context = run()
    (proposal,) = [p for p in context.proposed if p.kind == "cache_config"]
    (handler,) = changes.HANDLERS
    change = ChangeContext(get_settings(), NOW)
    before = handler.measure(proposal.payload, change)
    handler.apply(proposal.payload, change)
    assert server.config_get("maxmemory-policy") == {"maxmemory-policy": proposal.payload["value"]}
    verdict = handler.judge(before, handler.measure(proposal.payload, change), get_settings())
    assert verdict.keep
    assert not [p for p in run()[1].proposed if p.kind == "cache_config"]
    assert handler.revert
    handler.revert(proposal.payload, change)
    assert server.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert not handler.judge(before, handler.measure(proposal.payload, change), get_settings()).keep


@pytest.mark.django_db
def test_keys_of_others_are_not_to_be_evicted(server: Any) -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")
    server.rpush("celery", "a task")
    _, context = run()
    (proposal,) = [p for p in context.proposed if p.kind == "cache_config"]
    assert proposal.payload["value"] == "volatile-lfu"


@pytest.mark.django_db
def test_where_config_is_forbidden_the_way_round_is_said(limited_user: Any) -> None:
    limited_user.config_set("maxmemory-policy", "noeviction")
    result, context = run()
    assert result.details["config_writable"] is False
    (proposal,) = [p for p in context.proposed if p.key.startswith("maxmemory-policy")]
    assert proposal.kind == ADVICE
    assert "parameter group" in proposal.how
    with pytest.raises(ActionRefused, match="parameter group"):
        changes.HANDLERS[0].apply(proposal.payload, ChangeContext(get_settings(), NOW))
    assert cache.get_or_compute("k", lambda: 1, strategy=PLAIN) == 1


def test_only_some_settings_and_real_values(server: Any) -> None:
    with pytest.raises(ActionRefused, match="not one of"):
        set_config(server, "dir", "/tmp")
    with pytest.raises(ActionFailed, match="does not take"):
        set_config(server, "maxmemory-policy", "nonsense")


def test_a_change_needs_a_server(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with pytest.raises(ActionRefused, match="not on Redis"):
        changes.HANDLERS[0].apply({"setting": "maxmemory", "value": "1"}, ChangeContext(get_settings(), NOW))


# --- the sample ---------------------------------------------------------------------------------------------


def test_the_sample_is_bounded(server: Any) -> None:
    pipeline = server.pipeline(transaction=False)
    for number in range(2000):
        pipeline.set(f"other:{number}", "x")
    pipeline.execute()
    sample = list(facts.read_sample(server, 150))
    assert len(sample) == 150
    assert all(key.bytes > 0 and not key.has_ttl and key.group == rules.OTHER for key in sample)
    assert sum(map(len, facts.scan(server, 10, "nothing:*"))) == 0


def test_groups_of_keys(server: Any) -> None:
    cache.set("k", 1, strategy="hot", tags=["t"])
    names = {key.group: key for key in facts.read_sample(server)}
    assert names["hot"].has_ttl
    assert set(names) == {"hot", "perf:tag", "perf:tags"}


# --- memory -------------------------------------------------------------------------------------------------


def test_memory_report_measures_both(server: Any) -> None:
    rows = [{"symbol": f"SYM{n}", "price": n * 1.5, "name": "a long enough name"} for n in range(100)]
    for number in range(20):
        cache.set(f"rows{number}", rows, strategy="long")
    report = memory.memory_report()
    assert report["keys"] == 20
    assert report["measured"] is True
    assert report["ours_bytes"] < report["pickle_bytes"] * 0.5
    (first,) = [server.memory_usage(storage_key("long", "rows0"))]
    assert report["ours_bytes"] == pytest.approx(20 * first, rel=0.1)
    assert report["by_strategy"]["long"]["keys"] == 20
    assert not list(server.scan_iter("perf:scratch:*"))


def test_memory_report_reads_other_rooms(server: Any) -> None:
    server.set("perf:text:x", b"12345")
    server.hset("perf:hash:x", "d", b"12345")
    server.set("perf:unknown:x", b"12345")
    rooms = {
        "text": memory.Room(lambda stored: {"body": stored}),
        "hash": memory.Room(lambda stored: {"body": stored}, field="d"),
    }
    report = memory.memory_report(rooms)
    assert report["keys"] == 2
    assert set(report["by_strategy"]) == {"text", "hash"}
    assert report["by_strategy"]["hash"]["ours_bytes"] == server.memory_usage("perf:hash:x")


def test_memory_report_where_measuring_is_forbidden(limited_user: Any) -> None:
    limited_user.execute_command("ACL", "SETUSER", "managed", "-memory")
    cache.set("k", ["x"] * 100, strategy="long")
    report = memory.memory_report()
    assert report["measured"] is False
    assert 0 < report["ours_bytes"] < report["pickle_bytes"]


def test_memory_report_without_redis(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert memory.memory_report()["keys"] == 0


# --- gauges ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_recorders(server: Any) -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    Metric.objects.create(name="cache.hits", subject="x", resolution=60, at=now, count=3, total=3)
    Metric.objects.create(name="cache.misses", subject="x", resolution=60, at=now, count=1, total=1)
    gauges = {name: dict(read()) for name, read in RECORDERS}
    assert gauges["cache.memory_bytes"]["default"] > 100_000
    assert gauges["cache.hit_ratio"] == {"default": 0.75}
    assert set(gauges) == {
        "cache.memory_bytes",
        "cache.memory_percent",
        "cache.evicted_keys",
        "cache.fragmentation",
        "cache.slow_commands",
        "cache.node_hit_ratio",
        "cache.hit_ratio",
    }
    assert gauges["cache.fragmentation"]["default"] > 0
    assert gauges["cache.slow_commands"]["default"] >= 0


# --- warming --------------------------------------------------------------------------------------------------


class Warmed:
    """A warmer of ``n`` keys that counts what is computed."""

    def __init__(self, n: int = 5, name: str = "plain", **options: Any) -> None:
        self.computed: list[int] = []
        self.n = n
        self.warmer = CacheWarmer(name, warm=self.pairs, strategy="plain", **options)

    def pairs(self) -> Iterator[tuple[Any, ...]]:
        for number in range(self.n):
            yield f"k{number}", lambda number=number: self.compute(number), ["t"]

    def compute(self, number: int) -> int:
        self.computed.append(number)
        return number


@pytest.fixture
def plain_registered() -> Iterator[None]:
    with registry.temporarily(PLAIN):
        yield


def warm_one(warmed: Warmed, **options: Any) -> Any:
    with registry.temporarily(warmed.warmer):
        (report,) = warming.warm(warmed.warmer.name, **options)
    return report


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_warm_computes_what_is_cold_and_skips_what_is_fresh() -> None:
    warmed = Warmed()
    cache.set("k1", 1, strategy=PLAIN, tags=["t"])
    report = warm_one(warmed)
    assert (report.warmed, report.fresh, report.left, report.failed) == (4, 1, 0, 0)
    assert cache.get_or_compute("k3", lambda: -1, strategy=PLAIN, tags=["t"]) == 3
    assert warm_one(warmed).fresh == 5
    bump(["t"])
    assert warm_one(warmed).warmed == 5


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_warm_stops_at_the_budget() -> None:
    ticks = iter(range(1000))
    warmed = Warmed(10)
    budget = warming.Budget(3.5, clock=lambda: float(next(ticks)))
    report = warming.run_warmer(warmed.warmer, warming.current_store(), budget)
    assert report.warmed == len(warmed.computed) == 3
    assert report.left == 7


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_warm_stops_when_the_server_is_full() -> None:
    warmed = Warmed(10)
    room = iter([True, True, False])
    budget = warming.Budget(60, has_room=lambda: next(room))
    assert warming.run_warmer(warmed.warmer, warming.current_store(), budget).warmed == 2


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_warm_goes_on_after_an_error() -> None:
    warmed = Warmed(3)
    warmed.compute = lambda number: 1 // number  # type: ignore[method-assign,assignment]
    report = warm_one(warmed)
    assert (report.warmed, report.failed) == (2, 1)
    assert "ZeroDivisionError" in report.error


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_a_warmer_that_raises_is_reported() -> None:
    broken = CacheWarmer("broken", warm=lambda: 1 / 0, strategy="plain")
    lost = CacheWarmer("lost", warm=list, strategy="nowhere")
    with registry.temporarily(broken, lost):
        first, second = warming.warm("broken", "lost")
    assert "ZeroDivisionError" in first.error
    assert "no CacheStrategy is named 'nowhere'" in second.error


@pytest.mark.usefixtures("plain_registered")
def test_a_dead_redis_computes_nothing(settings: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    warmed = Warmed()
    report = warm_one(warmed)
    assert warmed.computed == []
    assert "cannot be cached now" in report.error


@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_one_process_warms_at_a_time() -> None:
    warmed = Warmed()
    store = warming.current_store()
    token = store.lock(warming._key("lock", "plain"), 10_000)
    assert token
    assert warm_one(warmed).error == "another process is warming it"
    store.unlock(warming._key("lock", "plain"), token)
    assert warm_one(warmed).warmed == 5


@pytest.mark.django_db
@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_due_once_in_its_interval() -> None:
    warmed = Warmed(every=timedelta(minutes=1))
    with registry.temporarily(warmed.warmer):
        due = {report.warmer for report in warming.warm_due()}
        assert "plain" in due
        assert warming.warm_due() == ()


@pytest.mark.django_db
@pytest.mark.usefixtures("any_cache", "plain_registered")
def test_other_workers_warm_at_the_same_time_or_else_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[str] = []
    monkeypatch.setattr(runner, "enqueue_warmer", lambda name: handed.append(name) or name != "alone")
    other, alone = Warmed(name="other"), Warmed(name="alone")
    with registry.temporarily(Warmed(n=0).warmer, other.warmer, alone.warmer):
        upkeep.warm()
        assert {"other", "alone"} <= set(handed)
        assert (other.computed, len(alone.computed)) == ([], 5)
        cache.delete(*(f"k{number}" for number in range(5)), strategy="plain")
        upkeep.warm_one("other")
    assert len(other.computed) == 5


@pytest.mark.django_db
@pytest.mark.usefixtures("plain_registered")
@pytest.mark.parametrize(
    ("policy", "dry_run", "warmed", "left"),
    [("auto", False, 5, 0), ("auto", True, 0, 5), ("report", False, 0, 5), ("off", False, 0, 0)],
)
def test_the_phase_warms_by_policy(
    server: Any, settings: Any, policy: str, dry_run: bool, warmed: int, left: int
) -> None:
    settings.PAIID_PERF = {"POLICY": {"cache_warm": policy}}
    mine = Warmed(name="mine")
    with registry.temporarily(mine.warmer):
        result, _ = run(dry_run=dry_run)
    (report,) = [r for r in result.details["warming"] if r["warmer"] == "mine"] or [{"warmed": 0, "left": 0}]
    assert (report["warmed"], report["left"]) == (warmed, left)
    assert len(mine.computed) == warmed


@pytest.mark.django_db
def test_a_person_at_the_keyboard_raises_the_policy(server: Any, settings: Any) -> None:
    settings.PAIID_PERF = {"POLICY": {"cache_warm": "report"}}
    mine = Warmed(name="mine")
    with registry.temporarily(PLAIN, mine.warmer):
        run(raised="auto")
    assert len(mine.computed) == 5
