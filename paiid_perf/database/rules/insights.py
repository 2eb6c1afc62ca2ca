"""What a statement's text and its real plan say about why it is slow, each with a rewrite in SQL and in Django's ORM.

Pure: plans are EXPLAIN's JSON. Constants of real statements are masked: they are nobody's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlglot
from django.utils.translation import gettext as _
from sqlglot import exp

from paiid_perf.database.rules.health.common import quoted
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding, Severity

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Studied:
    """One statement of weight with its plan. ``plan`` is EXPLAIN's whole answer, of an execution where ``executed``."""

    queryid: str
    text: str
    calls: float
    mean_ms: float
    plan: Node | None = None
    executed: bool = False
    generic_cost: float | None = None
    """What the plan made without looking at the constants costs; None where nobody could tell."""
    table_rows: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    """Table → the name of its Django model."""

    def model(self, table: str) -> str:
        """What the ORM calls the table."""
        return self.models.get(table, "Model")


Insight = Callable[[Studied], Iterable[Finding]]


def nodes(studied: Studied) -> Iterator[Node]:
    """Every node of the plan, from the top down."""
    if studied.plan is not None:
        yield from _below(studied.plan["Plan"])


def _below(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _below(child)


def rows_of(node: Node) -> float:
    """Rows that a node gave in all its loops."""
    return float(node.get("Actual Rows", 0)) * float(node.get("Actual Loops", 1))


_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w.$])\d+(?:\.\d+)?")


def masked(condition: str) -> str:
    """A condition of a plan without the constants in it."""
    return _LITERAL.sub("?", condition)


@lru_cache(maxsize=256)
def tree(text: str) -> exp.Expr | None:
    """The parsed statement; None where it cannot be read."""
    try:
        return sqlglot.parse_one(re.sub(r"\$(\d+)", r":p\1", text), read="postgres")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None


def functions(text: str) -> list[str]:
    """The functions that a statement calls and that SQL does not know by itself: they may do anything."""
    parsed = tree(text)
    called = parsed.find_all(exp.Anonymous) if parsed is not None else ()
    return sorted({str(call.this).lower() for call in called})


def _parts(studied: Studied, kind: type[exp.Expr]) -> Iterator[Any]:
    parsed = tree(studied.text)
    return parsed.find_all(kind) if parsed is not None else iter(())


def _finding(
    studied: Studied,
    check: str,
    title: str,
    why: str,
    *,
    how: str,
    orm: str = "",
    threshold: str = "",
    severity: Severity = "warning",
    **numbers: Any,
) -> Finding:
    return Finding(
        f"query_{check}",
        studied.queryid,
        severity,
        title,
        f"{why} {' '.join(studied.text.split())[:300]}",
        how=how + (f"\n# Django: {orm}" if orm else ""),
        source=source(threshold) if threshold else "PostgreSQL manual, 14.1 Using EXPLAIN",
        numbers={"calls": studied.calls, "mean_ms": round(studied.mean_ms, 2)} | numbers,
    )


# --- what the plan says ------------------------------------------------------------------------------------


def misestimates(studied: Studied) -> Iterator[Finding]:
    """The lowest node whose row count was guessed wrong by far: what is above it inherits the error."""
    wrong = [node for node in nodes(studied) if studied.executed and _error(node) >= limit("row_error")]
    if not wrong:
        return
    node = wrong[-1]
    table = node.get("Relation Name", "")
    guessed, real = float(node["Plan Rows"]), float(node["Actual Rows"])
    yield _finding(
        studied,
        "misestimate",
        _("The planner expects %(guessed).0f rows where %(real).0f come")
        % {"guessed": guessed, "real": real},
        _("A plan chosen for the wrong number of rows; at %(node)s %(on)s.")
        % {"node": node["Node Type"], "on": masked(_condition(node)) or table},
        how=_better_statistics(table, node),
        threshold="row_error",
        estimated=guessed,
        actual=real,
    )


def _error(node: Node) -> float:
    """By what factor the rows of one loop were guessed wrong; 1 where so few come that it cannot matter."""
    if not node.get("Actual Loops"):
        return 1.0
    guessed, real = max(1.0, float(node["Plan Rows"])), max(1.0, float(node["Actual Rows"]))
    loops = float(node["Actual Loops"])
    return (
        max(guessed / real, real / guessed) if max(guessed, real) * loops >= limit("row_error_rows") else 1.0
    )


def _condition(node: Node) -> str:
    return " AND ".join(
        str(node[k]) for k in ("Index Cond", "Recheck Cond", "Filter", "Hash Cond") if k in node
    )


