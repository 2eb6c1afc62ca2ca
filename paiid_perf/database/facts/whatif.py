"""What-if through the planner itself, where HypoPG is installed: hypothetical indexes and EXPLAIN.

Hypothetical indexes live in the session's memory: nothing is written, no lock is taken, nobody else sees them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import geometric_mean
from typing import Any

import psycopg

from paiid_perf.database.facts import plans
from paiid_perf.database.index_types import Catalog, IndexSpec, Query, Statement, Table
from paiid_perf.database.rules.indexes import names
from paiid_perf.database.rules.indexes.reckon import Facts, believed, planned, reckoned
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.session import Session, trusted

#: Access methods that HypoPG can imagine (1.3); the cost model stands in for the others.
METHODS = frozenset({"btree", "hash", "brin"})
_CREATE = psycopg.sql.SQL(
    "SELECT h.indexname FROM unnest({}::text[]) AS body, LATERAL hypopg_create_index(body) AS h"
)
_SAVEPOINT = "paiid_perf_imagined"
#: How often the planner chooses among a statement's candidates, those chosen before taken away; FEW need no choosing.
ROUNDS, FEW = 5, 3
#: A statement's row count tells which constants it is asked with where those of others would return so many times more.
CLEARLY = 4.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the planner said to one question."""

    offered: frozenset[IndexSpec]
    used: frozenset[IndexSpec]
    share: float
    """The share of the text's time that is believed to be left."""


#: What is offered nothing uses nothing, and takes all its time.
NOTHING = _Answer(frozenset(), frozenset(), 1.0)


@dataclass(slots=True)
class _Text:
    """A statement with constants, and what the planner says of it: its cost, processor time and rows as things are."""

    sql: str
    planned: float
    work: float
    rows: float
    answers: list[_Answer] = field(default_factory=lambda: [NOTHING])

    def implied(self, offered: frozenset[IndexSpec]) -> _Answer | None:
        """What the answers to other questions say: the best plan of many indexes is the best of any of them that
        include those it uses."""
        return next((a for a in self.answers if a.used <= offered <= a.offered), None)


