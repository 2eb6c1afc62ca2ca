"""Reading one canonical conjunct back, and whether a query's predicates imply a partial index's."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from paiid_perf.database.index_types import Catalog, IndexSpec, Predicate, Table
from paiid_perf.database.rules.indexes.parse import Unparsable, canonical_conjuncts, parse

#: Parsed only, never sent to a server.
_WRAPPED = "SELECT 1 FROM one WHERE {}"


def read_conjunct(text: str, table: Table) -> Predicate:
    """The predicate that a conjunct on one table says; an "other" where it cannot be read."""
    try:
        query = parse(_WRAPPED.format(text), Catalog({"one": table}, {"one": "one"}))
    except Unparsable:
        return Predicate("", False, "other", text=text)
    found = query.blocks[0].relations[0].predicates
    return found[0] if found else Predicate("", False, "other", text=text)


def implied(spec: IndexSpec, predicates: Iterable[Predicate]) -> bool:
    """Whether rows that satisfy the predicates are all in the (partial) index.

    Like predtest.c in its plain cases: an equal conjunct, a strict operator for IS NOT NULL, a value within an IN.
    """
    found = tuple(predicates)
    texts = {p.text for p in found}
    strict = {
        c
        for p in found
        if p.op not in {"null", "or", "not", "asked", "other"}
        for c in ((p.key,) if p.is_column else ())
    }
    return all(
        conjunct in texts or _not_null(conjunct) in strict or _within(conjunct, texts)
        for conjunct in spec.predicate
    )


def _not_null(conjunct: str) -> str:
    name, _, rest = conjunct.rpartition(" IS NOT NULL")
    if rest or not name:
        name = conjunct.removeprefix("NOT ").removesuffix(" IS NULL") if conjunct.startswith("NOT ") else ""
    return name.strip('"')


@lru_cache(maxsize=4096)
def _spellings(conjunct: str) -> frozenset[str]:
    return frozenset(canonical_conjuncts(conjunct))


def _within(conjunct: str, texts: set[str]) -> bool:
    """``status IN ('a', 'b')`` is implied by ``status = 'a'``."""
    head, separator, tail = conjunct.partition(" IN (")
    if not separator:
        return False
    return any(f"{head} = {value.strip()}" in texts for value in tail.rstrip(")").split(","))
