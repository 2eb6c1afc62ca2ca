"""Querysets and parts of templates from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.db.models import Exists, OuterRef
from django.template import Context, Template, TemplateSyntaxError
from django.test.utils import CaptureQueriesContext
from django.utils.safestring import SafeString

from paiid_perf.cache import NotCacheable, cached_rows
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.invalidation import connect
from paiid_perf.registry import registry

GROUPS = CacheStrategy("groups", ttl=timedelta(minutes=5), depends_on=["auth.Group"], early=0)
BOTH = CacheStrategy(
    "both",
    ttl=timedelta(minutes=5),
    depends_on=["auth.Group", "auth.Permission", "auth.Group_permissions"],
    early=0,
)


@pytest.fixture(autouse=True)
def _connected(any_cache: str, transactional_db: None) -> Iterator[None]:
    connect(["auth.Group"])
    with registry.temporarily(GROUPS):
        yield


def test_rows_until_a_commit() -> None:
    from django.db import connection

    Group.objects.create(name="a")
    names = Group.objects.values("name").order_by("name")
    assert cached_rows(names, strategy="groups") == [{"name": "a"}]
    with CaptureQueriesContext(connection) as queries:
        assert cached_rows(names.all(), strategy="groups") == [{"name": "a"}]
    assert len(queries) == 0
    Group.objects.create(name="b")
    assert cached_rows(names, strategy="groups") == [{"name": "a"}, {"name": "b"}]


def test_other_filters_and_shapes_are_other_rows() -> None:
    Group.objects.create(name="a")
    assert cached_rows(Group.objects.filter(name="a").values("name"), strategy=GROUPS) == [{"name": "a"}]
    assert cached_rows(Group.objects.filter(name="b").values("name"), strategy=GROUPS) == []
    assert cached_rows(Group.objects.filter(name="a").values_list("name"), strategy=GROUPS) == [("a",)]
    assert cached_rows(Group.objects.filter(name="a").values_list("name", flat=True), strategy=GROUPS) == [
        "a"
    ]
    assert cached_rows(Group.objects.none().values("name"), strategy=GROUPS) == []


def test_every_model_that_is_read_must_be_depended_on() -> None:
    joined = Group.objects.filter(permissions__codename="x").values("name")
    inner = Permission.objects.filter(group=OuterRef("pk"))
    for queryset in (joined, Group.objects.filter(Exists(inner)).values("name")):
        with pytest.raises(ConfigurationError, match=r"auth\.permission"):
            cached_rows(queryset, strategy=GROUPS)
        assert cached_rows(queryset, strategy=BOTH) == []


def test_instances_are_refused_with_the_fix() -> None:
    Group.objects.create(name="a")
    with pytest.raises(NotCacheable, match="dict of the fields"):
        cached_rows(Group.objects.all(), strategy=GROUPS)


def test_a_fragment_is_rendered_once_and_stays_safe() -> None:
    page = Template(
        '{% load perf_cache %}{% cached "groups" "x" n tags="mine" %}<b>{{ calls.pop }}</b>{% endcached %}'
    )
    calls = [3, 2, 1]
    first = [page.render(Context({"n": 1, "calls": calls})) for _ in range(2)]
    assert first == ["<b>1</b>", "<b>1</b>"]
    assert isinstance(first[1], SafeString)
    assert page.render(Context({"n": 2, "calls": calls})) == "<b>2</b>"
    Group.objects.create(name="a")
    assert page.render(Context({"n": 1, "calls": calls})) == "<b>3</b>"


@pytest.mark.parametrize("inside", ['"groups"', '"groups" "x" ttl=5', ""])
def test_a_fragment_needs_a_strategy_and_a_name(inside: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="takes a strategy, a name"):
        Template(f"{{% load perf_cache %}}{{% cached {inside} %}}{{% endcached %}}")
