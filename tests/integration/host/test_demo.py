"""The demo's own steps, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from paiid_perf.contracts import ChangeHandler
from paiid_perf.models import Recommendation
from paiid_perf.testing import register_temporarily
from project.trading import demo, headline, loader, traffic
from project.trading.models import Order

pytestmark = pytest.mark.django_db(transaction=True)
NOW = timezone.now()


def nothing(*args):
    """A step that is not taken here."""


def handler(kind, revert):
    return ChangeHandler(kind, nothing, revert, nothing, nothing, nothing)


def kept(kind, key, hours_ago):
    return Recommendation.objects.create(
        area="database",
        kind=kind,
        key=key,
        fingerprint=key,
        title=key,
        why="",
        state=Recommendation.State.KEPT,
        payload={"key": key},
        created_at=NOW,
        confirmed_at=NOW,
        applied_at=NOW - timedelta(hours=hours_ago),
    )


@pytest.fixture
def reverted():
    """The keys of the changes that were reverted, in that order. Two kinds; the second cannot be undone."""
    keys = []
    with register_temporarily(
        handler("index_create", lambda payload, context: keys.append(payload["key"])),
        handler("retention", None),
    ):
        yield keys


def test_what_earlier_demos_changed_is_undone_newest_first_and_forgotten(reverted):
    kept("index_create", "older", hours_ago=2)
    kept("index_create", "newer", hours_ago=1)
    kept("retention", "deleted rows", hours_ago=3)

    assert demo._undo_earlier_changes() == 2
    assert reverted == ["newer", "older"]
    assert not Recommendation.objects.exists()


def test_a_change_that_stays_ends_the_demo_with_the_way_out(reverted):
    def fail(payload, context):
        raise psycopg.errors.LockNotAvailable("somebody is at it")

    kept("index_create", "stuck", hours_ago=1)
    with (
        register_temporarily(handler("index_create", fail)),
        pytest.raises(RuntimeError, match=r"stuck: somebody is at it.*--fresh"),
    ):
        demo._undo_earlier_changes()

    assert Recommendation.objects.exists()


def test_the_administrators_password_is_new_each_time():
    first, second = demo._administrator(), demo._administrator()
    user = get_user_model().objects.get(username=first.name)

    assert first.password != second.password
    assert user.check_password(second.password)
    assert user.is_superuser


def test_every_simulated_user_gets_a_session_that_signs_it_in(client):
    loader.load(0.01)
    size = loader.Size.of(0.01)
    sessions = demo._sessions(size)

    assert {request.user for request in traffic.plan(1, size, 500)} <= set(sessions)
    client.cookies["sessionid"] = sessions[loader.FIRST_USER + 3]
    assert client.get("/api/portfolios/3/").status_code == 200
    assert client.get("/api/portfolios/4/").status_code == 404


def test_the_hosts_queries_show_up_in_a_window():
    demo._count_statements()
    earlier = demo._counters()
    for _ in range(5):
        Order.objects.filter(status="open").count()

    found = headline.window(earlier, demo._counters())

    assert sum(part.calls for part in found) >= 5
    assert headline.mean_ms(found) > 0
