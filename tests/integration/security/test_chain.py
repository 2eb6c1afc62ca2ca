"""The chain of events: whole as written, broken by whatever happens to a row, whole after retention."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.utils import timezone

from paiid_perf.conf import get_settings
from paiid_perf.models import SecurityChain, SecurityEvent
from paiid_perf.security import actions, chain
from paiid_perf.security.events import record_event
from paiid_perf.security.types import ChainState

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def write(*addresses, days_ago=0):
    at = NOW - timedelta(days=days_ago)
    chain.append([SecurityEvent(at=at, kind="x", severity="low", address=address) for address in addresses])


def rows():
    """Past the door that the model keeps shut, as somebody with the database's password is."""
    return SecurityEvent._base_manager.order_by("number")


def test_it_is_whole_over_several_flushes():
    for number in range(3):
        record_event("login_failed", "low", address=f"203.0.113.{number}")
        record_event("input_xss", "high", address="2001:db8::1", sample="<x='é' \\ 9>", action="report")
        actions.flush_events()
    assert list(rows().values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]
    assert chain.verify() == ChainState(6)
    assert chain.verify(last=2) == ChainState(2)


def test_nothing_written_is_no_break():
    assert chain.verify() == ChainState(0)


def test_an_emptied_chain_is_a_break():
    write("203.0.113.1")
    SecurityChain.objects.update(number=0, seal="", digest="")
    assert chain.verify() == ChainState(0, 0, "seal")


@pytest.mark.parametrize(
    ("harm", "state"),
    [
        (lambda: rows().filter(number=2).update(address="192.0.2.1"), ChainState(1, 2, "changed")),
        (lambda: rows().filter(number=3).update(count=7), ChainState(2, 3, "changed")),
        (lambda: rows().filter(number=3).update(digest="0" * 64), ChainState(2, 3, "changed")),
        (lambda: rows().filter(number=2).delete(), ChainState(1, 2, "missing")),
        (lambda: rows().filter(number=1).delete(), ChainState(0, 1, "missing")),
        (lambda: rows().filter(number=4).delete(), ChainState(3, 4, "missing")),
        (lambda: SecurityChain.objects.update(number=3), ChainState(0, 3, "seal")),
        (lambda: SecurityChain.objects.update(begins_after=2), ChainState(0, 4, "seal")),
        (lambda: SecurityChain.objects.all().delete(), ChainState(0, 1, "no_chain")),
    ],
)
def test_a_break_is_found_where_it_is(harm, state):
    write("203.0.113.1", "203.0.113.2")
    write("203.0.113.3", "203.0.113.4")
    harm()
    assert chain.verify() == state


def test_a_row_put_in_without_the_key_does_not_fit():
    write("203.0.113.1", "203.0.113.2")
    forged = SecurityEvent(at=NOW, kind="x", severity="low", number=3, digest="0" * 64)
    SecurityEvent.objects.bulk_create([forged])
    SecurityChain.objects.update(number=3, digest="0" * 64)
    assert chain.verify().why == "seal"


def test_a_new_secret_key_reads_what_the_old_one_sealed(settings):
    write("203.0.113.1")
    settings.SECRET_KEY, old = "another-key", settings.SECRET_KEY
    assert chain.verify().why == "seal"
    settings.SECRET_KEY_FALLBACKS = [old]
    write("203.0.113.2")
    assert chain.verify() == ChainState(2)


def test_retention_lets_go_of_the_beginning_and_of_nothing_else():
    write("203.0.113.1", "203.0.113.2", days_ago=100)
    write("203.0.113.3")
    write("203.0.113.4", days_ago=100)  # written late: it stands behind a row that is kept
    assert actions.prune(get_settings(), NOW)["events"] == 2
    assert list(rows().values_list("number", flat=True)) == [3, 4]
    assert chain.verify() == ChainState(2)
    write("203.0.113.5")
    assert chain.verify() == ChainState(3)
    rows().filter(number=3).delete()
    assert chain.verify() == ChainState(0, 3, "missing")


def test_all_of_it_may_grow_old():
    write("203.0.113.1", "203.0.113.2", days_ago=100)
    assert actions.prune(get_settings(), NOW)["events"] == 2
    write("203.0.113.3")
    assert chain.verify() == ChainState(1)


def test_the_model_only_adds():
    write("203.0.113.1")
    event = SecurityEvent.objects.get()
    event.kind = "y"
    for harm in (
        event.save,
        event.delete,
        SecurityEvent.objects.all().delete,
        lambda: SecurityEvent.objects.update(kind="y"),
    ):
        with pytest.raises(PermissionDenied):
            harm()
    assert chain.verify() == ChainState(1)


def test_deleting_a_user_leaves_the_chain_whole(django_user_model):
    user = django_user_model.objects.create_user("joe", password="x")
    chain.append([SecurityEvent(at=NOW, kind="login", severity="info", user=user)])
    user.delete()
    assert SecurityEvent.objects.get().user_id is None
    assert chain.verify() == ChainState(1)


def test_the_command_says_where_it_breaks(capsys):
    write("203.0.113.1", "203.0.113.2")
    call_command("perf", "events")
    assert capsys.readouterr().out == "2 security events are as they were written.\n"
    rows().filter(number=2).update(kind="y")
    with pytest.raises(SystemExit) as stop:
        call_command("perf", "events", "--json")
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out) == {"checked": 1, "broken_at": 2, "why": "changed"}


def test_a_site_that_prunes_before_its_first_event_is_no_broken_chain():
    assert actions.prune(get_settings(), NOW)["events"] == 0
    assert chain.verify() == ChainState(0)
    write("203.0.113.1")
    assert chain.verify() == ChainState(1)
