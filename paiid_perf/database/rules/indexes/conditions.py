"""The conditions of a plan's node, as EXPLAIN writes them: ``((day > 1476) AND (state = 'TN'::text))``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paiid_perf.database.index_types import Op, Predicate

_QUOTED = r"'(?:[^']|'')*'"
_CONJUNCT = re.compile(
    r"""\(*"?(?P<column>\w+)"?\)?(?:::[\w ]+)?(?:\(\d+\))?\)*\s*
    (?P<operator>=|<=|>=|<|>|~~|IS\ NULL|IS\ NOT\ NULL)\s*(?P<value>.*)""",
    re.VERBOSE | re.DOTALL,
)
_LITERAL = re.compile(rf"\(*(?P<text>{_QUOTED}|-?[\d.]+)\)?(?:::[^()]+(?:\(\d+\))?)?\)*", re.DOTALL)
_LIST = re.compile(rf"ANY \((?P<text>{_QUOTED})(?:::[^()]+(?:\(\d+\))?(?:\[\])?)\)", re.DOTALL)
_TOKEN = re.compile(rf"{_QUOTED}|[()]| AND ", re.DOTALL)
_OPERATORS: dict[str, Op] = {"=": "eq", "~~": "like", "IS NULL": "null", "IS NOT NULL": "notnull"}


def conjuncts(text: str) -> list[str]:
    """The conditions that all have to hold."""
    if not (text.startswith("((") and text.endswith(")")):
        return [text] if text else []
    found, depth, began = [], 0, 1
    for token in _TOKEN.finditer(text, 1, len(text) - 1):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0 and token[0] == " AND ":
            found.append(text[began : token.start()])
            began = token.end()
    return [*found, text[began:-1]]


def predicates(text: str) -> Iterator[Predicate]:
    """Those of the conditions that compare a column; what it is compared with is None where that is no constant."""
    for conjunct in conjuncts(text):
        found = _CONJUNCT.fullmatch(conjunct)
        if found:
            yield _predicate(found["column"], found["operator"], found["value"].removesuffix(")"))


def _predicate(column: str, operator: str, value: str) -> Predicate:
    if operator in {"<", "<=", ">", ">="}:
        bound = _literal(value)
        values = (bound, "") if operator.startswith(">") else ("", bound)
        return Predicate(column, True, "range", values)
    listed = _LIST.fullmatch(value)
    if listed:
        return Predicate(column, True, "in", tuple(_elements(listed["text"][1:-1])))
    if operator == "=" and value.startswith("ANY"):
        return Predicate(column, True, "in", (None,) * 10)
    return Predicate(column, True, _OPERATORS[operator], (_literal(value),))


def _elements(array: str) -> list[str]:
    """The elements of an array's text; commas within quotes are rare enough to be miscounted."""
    return [e.strip('"') for e in array.strip("{}").replace("''", "'").split(",")]


def _literal(value: str) -> str | None:
    found = _LITERAL.fullmatch(value)
    if found is None:
        return None
    text = found["text"]
    return text[1:-1].replace("''", "'") if text.startswith("'") else text
