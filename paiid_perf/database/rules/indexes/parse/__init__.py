"""From SQL text to blocks of relations, predicates, joins and sort orders.

sqlglot (MIT) parses; names are resolved here against the catalogue. Sub-queries, CTEs and views are flattened where
PostgreSQL's planner flattens them (prepjointree.c), so that a predicate lands on the table that it filters.

The rooms, each on top of the one before: ``trees`` (looks at sqlglot's nodes) → ``canonical`` (one spelling) →
``draft`` (what a block is while it grows) → ``names`` (columns and literals) → ``predicates`` → ``where_clause`` →
``from_clause`` → ``select_list`` → ``statements``.
"""

from paiid_perf.database.rules.indexes.parse.canonical import canonical, canonical_conjuncts, canonical_sql
from paiid_perf.database.rules.indexes.parse.draft import Bindings, Unparsable
from paiid_perf.database.rules.indexes.parse.statements import parse

__all__ = ["Bindings", "Unparsable", "canonical", "canonical_conjuncts", "canonical_sql", "parse"]
