"""Materialized views advised for aggregates that are computed again and again, and the Django model of a view.

Pure. A comparison of a column with a constant becomes a column of the view: each of its rows is then one answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from sqlglot import exp

from paiid_perf.database.rules.insights import Studied, tree
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding

#: Everything that a SELECT may have besides what it groups, for a view to be able to stand for it.
_SIMPLE = frozenset({"expressions", "from_", "from", "joins", "where", "group", "order", "kind"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a view, and the Django field that holds it."""

    name: str
    field: str
    """``BigIntegerField``, or with arguments: ``DecimalField(max_digits=20, decimal_places=2)``."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The view that would answer a statement for every constant that it is asked with."""

    name: str
    sql: str
    unique: tuple[str, ...]


def view_of(text: str) -> Aggregate | None:
    """The view for an aggregating statement; None where a view could not give its answer."""
    parsed = tree(text)
    if not isinstance(parsed, exp.Select) or not parsed.find(exp.AggFunc):
        return None
    if any(value for name, value in parsed.args.items() if name not in _SIMPLE) or parsed.find(exp.Subquery):
        return None
    found = parsed.copy()
    found.set("order", None)
    lifted = _lifted(found)
    if lifted is None or found.find(exp.Placeholder):
        return None
    group = found.args.get("group")
    keys = [key for key in (group.expressions if group else ()) if isinstance(key, exp.Column)]
    if len(keys) != len(group.expressions if group else ()) or not (keys or lifted):
        return None
    return _built(found, [*keys, *(c for c in lifted if c not in keys)])


def _lifted(select: exp.Select) -> list[exp.Column] | None:
    """Take the comparisons with constants out of the WHERE; returns their columns. None where one is no equality."""
    where = select.args.get("where")
    if where is None:
        return []
    lifted: list[exp.Column] = []
    kept: list[exp.Expr] = []
    for part in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        if not part.find(exp.Placeholder):
            kept.append(part)
        elif (
            isinstance(part, exp.EQ)
            and isinstance(part.this, exp.Column)
            and not part.this.find(exp.Placeholder)
        ):
            lifted.append(part.this.copy())
        else:
            return None
    select.set("where", exp.Where(this=exp.and_(*kept)) if kept else None)
    return lifted


def _built(select: exp.Select, keys: list[exp.Column]) -> Aggregate | None:
    shown = [item for item in select.expressions if not (isinstance(item.unalias(), exp.Column))]
    names = [key.name for key in keys]
    if len(set(names)) != len(names) or not shown:
        return None
    outputs = [item if item.alias else exp.alias_(item, f"value_{n}") for n, item in enumerate(shown, 1)]
    select.set("expressions", [*(key.copy() for key in keys), *outputs])
    select.set("group", exp.Group(expressions=[key.copy() for key in keys]))
    text = select.sql("postgres", pretty=True)
    table = next((t.name for t in select.find_all(exp.Table)), "rows")
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return Aggregate(f"{table[:40]}_summary_{mark}", text, tuple(names))


def worth_a_view(one: Studied) -> bool:
    """Whether a statement is dear and frequent enough that keeping its answer may pay."""
    return one.calls >= limit("slow_calls") and one.mean_ms >= limit("slow_ms")


def advise(statements: Iterable[tuple[Studied, Aggregate, Sequence[Column]]]) -> Iterator[Finding]:
    """A view for each aggregate, as a declaration, with the model to read it by; one per view."""
    told: set[str] = set()
    for one, view, columns in statements:
        if view.name in told:
            continue
        told.add(view.name)
        yield Finding(
            "view",
            view.name,
            "info",
            _("Keep the answer of an aggregate that takes %(ms).0f ms and was asked %(calls)d times")
            % {"ms": one.mean_ms, "calls": one.calls},
            " ".join(one.text.split())[:300],
            how=declaration(view) + "\n\n\n" + model(view.name, view.unique, columns),
            undo=_("Take the declaration out, and DROP MATERIALIZED VIEW."),
            source=source("slow_ms"),
            numbers={
                "calls": one.calls,
                "mean_ms": round(one.mean_ms, 2),
                "total_ms": round(one.calls * one.mean_ms),
            },
        )


def declaration(view: Aggregate) -> str:
    """What a host writes into its ``perf.py``."""
    body = "\n".join("        " + line for line in view.sql.splitlines())
    return (
        f'perf.MaterializedView(\n    "{view.name}",\n    sql="""\n{body}\n    """,\n'
        f"    unique={list(view.unique)!r},\n    refresh_every=timedelta(minutes=15),\n)"
    )


def model(name: str, unique: Sequence[str], columns: Sequence[Column]) -> str:
    """The text of an unmanaged Django model that reads a view by its unique columns."""
    bare = name.rpartition(".")[2]
    table = name.replace(".", '"."')
    single = len(unique) == 1
    lines = [f"class {''.join(part.title() for part in bare.split('_'))}(models.Model):"]
    if not single:
        lines.append(f"    pk = models.CompositePrimaryKey({', '.join(map(repr, unique))})".replace("'", '"'))
    for column in columns:
        key = single and column.name in unique
        lines.append(
            f"    {column.name} = models.{_primary(column.field) if key else _nullable(column, unique)}"
        )
    return "\n".join(
        [*lines, "", "    class Meta:", "        managed = False", f"        db_table = {table!r}"]
    )


def _primary(field: str) -> str:
    return _with(field, "primary_key=True")


def _nullable(column: Column, unique: Sequence[str]) -> str:
    return column.field if column.name in unique else _with(column.field, "null=True")


def _with(field: str, option: str) -> str:
    inside = field[field.index("(") + 1 : -1]
    return field[: field.index("(") + 1] + ", ".join(filter(None, (inside, option))) + ")"
