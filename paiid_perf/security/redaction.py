"""Samples that show what an attack looks like without keeping what was sent."""

from __future__ import annotations

import re

_SYNTAX_WORDS = """
    select union all from where and or not null like in is having order group by limit insert into
    update delete drop create alter table set values exec declare waitfor delay sleep benchmark script
    svg img iframe object embed style href src alert eval javascript data onerror onload onclick
    onmouseover onfocus true false
"""
#: Words of SQL and HTML that are the shape of an attack, not its content.
_SYNTAX = frozenset(_SYNTAX_WORDS.split())
_WORD = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
#: What no log line, and no column, can hold: control characters, and halves of a pair that is no character.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]+")


def redact(value: str, length: int = 80) -> str:
    """At most ``length`` characters of the value's shape: words of syntax stay, others become ``x``, digits ``9``.

    >>> redact("x' OR name='alice' --")
    "x' OR x='x' --"
    """
    shape = _CONTROL.sub(" ", value[: length * 4])
    shape = _WORD.sub(lambda m: m[0] if m[0].lower() in _SYNTAX else "x", _DIGIT.sub("9", shape))
    return shape if len(shape) <= length else shape[: length - 1] + "…"


def one_line(text: str, length: int) -> str:
    """The text without control characters, cut to ``length``: safe for a log line and a column."""
    return _CONTROL.sub(" ", text[:length])
