"""Which parts of long values and of large documents are read, so that no input takes long.

A long value: its ends, and what stands around the places that attacks cannot do without. A document with more
suspicious values than can be read: those that hold a sign of an attack, a few of each sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise

#: Characters of a value that are read in full; longer ones are read in excerpts.
FULL = 4_096
_ENDS = 1_024
_WINDOW = 120
_WINDOWS = 9
#: What reading the values of one document may cost: characters, and COST for each value (together some milliseconds).
BUDGET = 1_700
COST = 20
#: Past it, values longer than this are read around signs of an attack, in this many places.
WHOLE = 400
PARTS = 4
#: Values that are read for one sign's sake.
VALUES_OF_A_SIGN = 8
#: What most attacks hold one of and few texts do, the clearest first.
_SIGNS = (
    "alert(", "(select", "onerror", "<svg", "onload", "'='", "'=", "<iframe", "<script", "onfocus", "onmouse",
    "onclick", "script:", "constructor", "@@", "pg_", "dbms_", "utl_", "xp_", "sleep(", "benchmark(",
    "waitfor", "concat(", "or(", "'||", "||'", "' ||", "'+", "'--", "'#", "';", "')", "><", "\">", "src=", "href=",
    "eval(", "1=1", "%3c", "&#", "\\x3c", "\\u00", "select", "union",
    ") or", ") and", "' or", "' and", " or 1", " and 1", "\" or", "/*", "'-", "||", "{{", "${", "../", "%27", "=1",
    "--", "<", "(", "'", '"', ";",
)  # fmt: skip
#: What an attack in the middle of a long value cannot do without; plain searches, because these read all of it.
_ANCHORS = (
    " or ",
    " and ",
    "union",
    "select",
    "sleep",
    "waitfor",
    "||",
    ";",
    "--",
    "<",
    "script:",
    "onerror",
)


def excerpts(text: str) -> list[str]:
    """The ends of a long value and what stands around suspicious places between them."""
    lowered = text.lower()
    places = sorted(place for anchor in _ANCHORS for place in _places(lowered, anchor))
    apart = [place for before, place in pairwise([0, *places]) if place - before > 8]
    windows = [lowered[place - lead : place + _WINDOW] for place in apart[:_WINDOWS] for lead in (8, 0)]
    return list(dict.fromkeys([text[:_ENDS], text[-_ENDS:], *windows]))


def _places(text: str, anchor: str) -> Iterator[int]:
    """The first two and the last place of an anchor between the ends, a window apart."""
    start, stop = _ENDS, len(text) - _ENDS
    yield from (place for place in (text.rfind(anchor, start, stop),) if place >= 0)
    for _ in range(2):
        start = text.find(anchor, start, stop)
        if start < 0:
            return
        yield start
        start += _WINDOW


def read_of(values: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """What is read of each of many different suspicious values: the value itself, or where reading all of them would
    take longer than a request may, what stands around signs of an attack in some of them and nothing of the others."""
    if len(values) * COST + sum(map(len, values)) <= BUDGET:
        return {value: (value,) for value in values}
    return _likeliest(values)


def _likeliest(values: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    left = BUDGET
    for value, part in chain(
        _with_signs("\x1f" + "\x1f".join(values) + "\x1f"), ((value, value[:WHOLE]) for value in values)
    ):
        parts = found.setdefault(value, [])
        if len(parts) < PARTS and part not in parts:
            left -= COST + len(part)
            if left < 0:
                break
            parts.append(part)
    return found


def _with_signs(text: str) -> Iterator[tuple[str, str]]:
    """(value, what is read around the sign in it) of the first values that each sign is in, and of the last."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    for sign in _SIGNS:
        for at in _in_different(lowered, sign):
            start, end = text.rfind("\x1f", 0, at) + 1, text.find("\x1f", at)
            near = (
                slice(max(start, at - 8), min(end, at + _WINDOW))
                if end - start > WHOLE
                else slice(start, end)
            )
            yield text[start:end], text[near]


def _in_different(text: str, sign: str) -> Iterator[int]:
    """Where the sign first is in up to VALUES_OF_A_SIGN values, and its last place."""
    last, at = text.rfind(sign), -1
    if last < 0:
        return
    yield last
    for _ in range(VALUES_OF_A_SIGN):
        at = text.find(sign, at + 1)
        if at < 0:
            return
        yield at
        at = text.find("\x1f", at)
