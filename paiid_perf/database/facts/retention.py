"""What a retention rule would delete, and which ways there are to do it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models
from django.db.models.deletion import Collector
from psycopg import errors, sql

from paiid_perf.database.rules import retention as rules
from paiid_perf.database.session import Session, is_postgresql, trusted
from paiid_perf.database.types import RetentionFact, RetentionRule
from paiid_perf.exceptions import ConfigurationError

#: Counting stops here: "at least so many" is all that anybody needs to know.
COUNT_LIMIT = 1_000_000

# A plain B-tree that leads with the column gives the oldest rows first.
INDEX = """
SELECT c.relname::text AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(%s) AND a.attname = %s AND m.amname = 'btree' AND i.indisvalid
  AND i.indpred IS NULL
ORDER BY i.indnatts, c.relname LIMIT 1
"""

# A row's ctid means something within one heap only, so partitions are gone through one by one.
HEAPS = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relpages AS pages, c.reltuples::float8 AS rows,
       pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks, pg_total_relation_size(c.oid) AS bytes
FROM pg_partition_tree(to_regclass(%(table)s)) t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
UNION
SELECT n.nspname::text, c.relname::text, c.relpages, c.reltuples::float8,
       pg_relation_size(c.oid) / current_setting('block_size')::bigint, pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(table)s) AND c.relkind = 'r'
ORDER BY 1, 2
"""

# Partitions by a range of the rule's column that end before the cut-off; what has no such end (a default, MAXVALUE,
# several keys) is left to the deletes. One whose detaching was broken off is among them.
PARTITIONS = """
SELECT n.nspname::text AS schema, c.relname::text AS name, i.inhdetachpending AS pending,
       greatest(c.reltuples, coalesce(pg_stat_get_live_tuples(c.oid), 0))::float8 AS rows,
       EXISTS (SELECT FROM pg_inherits o JOIN pg_class d ON d.oid = o.inhrelid
               WHERE o.inhparent = p.partrelid AND pg_get_expr(d.relpartbound, d.oid) = 'DEFAULT') AS has_default
FROM pg_partitioned_table p
JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
JOIN pg_inherits i ON i.inhparent = p.partrelid
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), $$ TO \\('([^']+)'\\)$$) AS ends(at)
WHERE p.partrelid = to_regclass(%(table)s) AND p.partstrat = 'r' AND p.partnatts = 1
  AND a.attname = %(column)s
  AND ends.at[1]::timestamptz <= %(before)s
ORDER BY ends.at[1]::timestamptz
"""
# What a killed run had detached and not yet dropped says so in its comment.
DETACHED = """
SELECT n.nspname::text AS schema, c.relname::text AS name, false AS pending, 0::float8 AS rows,
       false AS has_default
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') = %(mark)s
"""
IS_PARTITIONED = "SELECT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)) AS so"

# By the alias the advisor knows the app's own look at the host's table: no index is advised for it.
_COUNT = sql.SQL("SELECT count(*) AS n FROM ({}) paiid_perf_due")
_FIRST = sql.SQL("SELECT * FROM ({}) paiid_perf_oldest")


@dataclass(frozen=True, slots=True)
class Target:
    """A rule's model, field and database, looked up."""

    model: type[models.Model]
    field: models.Field[Any, Any]
    alias: str

    @property
    def table(self) -> str:
        return self.model._meta.db_table

    @property
    def column(self) -> str:
        return self.field.column or self.field.name

    @property
    def quoted_table(self) -> str:
        return connections[self.alias].ops.quote_name(self.table)

    def value(self, before: datetime) -> Any:
        """The cut-off as the database driver takes it for that column."""
        return self.field.get_db_prep_value(self._local(before), connections[self.alias])

    def old(self, before: datetime) -> models.QuerySet[Any]:
        """The rows that go."""
        rows = self.model._base_manager.using(self.alias)
        return rows.filter(**{f"{self.field.name}__lt": self._local(before)})

    def is_fast(self, before: datetime) -> bool:
        """Whether one DELETE is all that Django's own delete() would do: no cascades, no signals."""
        return Collector(using=self.alias, origin=None).can_fast_delete(self.old(before))

    def _local(self, before: datetime) -> Any:
        """The cut-off in the field's own type."""
        return before if isinstance(self.field, models.DateTimeField) else before.date()


