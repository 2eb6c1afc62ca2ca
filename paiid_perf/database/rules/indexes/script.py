"""A workload from a file of SQL: statements that end in ``;``, with what their comments tell of calls and time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paiid_perf.database.index_types import Statement
from paiid_perf.database.rules.indexes.texts import normalised, pieces, without_comments

#: In a comment of the statement: ``-- calls=500 mean_ms=12.5 rows=3`` (rows: of a call).
_HINT = re.compile(r"\b(calls|mean_ms|rows)\s*=\s*(\d+(?:\.\d+)?)", re.IGNORECASE)


def statements(text: str) -> tuple[Statement, ...]:
    """The statements of a file, in order, normalised, with their constants as samples.

    One without a hint counts as one call, of a time that nobody knows (0).
    """
    found = [(piece, _hints(piece)) for piece in _split(text) if without_comments(piece)]
    return tuple(statement(f"file:{n}", piece, **hints) for n, (piece, hints) in enumerate(found, 1))


def statement(
    queryid: str, text: str, calls: float = 1.0, mean_ms: float = 0.0, rows: float = 0.0
) -> Statement:
    """One statement as if pg_stat_statements had counted it; ``rows`` are a call's."""
    bare, constants = normalised(text)
    samples = (constants,) if constants else ()
    return Statement(queryid, bare, calls, calls * mean_ms, calls * rows, samples=samples)


def _split(text: str) -> Iterator[str]:
    """The text cut at each ``;`` that stands in no string, name or comment."""
    part: list[str] = []
    for piece, plain in pieces(text):
        if not plain:
            part.append(piece)
            continue
        *ended, rest = piece.split(";")
        for end in ended:
            yield "".join([*part, end])
            part = []
        part.append(rest)
    yield "".join(part)


def _hints(piece: str) -> dict[str, float]:
    comments = "".join(text for text, plain in pieces(piece) if not plain and text.startswith(("--", "/*")))
    return {name.lower(): float(value) for name, value in _HINT.findall(comments)}