_COMPARED = re.compile(r"\(?\"?([a-z_]\w*)\"?\)?(?:::[\w ]+)? = ", re.IGNORECASE)


def _better_statistics(table: str, node: Node) -> str:
    if not table:
        return "ANALYZE;"
    columns = sorted({c for c in _COMPARED.findall(_condition(node)) if c.lower() != "any"})
    if len(columns) > 1:
        listed = ", ".join(quoted(c) for c in columns[:8])
        return f"CREATE STATISTICS (dependencies, mcv) ON {listed} FROM {quoted(table)};\nANALYZE {quoted(table)};"
    if columns:
        column = f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(columns[0])} SET STATISTICS 1000;"
        return f"{column}\nANALYZE {quoted(table)};"
    return f"ANALYZE {quoted(table)};"


def spilled(studied: Studied) -> Iterator[Finding]:
    """Sorts, hashes and aggregates that did not fit into work_mem."""
    sizes = [size for node in nodes(studied) if (size := _on_disk(node)) > 0]
    if sizes:
        wanted = f"{max(8, int(max(sizes) * 3 / 1024) + 1)}MB"
        yield _finding(
            studied,
            "spill",
            _("A sort or hash writes %(size)s to disk") % {"size": readable(max(sizes) * 1024)},
            _("It did not fit into work_mem."),
            how=f"SET LOCAL work_mem = '{wanted}';  -- in its transaction, or ALTER ROLE … SET for those who run it",
            orm=f"cursor.execute(\"SET LOCAL work_mem = '{wanted}'\") inside transaction.atomic()",
            kilobytes=max(sizes),
        )


def _on_disk(node: Node) -> float:
    """Kilobytes that a node wrote to temporary files."""
    if node.get("Sort Space Type") == "Disk":
        return float(node["Sort Space Used"])
    if node.get("Hash Batches", 1) > 1:
        return float(node["Peak Memory Usage"]) * float(node["Hash Batches"])
    return float(node.get("Disk Usage", 0))


def thrown_away(studied: Studied) -> Iterator[Finding]:
    """A filter that reads many rows to keep a few."""
    for node in nodes(studied):
        removed = _removed(node)
        kept = rows_of(node)
        if removed >= limit("removed_rows") and removed >= (removed + kept) * limit("removed_ratio"):
            yield _finding(
                studied,
                "filter",
                _("%(removed).0f rows are read to keep %(kept).0f") % {"removed": removed, "kept": kept},
                _("The filter %(filter)s on %(table)s is checked row by row.")
                % {"filter": masked(str(node.get("Filter", ""))), "table": node.get("Relation Name", "–")},
                how=_(
                    "See whether an index is advised for it; a condition that always holds makes it partial."
                ),
                orm='models.Index(fields=["…"], condition=Q(…), name="…")',
                threshold="removed_ratio",
                removed=removed,
                kept=kept,
            )
            return


def _removed(node: Node) -> float:
    lost = float(node.get("Rows Removed by Filter", 0)) + float(node.get("Rows Removed by Join Filter", 0))
    return lost * float(node.get("Actual Loops", 1))


def nested_loops(studied: Studied) -> Iterator[Finding]:
    """The inner side of a nested loop, run once for each of very many rows."""
    for node in nodes(studied):
        if node["Node Type"] != "Nested Loop" or len(node.get("Plans", ())) < 2:
            continue
        outer, inner = node["Plans"][:2]
        loops = float(inner.get("Actual Loops", 0))
        if loops >= limit("nested_loops"):
            yield _finding(
                studied,
                "nested_loop",
                _("A nested loop runs %(inner)s %(loops).0f times")
                % {"inner": inner["Node Type"], "loops": loops},
                _(
                    "The planner expected %(guessed).0f rows on its outer side: a hash join reads each table once."
                )
                % {"guessed": outer["Plan Rows"]},
                how=_better_statistics(outer.get("Relation Name", ""), outer)
                + "\nSET LOCAL enable_nestloop = off;  -- "
                + _("to see what the other plan takes"),
                orm=_("prefetch_related() in place of select_related() reads the second table once"),
                threshold="nested_loops",
                loops=loops,
            )
            return


def jit_cost(studied: Studied) -> Iterator[Finding]:
    """Compiling took a good part of the time."""
    timing = (studied.plan or {}).get("JIT", {}).get("Timing", {})
    spent = float(timing.get("Total", 0.0))
    whole = float((studied.plan or {}).get("Execution Time", 0.0))
    if whole and spent >= whole * limit("jit_ratio"):
        yield _finding(
            studied,
            "jit",
            _("%(percent).0f %% of the time goes into compiling the query")
            % {"percent": spent / whole * 100},
            _("JIT pays for queries that run for seconds."),
            how="ALTER ROLE CURRENT_USER SET jit = 'off';  -- or raise jit_above_cost",
            orm='DATABASES["default"]["OPTIONS"]["options"] = "-c jit=off"',
            threshold="jit_ratio",
            jit_ms=spent,
        )


