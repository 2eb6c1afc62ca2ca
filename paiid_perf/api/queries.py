"""The queries of a block of code, and what is wrong with them: for tests (``paiid_perf.testing``), not for requests."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import connections
from django.db.models import BinaryField, JSONField, Model, TextField
from django.db.models.query_utils import DeferredAttribute

from paiid_perf.api.relations import followed
from paiid_perf.api.rules import suggestion
from paiid_perf.api.types import RepeatFacts
from paiid_perf.telemetry.trace import asked, caller, is_unlimited, mark_of_params

#: What can be long, and so is worth leaving out where nothing reads it.
WIDE = (TextField, JSONField, BinaryField)
#: Unread columns of a model from which on its rows are called wide although none of them is long.
MANY_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Sent:
    """One statement, the host's line of code that sent it, and the rows it gave (-1: not known)."""

    sql: str
    mark: int
    """The same for the same parameters."""
    line: str
    rows: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a block's queries do for nothing; ``how`` is the code that would not."""

    kind: Literal["n+1", "duplicate", "unpaged", "wide"]
    line: str
    asked: str
    times: int
    """Runs of the statement; of ``unpaged`` and ``wide``, rows."""
    how: str

    def __str__(self) -> str:
        how = "\n    ".join(self.how.splitlines())
        return f"{self.kind}: {self.asked} × {self.times}, from {self.line}\n    {how}"


@dataclass(slots=True)
class Queries:
    """What a block has asked the database so far, and which loaded columns nobody has read."""

    sent: list[Sent] = field(default_factory=list)
    loaded: defaultdict[type[Model], int] = field(default_factory=lambda: defaultdict(int))
    """Rows by model."""
    unread: dict[type[Model], set[str]] = field(default_factory=dict)
    read: defaultdict[type[Model], set[str]] = field(default_factory=lambda: defaultdict(set))

    def __len__(self) -> int:
        return len(self.sent)

    def repeats(self, times: int = 3) -> list[Finding]:
        """Statements that were run ``times`` times or more from one line: N+1, and the same question again."""
        runs: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for one in self.sent:
            runs[one.sql, one.line].append(one.mark)
        return [
            *(_repeat("n+1", k, len(m)) for k, m in runs.items() if len(m) >= times and len({*m}) > 1),
            *(_repeat("duplicate", k, len(m)) for k, m in runs.items() if len(m) > 1 and len({*m}) == 1),
        ]

    def unpaged(self, rows: int = 100) -> list[Finding]:
        """SELECTs without a LIMIT that gave ``rows`` rows or more."""
        long = {(s.sql, s.line): s.rows for s in self.sent if s.rows >= rows and is_unlimited(s.sql)}
        return [
            Finding("unpaged", line, asked(sql), n, "Paginator(queryset, 100)")
            for (sql, line), n in long.items()
        ]

    def wide(self, rows: int = 10) -> list[Finding]:
        """Models of which ``rows`` rows or more were loaded with long columns, or many, that nothing read."""
        return [found for model, n in self.loaded.items() if n >= rows and (found := self._wide(model, n))]

    def findings(self) -> list[Finding]:
        """All of them."""
        return [*self.repeats(), *self.unpaged(), *self.wide()]

    def _wide(self, model: type[Model], rows: int) -> Finding | None:
        left = self.unread.get(model, set()) - self.read[model]
        fields = [f for f in model._meta.concrete_fields if f.attname in left and not f.primary_key]
        long = [f.name for f in fields if isinstance(f, WIDE)]
        if not long and len(fields) < MANY_COLUMNS:
            return None
        names = ", ".join(f'"{name}"' for name in (long or [f.name for f in fields]))
        table = model._meta.db_table
        line = next((s.line for s in self.sent if f'FROM "{table}"' in s.sql), "?")
        return Finding("wide", line, table, rows, f".defer({names})")


def _repeat(kind: Literal["n+1", "duplicate"], run: tuple[str, str], times: int) -> Finding:
    sql, line = run
    what = asked(sql)
    fetch, relations = followed(what) if kind == "n+1" else ("once", ())
    how = suggestion(RepeatFacts(line, what, times, 1, fetch, relations))
    return Finding(kind, line, what, times, how.partition("\n")[2])


@contextmanager
def watched_queries() -> Iterator[Queries]:
    """Watch this thread's queries on every connection, and which columns of what they load are read."""
    queries = Queries()

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        try:
            return execute(sql, params, many, context)
        finally:
            rows = getattr(context["cursor"], "rowcount", -1)
            line = caller(sys._getframe(1))
            if not sql.startswith(("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO")):
                queries.sent.append(Sent(sql, mark_of_params(params), line, rows))

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(note))
        stack.enter_context(_watched_columns(queries))
        yield queries


@contextmanager
def _watched_columns(queries: Queries) -> Iterator[None]:
    """Have Django's column descriptors asked for each read, and count what is loaded."""
    column: Any = DeferredAttribute
    model: Any = Model
    plain_get, plain_load = column.__get__, Model.__dict__["from_db"]

    def get(self: Any, instance: Any, cls: Any = None) -> Any:
        if instance is not None:
            queries.read[type(instance)].add(self.field.attname)
        return plain_get(self, instance, cls)

    def put(self: Any, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value

    def load(cls: type[Model], db: str | None, names: Sequence[str], *values: Any, **more: Any) -> Any:
        queries.loaded[cls] += 1
        queries.unread.setdefault(cls, set()).update(names)
        return plain_load.__func__(cls, db, names, *values, **more)

    # With a setter the descriptor goes before the instance's own dict, and is asked.
    column.__get__, column.__set__, model.from_db = get, put, classmethod(load)
    try:
        yield
    finally:
        column.__get__, model.from_db = plain_get, plain_load
        del column.__set__