class HypotheticalCosts:
    """Costs by HypoPG, memoised per statement and set of indexes on its tables. Use it inside ``opened()``."""

    name = "hypopg"

    def __init__(
        self,
        session: Session,
        pairs: Sequence[tuple[Statement, Query]],
        catalog: Catalog,
        model: EstimatedCosts,
    ) -> None:
        self._session = session
        self._connection: psycopg.Connection[Any] | None = None
        self._catalog = catalog
        self._model = model
        self._statements = {s.queryid: s for s, _ in pairs}
        self._queries = {s.queryid: q for s, q in pairs}
        self._tables = {s.queryid: q.tables & catalog.tables.keys() for s, q in pairs}
        self._texts: dict[str, Sequence[_Text]] = {}
        self._known: dict[tuple[str, frozenset[IndexSpec]], float] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """One read-only transaction around all the questions; the hypothetical indexes end with it."""
        with self._session.reading() as connection:
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None
                connection.execute("SELECT hypopg_reset()")

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        """One execution's cost with the added indexes, by the planner; by the model where that cannot be asked.

        What HypoPG cannot imagine (GIN) changes the cost by the ratio that the model gives.
        """
        key = (queryid, added)
        if key not in self._known:
            self._known[key] = self._cost(queryid, added)
        return self._known[key]

    def _cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        possible = frozenset(s for s in added if self._imaginable(s))
        if possible != added:
            return self.cost(queryid, possible) * self._ratio(queryid, added, possible)
        texts = self._asked_with(queryid)
        if not texts:
            return self._model.cost(queryid, added)
        answers = [self._answer(queryid, text, possible) for text in texts]
        if None in answers:
            return texts[0].planned * self._ratio(queryid, added, frozenset())
        return texts[0].planned * geometric_mean(a.share for a in answers if a)

    def _answer(self, queryid: str, text: _Text, offered: frozenset[IndexSpec]) -> _Answer | None:
        """What a text does with the indexes; None where the server refuses to say."""
        known = text.implied(offered)
        if known is not None:
            return known
        specs = sorted(offered, key=repr)
        plan = self._explained(text.sql, specs)
        if plan is None:
            return None
        facts = Facts(self._by_name(queryid), {f"<{n}>": s for n, s in enumerate(specs)})
        share = believed(planned(plan, facts) / text.planned, reckoned(plan, facts) / text.work)
        answer = _Answer(offered, _picked(plan, specs), share)
        text.answers.append(answer)
        return answer

    def _asked_with(self, queryid: str) -> Sequence[_Text]:
        """The statement with constants: usual ones, and rare ones where values are skewed; where its calls tell by the
        rows they return which of both they mean, that alone."""
        if queryid not in self._texts:
            statement = self._statements[queryid]
            texts = plans.texts_of(self._session, statement, self._queries[queryid], self._catalog)
            found = [t for sql in texts if (t := self._bare(queryid, sql))]
            self._texts[queryid] = _meant(found, statement)
        return self._texts[queryid]

    def _bare(self, queryid: str, sql: str) -> _Text | None:
        plan = self._explained(sql, ())
        if plan is None:
            return None
        facts = Facts(self._by_name(queryid), {})
        cost, work = planned(plan, facts), reckoned(plan, facts)
        return _Text(sql, max(cost, 0.01), max(work, 1e-6), _returned(plan))

    def _by_name(self, queryid: str) -> Mapping[str, Table]:
        return {self._catalog.tables[t].name: self._catalog.tables[t] for t in self._tables[queryid]}

    def _ratio(self, queryid: str, having: frozenset[IndexSpec], without: frozenset[IndexSpec]) -> float:
        base = self._model.cost(queryid, without)
        return self._model.cost(queryid, having) / base if base > 0 else 1.0

    def cost_without(self, queryid: str, added: frozenset[IndexSpec], gone: IndexSpec) -> float:
        """The same with an existing index gone, by the ratio that the model gives (HypoPG 1.3 hides none)."""
        base = self._model.cost(queryid, added)
        ratio = self._model.cost_without(queryid, added, gone) / base if base > 0 else 1.0
        return self.cost(queryid, added) * ratio

    def promising(self, queryid: str, offered: Sequence[IndexSpec]) -> Sequence[IndexSpec]:
        """Those that the planner picks when it has them all; then of the others; and so on for ROUNDS rounds.

        What covers is offered apart from what does not: it is always picked first, and may be refused later.
        """
        if len(offered) <= FEW:
            return offered
        plain = self._rounds(queryid, [s for s in offered if not s.include])
        covering = self._rounds(queryid, [s for s in offered if s.include])
        if plain is None or covering is None:
            return offered
        return [s for s in offered if s in plain or s in covering]

    def _rounds(self, queryid: str, offered: Sequence[IndexSpec]) -> set[IndexSpec] | None:
        found = {s for s in offered if not self._imaginable(s)}
        for _ in range(ROUNDS):
            used = self.used(queryid, [s for s in offered if s not in found])
            if used is None:
                return None
            if not used:
                break
            found |= used
        return found

    def used(self, queryid: str, offered: Sequence[IndexSpec]) -> frozenset[IndexSpec] | None:
        """Of all those offered at once, the ones that the planner picks; None where it cannot be asked."""
        if not offered:
            return frozenset()
        told = [self._answer(queryid, text, frozenset(offered)) for text in self._asked_with(queryid)]
        picked = [answer.used for answer in told if answer is not None]
        return frozenset[IndexSpec]().union(*picked) if picked else None

    def _imaginable(self, spec: IndexSpec) -> bool:
        return spec.method in METHODS and self._catalog.tables[spec.table].kind != "partitioned"

    def _explained(self, sql: str, specs: Sequence[IndexSpec]) -> Mapping[str, Any] | None:
        """The plan with the indexes imagined; index names in it begin with ``<n>``, their place in ``specs``."""
        if self._connection is None:
            return None
        try:
            shown, named = self._asked(sql, specs)
        except psycopg.Error:
            if self._session.is_broken:
                raise
            self._connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            return None
        found = json.loads(shown) if isinstance(shown, str) else shown
        return _renamed(found[0]["Plan"], {name: n for n, name in enumerate(named)})

    def _asked(self, sql: str, specs: Sequence[IndexSpec]) -> tuple[Any, list[str]]:
        """The plan, and what HypoPG calls the indexes; all in one message, as there are thousands of questions.

        Raises:
            psycopg.Error: the server refuses one of them; the savepoint is still there.
        """
        assert self._connection is not None
        bodies = [names.create_sql(s, "imagined", concurrently=False) for s in specs]
        questions = [
            f"SAVEPOINT {_SAVEPOINT}",
            "SELECT hypopg_reset()",
            *([_CREATE.format(bodies).as_string()] if bodies else []),
            f"EXPLAIN (FORMAT JSON) {sql}",
            f"RELEASE SAVEPOINT {_SAVEPOINT}",
        ]
        cursor = self._connection.execute(trusted(";\n".join(questions)))
        shown: list[list[Any]] = []
        while True:
            if cursor.description:
                shown.append([next(iter(_values(row))) for row in cursor.fetchall()])
            if not cursor.nextset():
                return shown[-1][0], [str(name) for name in shown[1]] if bodies else []


def _returned(plan: Mapping[str, Any]) -> float:
    """Rows that the planner expects a call to return."""
    return max(1.0, float(plan["Plan Rows"]))


def _meant(texts: Sequence[_Text], statement: Statement) -> Sequence[_Text]:
    """Of two texts the one whose rows are what calls return, where the other is off by CLEARLY times as much."""
    if len(texts) < 2 or not statement.calls:
        return texts
    actual = max(statement.rows_per_call, 1.0)
    off = [abs(math.log(t.rows / actual)) for t in texts]
    if abs(off[0] - off[1]) < math.log(CLEARLY):
        return texts
    return [texts[off.index(min(off))]]


def _values(row: Any) -> Sequence[Any]:
    return tuple(row.values()) if isinstance(row, dict) else tuple(row or ())


def _renamed(plan: dict[str, Any], own: Mapping[str, int]) -> dict[str, Any]:
    name = str(plan.get("Index Name", ""))
    if name in own:
        plan["Index Name"] = f"<{own[name]}>"
    for child in plan.get("Plans", ()):
        _renamed(child, own)
    return plan


def _picked(plan: Mapping[str, Any], offered: Sequence[IndexSpec]) -> frozenset[IndexSpec]:
    """Those of the offered indexes that a plan uses."""
    names_used = set(_index_names(plan))
    return frozenset(s for n, s in enumerate(offered) if f"<{n}>" in names_used)


def _index_names(plan: Mapping[str, Any]) -> Iterator[str]:
    if "Index Name" in plan:
        yield plan["Index Name"]
    for child in plan.get("Plans", ()):
        yield from _index_names(child)
