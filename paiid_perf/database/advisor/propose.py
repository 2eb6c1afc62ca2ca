"""Propose: each index that pays, and each that only costs, as a change with its evidence and its undo."""

from __future__ import annotations

from typing import Any

from paiid_perf.contracts import Proposal
from paiid_perf.database.advisor.types import WATCHED, Look, Source, Terms
from paiid_perf.database.index_changes import payload_query
from paiid_perf.database.index_types import IndexSpec, ModelFact, Pick, Table, TableKey
from paiid_perf.database.rules.indexes import candidates as candidate_rules
from paiid_perf.database.rules.indexes import drops as drop_rules
from paiid_perf.database.rules.indexes import model_index, names, partitions
from paiid_perf.database.rules.indexes.select import Selection

AREA = "database"
#: Statements whose replay a change is judged by.
AFFECTED = 8
#: Statements of other tables, which tell the load under which it was judged.
CONTROLS = 10


def create(pick: Pick, look: Look, terms: Terms, costs: str) -> Proposal:
    """The index as a change: judged by the statements it is for, their neighbours, the writes, and a control."""
    spec, table = pick.candidate.spec, look.catalog.tables[pick.candidate.spec.table]
    name = names.index_name(spec)
    model = look.models.get(spec.table)
    affected = sum(e.calls * e.mean_ms for e in pick.effects)
    sql = partitions.create_sql(spec, name, table)
    return Proposal(
        area=AREA,
        kind="index_create",
        key=names.describe(spec),
        title=f"Index {names.describe(spec)}",
        why=_why(pick, affected),
        evidence=_evidence(pick, spec, name, table, model) | {"costs": costs},
        expected_gain=min(0.999, pick.saved_ms / affected) if affected else None,
        cost=_cost(pick),
        risk="low" if table.owned else "medium",
        how=sql,
        undo=names.drop_sql(table.schema, name, concurrently=table.kind != "partitioned"),
        migration=model_index.migration(spec, name, model) if model else "",
        payload={
            "alias": terms.alias,
            "schema": table.schema,
            "table": table.name,
            "name": name,
            "body": names.body_sql(spec),
            "bytes": pick.bytes,
            "analyze": any(not k.is_column for k in spec.keys),
            "queries": [
                payload_query(e.queryid, e.text, e.calls, e.mean_ms, _rows(look, e.queryid))
                for e in pick.effects[: max(AFFECTED, terms.watched)]
            ],
            "watched": _neighbours(look, spec.table, {e.queryid for e in pick.effects}, terms.watched),
            "writes": _writers(look, spec.table, terms.watched),
            "control": _elsewhere(look, spec.table),
        },
    )


def _why(pick: Pick, affected: float) -> str:
    top = pick.effects[0]
    share = pick.saved_ms / affected if affected else 0.0
    text = " ".join(top.text.split())
    others = f" and {len(pick.effects) - 1} more" if len(pick.effects) > 1 else ""
    return (
        f"{len(pick.effects)} statements spend {affected:,.0f} ms; with it about {share:.0%} less (estimated). "
        f"Most of it: “{text[:160]}” ({top.calls:,.0f} calls, {top.mean_ms:.2f} ms each){others}."
    )


def _cost(pick: Pick) -> str:
    text = f"about {pick.bytes / 2**20:.1f} MB"
    return f"{text}, {pick.write_ms:.0f} ms more of writes in the same time" if pick.write_ms >= 0.5 else text


def _evidence(
    pick: Pick, spec: IndexSpec, name: str, table: Table, model: ModelFact | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "table": table.key,
        "rows": table.rows,
        "size_bytes": pick.bytes,
        "saved_ms": round(pick.saved_ms, 3),
        "write_ms": round(pick.write_ms, 3),
        "source": pick.candidate.source,
        "queries": [
            {
                "queryid": e.queryid,
                "query": e.text[:500],
                "calls": e.calls,
                "mean_ms": round(e.mean_ms, 3),
                "cost_before": round(e.cost_before, 1),
                "cost_after": round(e.cost_after, 1),
            }
            for e in pick.effects[:20]
        ],
    }
    if model is not None and model.app_label:
        facts |= {"app": model.app_label, "model": model.name, "latest_migration": model.latest_migration}
        facts["django_index"] = model_index.model_index(spec, name, model) or ""
    return facts