def generic_plan(studied: Studied) -> Iterator[Finding]:
    """A prepared statement would be planned once, for any constant, and that plan is far dearer."""
    if studied.plan is None or not studied.generic_cost:
        return
    custom = float(studied.plan["Plan"]["Total Cost"])
    if studied.generic_cost >= custom * limit("generic_ratio") and custom > 0:
        yield _finding(
            studied,
            "generic_plan",
            _("Prepared, it would cost %(factor).0f times as much")
            % {"factor": studied.generic_cost / custom},
            _("After five runs a prepared statement may get one plan for all constants."),
            how="ALTER ROLE CURRENT_USER SET plan_cache_mode = 'force_custom_plan';",
            orm='DATABASES["default"]["OPTIONS"]["prepare_threshold"] = None',
            threshold="generic_ratio",
            severity="info",
            custom_cost=custom,
            generic_cost=studied.generic_cost,
        )


# --- what stands in the statement, and hurts by the plan ------------------------------------------------------


def _scans(studied: Studied) -> Iterator[tuple[str, str]]:
    """(table, filter) of each sequential scan over a table large enough to matter."""
    for node in nodes(studied):
        table = node.get("Relation Name", "")
        is_large = studied.table_rows.get(table, 0.0) >= limit("scan_rows")
        if is_large and node["Node Type"] == "Seq Scan" and "Filter" in node:
            yield table, str(node["Filter"])


_INFIX = re.compile(r"\(?\"?(?:\w+\.)?(\w+)\"?\)?(?:::text)? ~~(\*?) '%")
_FOLDED = re.compile(r"\b(lower|upper)\(\(?\"?(?:\w+\.)?(\w+)\"?\)?(?:::text)?\) ", re.IGNORECASE)
_CAST = re.compile(
    r"\((?:timezone\([^()]*, )?\"?(?:\w+\.)?(\w+)\"?(?: AT TIME ZONE '[^']*'(?:::text)?)?\)+"
    r"::(date|numeric|double precision|real|bigint|timestamp[\w ]*) (?:[<>=]|~)"
)


def infix_like(studied: Studied) -> Iterator[Finding]:
    for table, condition in _scans(studied):
        for column, insensitive in _INFIX.findall(condition):
            name = f"{table}_{column}_trgm"[:30]
            lookup = "icontains" if insensitive else "contains"
            yield _finding(
                studied,
                "infix",
                _("LIKE '%%…%%' on %(table)s.%(column)s reads the whole table")
                % {"table": table, "column": column},
                _("A B-tree helps only where the beginning is known; trigrams find the middle."),
                how="CREATE EXTENSION IF NOT EXISTS pg_trgm;\n"
                f"CREATE INDEX CONCURRENTLY {quoted(name)} ON {quoted(table)} USING gin "
                f"({quoted(column)} gin_trgm_ops);",
                orm=f'{studied.model(table)}: GinIndex(OpClass(F("{column}"), name="gin_trgm_ops"), name="{name}") '
                f"serves {column}__{lookup}=…",
            )


def folded_case(studied: Studied) -> Iterator[Finding]:
    for table, condition in _scans(studied):
        for function, column in _FOLDED.findall(condition + " "):
            folded = function.lower()
            name = f"{table}_{column}_{folded}"[:30]
            yield _finding(
                studied,
                "folded",
                _("%(function)s(%(column)s) on %(table)s can use no index on %(column)s")
                % {"function": folded, "column": column, "table": table},
                _("An index has to hold the expression as it is asked."),
                how=f"CREATE INDEX CONCURRENTLY {quoted(name)} ON {quoted(table)} ({folded}({quoted(column)}));",
                orm=f'{studied.model(table)}: models.Index({folded.title()}("{column}"), name="{name}")'
                + (f" serves {column}__iexact=…" if folded == "upper" else ""),
            )


def defeating_cast(studied: Studied) -> Iterator[Finding]:
    for table, condition in _scans(studied):
        for column, kind in _CAST.findall(condition):
            is_date = kind == "date"
            yield _finding(
                studied,
                "cast",
                _("%(table)s.%(column)s is cast to %(type)s row by row")
                % {"table": table, "column": column, "type": kind},
                _(
                    "An index on the column is of no use to the cast value: cast the constant, not the column."
                ),
                how=f"WHERE {quoted(column)} >= $1 AND {quoted(column)} < $1 + interval '1 day'"
                if is_date
                else f"WHERE {quoted(column)} = CAST($1 AS …)  -- " + _("in the column's own type"),
                orm=f"{studied.model(table)}.objects.filter({column}__gte=day, {column}__lt=day + timedelta(days=1))"
                f"  # in place of {column}__date=day"
                if is_date
                else f"{studied.model(table)}.objects.filter({column}=int(value))",
            )


