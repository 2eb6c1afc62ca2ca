"""String-built SQL on a real connection: reported with its line, blockable; the ORM is never reported."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import SuspiciousOperation
from django.db import connection
from django.db.models import Q
from django.test import RequestFactory

from paiid_perf.models import SecurityEvent
from paiid_perf.security import actions, facts, sink
from paiid_perf.security.inspection import inspect_request

pytestmark = pytest.mark.django_db
ATTACKS = ("x' OR 'a'='a", "O'Reilly' --", "1 OR 1=1", "') OR (1=1) --", "x'; SELECT 1 --", 'a" = "a')
User = get_user_model()


@pytest.fixture(autouse=True)
def _carried():
    yield
    sink.carried.set(None)


def carry(value):
    inspect_request(RequestFactory().get("/search/", {"q": value}, REMOTE_ADDR="203.0.113.7"))


def reports():
    actions.flush_events()
    return list(SecurityEvent.objects.filter(kind=sink.KIND))


def built(value):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT username FROM auth_user WHERE username = '{value}'")


def test_string_built_sql_is_reported_with_its_line():
    carry("x' OR 'a'='a")
    built("x' OR 'a'='a")
    (event,) = reports()
    assert (event.severity, event.field, event.action) == ("critical", "query:q", "report")
    assert "test_sink.py" in event.sample
    assert "in built" in event.sample
    assert facts.built_statements(event.at) == (event.sample,)


def test_it_never_runs_where_input_is_blocked(perf):
    perf(INSPECTION="block")
    carry("x' OR 'a'='a")
    with pytest.raises(SuspiciousOperation):
        built("x' OR 'a'='a")


def test_the_orm_and_parameters_are_never_reported():
    for value in ATTACKS:
        carry(value)
        list(User.objects.filter(Q(username=value) | Q(email__icontains=value), first_name__in=[value, "x"]))
        User.objects.filter(username=value).update(last_name=value[:20])
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM auth_user WHERE username = %s", [value])
    assert reports() == []


def test_the_next_request_starts_empty():
    carry("x' OR 'a'='a")
    inspect_request(RequestFactory().get("/search/"))
    built("x' OR 'a'='a")
    assert reports() == []