def _rows(look: Look, queryid: str) -> float:
    return look.rows.get(queryid, 0.0)


def _neighbours(look: Look, table: TableKey, affected: set[str], most: int = WATCHED) -> list[dict[str, Any]]:
    """The heaviest other statements on the table: what must not get slower."""
    reading = look.by_table.get(table, ())
    others = [s for s, q in reading if s.queryid not in affected and q.write is None]
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in others[:most]]


def _elsewhere(look: Look, table: TableKey) -> list[dict[str, Any]]:
    """The most called statements that have nothing to do with the table: they tell the machine's load."""
    others = sorted(
        (s for s, q in look.pairs if q.write is None and q.tables and table not in q.tables),
        key=lambda s: (-s.calls, s.queryid),
    )
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in others[:CONTROLS]]


def _writers(look: Look, table: TableKey, most: int) -> list[dict[str, Any]]:
    """The statements that write to the table most: each of its indexes makes them dearer."""
    found = [s for s, q in look.pairs if q.write is not None and q.write.table == table]
    return [payload_query(s.queryid, s.text, s.calls, s.mean_ms, s.rows) for s in found[:most]]


def drops(look: Look, source: Source, chosen: Selection, terms: Terms) -> list[Proposal]:
    """The indexes to drop: redundant ones and those nothing uses, where no statement gets dearer for it."""
    coming = {p.candidate.spec: names.index_name(p.candidate.spec) for p in chosen.picks}
    found: list[Proposal] = []
    # On a small table an index costs nothing worth a change.
    for table in (t for t in look.catalog.tables.values() if t.rows >= candidate_rules.ROW_FLOOR):
        thought_of = (
            *drop_rules.redundant(table, coming),
            *drop_rules.unused(table, look.evidence, terms.now),
        )
        found += [
            _drop(d, look, terms.alias) for d in thought_of if _harmless(d, look, source, frozenset(coming))
        ]
    return found


def _harmless(drop: drop_rules.Drop, look: Look, source: Source, added: frozenset[IndexSpec]) -> bool:
    """No statement gets more than a twentieth dearer without it."""
    for statement, query in look.by_table.get(drop.table.key, ()):
        if query.blocks:
            relevant = frozenset(s for s in added if s.table in query.tables)
            having = source.cost(statement.queryid, relevant)
            if source.cost_without(statement.queryid, relevant, drop.index.spec) > 1.05 * having + 1.0:
                return False
    return True


def _drop(drop: drop_rules.Drop, look: Look, alias: str) -> Proposal:
    index, table = drop.index, drop.table
    _, _, body = index.definition.partition(" USING ")
    return Proposal(
        area=AREA,
        kind="index_drop",
        key=f"{table.schema}.{index.name}",
        title=f"Drop {index.name} of {table.key}",
        why=f"It only costs: {drop.because}.",
        evidence={
            "table": table.key,
            "size_bytes": index.bytes,
            "scans": index.scans,
            "definition": index.definition,
            "covered_by": drop.covered_by,
        },
        cost="",
        risk="medium",
        how=names.drop_sql(table.schema, index.name, concurrently=table.kind != "partitioned"),
        undo=index.definition,
        payload={
            "alias": alias,
            "schema": table.schema,
            "table": table.name,
            "name": index.name,
            "body": f"USING {body}",
            "bytes": index.bytes,
            "definition": index.definition,
            "covered_by": drop.covered_by,
            "queries": _neighbours(look, table.key, set()),
        },
    )
