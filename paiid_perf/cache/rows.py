"""A queryset's rows from the cache: the key is its SQL, the tags are the models that it reads."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet

from paiid_perf.cache.manager import Strategy, get_or_compute, strategy_named
from paiid_perf.exceptions import ConfigurationError


def cached_rows(queryset: QuerySet[Any, Any], *, strategy: Strategy = "standard") -> list[Any]:
    """The rows of ``queryset.values(…)`` or ``.values_list(…)``, cached until one of its models changes.

    Raises:
        ConfigurationError: it reads a model that the strategy does not depend on, so that nothing would tell when
            the rows are old; the message names it.
        NotCacheable: the rows are model instances, or hold what the strategy's serializer cannot keep.
    """
    named = strategy_named(strategy)
    try:
        sql, params = queryset.query.get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        return []
    models = _models_in(sql, queryset.db)
    missing = models - {label.lower() for label in named.depends_on}
    if missing:
        raise ConfigurationError(
            f"the rows come from {', '.join(sorted(missing))}, which CacheStrategy {named.name!r} does not depend on: "
            "add it to depends_on, so that a commit makes the rows old."
        )
    shape = queryset._iterable_class.__name__
    text = f"{queryset.db}\0{shape}\0{sql}\0{params!r}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    key = f"rows:{queryset.model._meta.label_lower}:{digest}"
    return get_or_compute(key, lambda: list(queryset.all()), strategy=named)


@lru_cache(maxsize=1024)
def _models_in(sql: str, using: str) -> frozenset[str]:
    """The labels of the models whose tables the SQL names, subqueries and joins included."""
    quote = connections[using].ops.quote_name
    return frozenset(
        model._meta.label_lower
        for model in apps.get_models(include_auto_created=True)
        if quote(model._meta.db_table) in sql and not model._meta.proxy
    )
