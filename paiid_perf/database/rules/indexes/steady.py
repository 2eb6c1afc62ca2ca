"""Which expressions PostgreSQL lets an index have: those whose value never changes for the same row.

As far as their text, their columns' types and the volatility of the functions that they call tell ("Function Volatility
Categories" in the manual). What reads or writes a date or a moment as text depends on DateStyle, and what truncates a
moment with a time zone depends on the session's, unless the text names one.
"""

from __future__ import annotations

import re
from collections.abc import Set

from paiid_perf.database.index_types import Column, Table
from paiid_perf.database.rules.indexes.texts import SOME_FIELD

#: Literals, and names in quotes (the columns).
_STRING = re.compile(r"'(?:[^']|'')*'")
_NAME = re.compile(r'"((?:[^"]|"")+)"')
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
#: Depends on who asks, or when, or by which settings.
_UNSTEADY = re.compile(
    r"\b(NOW|CURRENT_\w+|SESSION_USER|USER|LOCALTIME\w*|(?:CLOCK|STATEMENT|TRANSACTION)_TIMESTAMP|TIMEOFDAY|RANDOM"
    r"|TO_CHAR|TO_DATE|TO_TIMESTAMP|AGE)\b",
    re.IGNORECASE,
)
#: Functions of which some overloads are immutable; which one it is, the other rules tell.
_MIXED = frozenset({"cast", "date", "date_part", "date_trunc", "extract", "timezone", "to_tsvector"})
_OF_TIME = re.compile(r"DATE_TRUNC|DATE_PART|EXTRACT|CAST\(|DATE\(|::", re.IGNORECASE)
_TO_TIME = re.compile(r"\bAS (?:DATE|TIME\w*|INTERVAL)\b|::\s*(?:date|time\w*|interval)\b", re.IGNORECASE)
_TO_ZONED = re.compile(r"\bAS TIMESTAMPTZ\b|\bWITH TIME ZONE\b", re.IGNORECASE)
_TO_TEXT = re.compile(r"\bAS (?:TEXT|VARCHAR|CHAR)\b|::\s*(?:text|varchar|char)\b", re.IGNORECASE)
#: Without a configuration that it names, the text search depends on ``default_text_search_config``.
_SEARCH = re.compile(r"TO_TSVECTOR\((?!\s*'')", re.IGNORECASE)

#: Which field of a moment it is, the counters did not keep.
_UNKNOWN = re.compile(rf"EXTRACT\({SOME_FIELD} ", re.IGNORECASE)


def immutable(sql: str, table: Table, unsteady: Set[str] = frozenset()) -> bool:
    """Whether an expression over the table's columns (quoted in it) may be indexed.

    ``unsteady``: functions (in lower case) that the server has and does not call immutable in every form.
    """
    bare = _NAME.sub("", _STRING.sub("''", sql))
    if _UNSTEADY.search(bare) or _SEARCH.search(bare) or _UNKNOWN.search(bare):
        return False
    if {name.lower() for name in _CALL.findall(bare)} & (unsteady - _MIXED):
        return False
    names = (name.replace('""', '"') for name in _NAME.findall(_STRING.sub("''", sql)))
    return _casts_steadily(bare, [table.columns[name] for name in names if name in table.columns])


def _casts_steadily(sql: str, columns: list[Column]) -> bool:
    if "AT TIME ZONE" in sql.upper():
        return True
    if any("with time zone" in c.type for c in columns) and _OF_TIME.search(sql):
        return False
    times = [c.family == "time" for c in columns]
    if _TO_ZONED.search(sql) or (_TO_TIME.search(sql) and not all(times)):
        return False
    return not (_TO_TEXT.search(sql) and any(times))


def calls(text: str) -> set[str]:
    """The functions that a statement calls (and other words before a parenthesis), in lower case."""
    return {name.lower() for name in _CALL.findall(text)}