def offset_paging(studied: Studied) -> Iterator[Finding]:
    if not any(_parts(studied, exp.Offset)):
        return
    for node in nodes(studied):
        if node["Node Type"] != "Limit" or not node.get("Plans"):
            continue
        read, given = rows_of(node["Plans"][0]), rows_of(node)
        if read - given >= limit("offset_rows"):
            yield _finding(
                studied,
                "offset",
                _("OFFSET reads and throws away %(rows).0f rows") % {"rows": read - given},
                _("Each further page is slower than the one before."),
                how="WHERE (sort_key, id) < ($last_sort_key, $last_id) ORDER BY sort_key DESC, id DESC LIMIT $n",
                orm='queryset.filter(created__lt=last.created).order_by("-created", "-pk")[:n]'
                "  # REST framework: CursorPagination",
                threshold="offset_rows",
                skipped=read - given,
            )
            return


def not_in(studied: Studied) -> Iterator[Finding]:
    for part in _parts(studied, exp.In):
        around = part.parent.parent if isinstance(part.parent, exp.Paren) else part.parent
        if isinstance(around, exp.Not) and part.args.get("query") is not None:
            column = part.this.sql("postgres")
            yield _finding(
                studied,
                "not_in",
                _("NOT IN (SELECT …) cannot become an anti join"),
                _("One NULL among its rows would make it empty, so the server checks the list for each row."),
                how=f"NOT EXISTS (SELECT 1 FROM … WHERE … = {column})",  # noqa: S608 - for a person to read
                orm='queryset.filter(~Exists(Other.objects.filter(ref=OuterRef("pk"))))'
                "  # in place of .exclude(pk__in=…)",
            )
            return


_ARRAY = re.compile(r"= ANY \('\{([^}]*)\}'")


def long_lists(studied: Studied) -> Iterator[Finding]:
    lengths = [len(part.expressions) for part in _parts(studied, exp.In)]
    for node in nodes(studied):
        lengths += [found.count(",") + 1 for found in _ARRAY.findall(_condition(node))]
    if lengths and max(lengths) >= limit("in_list"):
        yield _finding(
            studied,
            "in_list",
            _("IN (…) with %(n)d values") % {"n": max(lengths)},
            _("Each length is another statement to parse, and the list is longer than what it finds."),
            how="JOIN unnest($1::bigint[]) AS wanted(id) USING (id)",
            orm="queryset.filter(pk__in=Other.objects.filter(…).values('ref'))"
            "  # the sub-query in place of its result",
            threshold="in_list",
            severity="info",
            values=max(lengths),
        )


def counting(studied: Studied) -> Iterator[Finding]:
    parsed = tree(studied.text)
    if not isinstance(parsed, exp.Select) or len(parsed.expressions) != 1:
        return
    only = parsed.expressions[0].unalias()
    tables = [t.name for t in parsed.find_all(exp.Table)]
    if not isinstance(only, exp.Count) or len(tables) != 1:
        return
    rows = studied.table_rows.get(tables[0], 0.0)
    if rows >= limit("count_rows") and studied.mean_ms >= limit("slow_ms"):
        table = tables[0]
        yield _finding(
            studied,
            "count",
            _("count(*) goes over %(rows).0f rows of %(table)s") % {"rows": rows, "table": table},
            _("PostgreSQL has to look at each row that counts; the planner's estimate is at hand."),
            how=f"SELECT reltuples::bigint FROM pg_class WHERE oid = '{quoted(table)}'::regclass;",  # noqa: S608 - for a person to read
            orm="a Paginator whose count property returns the estimate; queryset.exists() in place of count() > 0",
            threshold="count_rows",
            severity="info",
        )


#: Every insight, the gravest first.
INSIGHTS: tuple[Insight, ...] = (
    misestimates,
    thrown_away,
    nested_loops,
    spilled,
    jit_cost,
    offset_paging,
    infix_like,
    folded_case,
    defeating_cast,
    not_in,
    long_lists,
    counting,
    generic_plan,
)


def judge(studied: Iterable[Studied]) -> list[Finding]:
    """Every finding about every statement, each once."""
    found = [finding for one in studied for insight in INSIGHTS for finding in insight(one)]
    return list({finding.key: finding for finding in found}.values())
