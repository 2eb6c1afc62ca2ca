"""What a request value carries: ``detect(text)`` says whether it is an SQL injection or active HTML.

Pure and linear: a prefilter of substring searches lets ordinary values go in microseconds, structure is looked at only
in what is left, and of a very long value only its ends and the neighbourhoods of suspicious places are read. This
is a signal, no shield: parameterised SQL and output encoding are the defence.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from paiid_perf.security.sqli import is_sqli
from paiid_perf.security.xss import is_xss

SQLI = "sqli"
XSS = "xss"
NOTHING: frozenset[str] = frozenset()

#: Characters of a value that are read in full; longer ones are read in excerpts.
FULL = 8_192
_WINDOW = 160
_WINDOWS = 24
#: JSON nested deeper than this is not a document that a form sends.
MAX_DEPTH = 200

_SUSPECT_CHARACTER = re.compile("[<'\"`;=(|&#*@%‘’“”′´＇＂＜+\\\\]|--|on\\w+=|:")
_SUSPECT_WORDS = ("union", "select", "like", "having", "waitfor", "regexp", "between", "order by")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_ENTITY = re.compile(r"&(?:#\d{2}|#x[0-9a-f]{2}|lt|gt|quot|apos|colon|tab|newline|lpar|amp)", re.I)
_ESCAPED_QUOTE = re.compile(r"\\+(?=['\"])")
_XML_VALUE = re.compile(r"=\s*\"([^\"]*)\"|=\s*'([^']*)'|>([^<]+)<")
_ANCHOR = re.compile(
    r"<[a-z/!?%]|union|select|sleep|waitfor|script:|;\s*(?:drop|exec|insert|update|delete|declare)|['\"]\W{0,4}(?:or|and|\|\|)"
    r"|\b(?:or|and)\W+[\d'\"]|\bon[a-z]+\s*=",
    re.I,
)


def detect(text: str) -> frozenset[str]:
    """The attacks that ``text`` carries, a subset of ``{"sqli", "xss"}``; it never raises on any string."""
    if not is_suspect(text):
        return NOTHING
    leaves = _document(text)
    if leaves is None:
        return _in_value(text)
    return detect_all(leaves)


def detect_all(values: list[str]) -> frozenset[str]:
    """What the values of one document carry together."""
    if not is_suspect("\n".join(values)):
        return NOTHING
    found: set[str] = set()
    for value in values:
        if is_suspect(value):
            found |= _in_value(value)
    return frozenset(found)


def is_suspect(text: str) -> bool:
    """The prefilter: False means that nothing in ``text`` could be an attack."""
    if _SUSPECT_CHARACTER.search(text):
        return True
    lowered = text.lower()
    return any(word in lowered for word in _SUSPECT_WORDS)


def leaves_of(document: Any) -> Iterator[str]:
    """Every key and every string of parsed JSON, without recursion; ValueError past MAX_DEPTH."""
    level = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            if isinstance(node, str):
                yield node
            elif isinstance(node, dict):
                yield from node
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        if not below:
            return
        level = below
    raise ValueError("nested too deep")


def _document(text: str) -> list[str] | None:
    """The leaves of a value that is itself a JSON document."""
    if text[:1] not in "{[" or text.rstrip()[-1:] not in "}]":
        return None
    try:
        return list(leaves_of(json.loads(text)))
    except (ValueError, RecursionError):
        return None


def _in_value(text: str) -> frozenset[str]:
    found: set[str] = set()
    for part in [text] if len(text) <= FULL else _excerpts(text):
        for variant in _variants(part.lower()):
            if XSS not in found and is_xss(variant):
                found.add(XSS)
            if SQLI not in found and is_sqli(variant):
                found.add(SQLI)
    return frozenset(found)


def _variants(text: str) -> Iterator[str]:
    """The value as it stands and decoded once, each way that a server or a browser decodes."""
    yield text
    if "%" in text and _PERCENT.search(text):
        yield unquote(text).lower()
    if "&" in text and _ENTITY.search(text):
        yield html.unescape(text).lower()
    if "\\" in text and _ESCAPED_QUOTE.search(text):
        yield _ESCAPED_QUOTE.sub("", text)
    if text.startswith("<?xml"):
        yield from (html.unescape(a or b or c).lower() for a, b, c in _XML_VALUE.findall(text))


def _excerpts(text: str) -> list[str]:
    """The ends of a long value and what begins at suspicious places between them."""
    ends = FULL // 4
    parts = [text[:ends], text[-ends:]]
    at = ends
    while len(parts) < _WINDOWS and (match := _ANCHOR.search(text, at, len(text) - ends)):
        at = match.start() + _WINDOW
        parts.append(text[match.start() : at])
    return parts