def target(rule: RetentionRule, alias: str) -> Target:
    """The model and field that a rule names.

    Raises:
        ConfigurationError: there is no such model or field, or the field holds no date.
    """
    try:
        model = apps.get_model(rule.model)
        field = model._meta.get_field(rule.field)
    except (LookupError, ValueError, FieldDoesNotExist) as error:
        raise ConfigurationError(f"RetentionRule({rule.model!r}, field={rule.field!r}): {error}") from error
    if not isinstance(field, models.DateField):
        raise ConfigurationError(
            f"RetentionRule({rule.model!r}): {rule.field!r} must be a DateField or DateTimeField."
        )
    return Target(model, field, alias)


def survey(session: Session | None, goal: Target, before: datetime) -> RetentionFact:
    """What is due, and the way to delete it; ``session`` None off PostgreSQL."""
    index = _index(session, goal) if session is not None else ""
    method, reason = rules.method(
        postgresql=is_postgresql(goal.alias), fast=goal.is_fast(before), index=index
    )
    due = _count(session, goal, before)
    parts, partitioned = _partitions(session, goal, before, method)
    oldest = _oldest(session, goal, before) if index or due is None or due < COUNT_LIMIT else None
    total, held = _whole(session, goal)
    return RetentionFact(
        due=COUNT_LIMIT if due is None else due,
        capped=due is None or due >= COUNT_LIMIT,
        total=total,
        oldest=oldest,
        index=index,
        method=method,
        reason=reason,
        partitions=parts,
        partitioned=partitioned,
        bytes=rules.share(due, total, held),
    )


def _partitions(
    session: Session | None, goal: Target, before: datetime, method: rules.Method
) -> tuple[list[str], bool]:
    """(quoted names of those that go as a whole, whether there are any partitions)"""
    if session is None or method == "orm":
        return [], False
    try:
        found = partitions(session, goal, before)
        is_partitioned = bool(session.rows(IS_PARTITIONED, [goal.quoted_table])[0]["so"])
    except errors.QueryCanceled:
        return [], False
    return [sql.Identifier(p["schema"], p["name"]).as_string(None) for p in found], is_partitioned


def mark(goal: Target) -> str:
    """What the comment of a partition says that is about to go."""
    return f"paiid_perf: detached from {goal.table} by its retention rule"


def partitions(session: Session, goal: Target, before: datetime) -> list[dict[str, Any]]:
    """The partitions in which every row is older than ``before``, the oldest first, and what a killed run left."""
    asked = {"table": goal.quoted_table, "column": goal.column, "before": before, "mark": mark(goal)}
    return [*session.rows(DETACHED, asked), *session.rows(PARTITIONS, asked)]


def heaps(session: Session, goal: Target) -> list[dict[str, Any]]:
    """The heaps that hold the table's rows: itself, or its partitions. Blocks are pages of the file."""
    return session.rows(HEAPS, {"table": goal.quoted_table})


def _index(session: Session, goal: Target) -> str:
    rows = session.rows(INDEX, [goal.quoted_table, goal.column])
    return str(rows[0]["name"]) if rows else ""


def _count(session: Session | None, goal: Target, before: datetime) -> int | None:
    """Rows that are due, up to COUNT_LIMIT; None where counting takes too long."""
    some = goal.old(before).order_by().values("pk")[:COUNT_LIMIT]
    if session is None:
        return some.count()
    text, params = some.query.sql_with_params()
    try:
        return int(session.rows(_COUNT.format(trusted(text)), params)[0]["n"])
    except errors.QueryCanceled:
        return None


def _oldest(session: Session | None, goal: Target, before: datetime) -> datetime | None:
    query = goal.old(before).order_by(goal.field.name).values(goal.field.name)[:1]
    if session is None:
        first = query.first()
        return first[goal.field.name] if first else None
    text, params = query.query.sql_with_params()
    try:
        rows = session.rows(_FIRST.format(trusted(text)), params)
    except errors.QueryCanceled:
        return None
    return next(iter(rows[0].values())) if rows else None


def _whole(session: Session | None, goal: Target) -> tuple[int, int | None]:
    """(rows of the table, its bytes with indexes and TOAST); no bytes off PostgreSQL."""
    if session is None:
        return goal.model._base_manager.using(goal.alias).count(), None
    found = heaps(session, goal)
    return sum(max(0, int(heap["rows"])) for heap in found), sum(int(heap["bytes"]) for heap in found)
