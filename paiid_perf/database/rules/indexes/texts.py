"""Texts of pg_stat_statements: what they leave out is put back so that they parse and can be explained.

pg_stat_statements replaces every constant by ``$n``, also where the grammar takes only a literal (``date $1``,
``interval $2 day``); PostgreSQL 18 squashes lists to ``IN ($1 /*, ... */)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMMENT = re.compile(r"/\*(?!, \.\.\. \*/).*?\*/|--[^\n]*", re.DOTALL)
_SQUASHED = re.compile(r"/\*, \.\.\. \*/")
#: A squashed list is read as one of five: its length is not known.
_LIST = re.compile(r"(\$\d+)\s*/\*, \.\.\. \*/")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")

#: Pattern → replacement, tried in order on text outside quotes. Group 1 is the parameter.
_REPAIRS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\binterval\s+(\$\d+)(?:\s+(?:year|month|day|hour|minute|second)s?\b)?", r"CAST(\1 AS interval)"),
        (
            r"\b(date|timestamptz|timestamp|time|bytea|inet|uuid|jsonb|json|numeric)\s+(\$\d+)",
            r"CAST(\2 AS \1)",
        ),
        (
            r"\b(timestamp|time)\s+(with|without)\s+time\s+zone\s+(\$\d+)",
            r"CAST(\3 AS \1 \2 time zone)",
        ),
        (r"\bextract\s*\(\s*\$\d+\s+from\b", r"EXTRACT(year FROM"),
        (r"(\$\d+)", r" \1 "),
    )
)

_UTILITY = re.compile(
    r"(?:begin|start|commit|rollback|abort|end|savepoint|release|set|reset|show|discard|create|alter|drop|grant|revoke"
    r"|vacuum|analyze|reindex|cluster|copy|explain|prepare|deallocate|listen|notify|unlisten|lock|truncate|checkpoint"
    r"|comment|declare|fetch|move|close|do|call|load|refresh|import|security|reassign|execute)\b",
    re.IGNORECASE,
)
#: Other tools' looks at the server, and our own.
_TOOLS = re.compile(
    r"\bpg_catalog\.|\bpg_[a-z_]+\b|\binformation_schema\.|\bhypopg|\bpaiid_perf_|\bdjango_migrations\b"
)


def without_comments(text: str) -> str:
    """The statement without comments (sqlcommenter's, say), its squashed lists as they are."""
    return _COMMENT.sub(" ", text).strip().rstrip(";").strip()


def repaired(text: str) -> str:
    """The statement as SQL that parses, with ``$n`` where it had it. Quoted text is left alone."""
    bare = _LIST.sub(r"\1, \1, \1, \1, \1", without_comments(text))
    pieces, end = [], 0
    for quoted in _QUOTED.finditer(bare):
        pieces += [_repair(bare[end : quoted.start()]), quoted.group()]
        end = quoted.end()
    return "".join([*pieces, _repair(bare[end:])])


def _repair(piece: str) -> str:
    for pattern, replacement in _REPAIRS:
        piece = pattern.sub(replacement, piece)
    return piece


def reason_to_leave_out(text: str) -> str:
    """Why a statement is not part of the workload; empty where it is."""
    bare = without_comments(text)
    if not bare or _UTILITY.match(bare):
        return "utility statement"
    if _TOOLS.search(_strip_strings(bare)):
        return "catalogue or monitoring query"
    return ""


def _strip_strings(text: str) -> str:
    return re.sub(r"'(?:[^']|'')*'", "''", text)


# --- linking sampled statements to normalised ones -----------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<string>[EeBbXx]?'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<name>"(?:[^"]|"")*"|[A-Za-z_][\w$]*)"""
    r"""|(?P<param>\$\d+|%s|%\(\w+\)s)|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<other>\s+|::|.)""",
    re.DOTALL,
)
_CONSTANT = "?"
_WORD_CONSTANTS = {"true", "false", "null"}


def shape(text: str) -> tuple[str, tuple[str, ...]]:
    """The statement with its constants as ``?`` (lists squashed), and the constants in order of appearance.

    A sampled statement and its normalised text have one shape, so that the sample's constants are the values of
    ``$1, $2 …`` (where lists have one length).
    """
    words: list[str] = []
    constants: list[str] = []
    for token in _TOKEN.finditer(_SQUASHED.sub("", without_comments(text))):
        word = token.group()
        if token.lastgroup in {"string", "tag", "param", "number"}:
            constants.append(word)
            words.append(_CONSTANT)
        elif not word.isspace():
            words.append(word if word.startswith('"') else word.lower())
    return _squash(words), tuple(constants)


def _squash(words: Sequence[str]) -> str:
    joined = " ".join(words)
    return re.sub(r"\( \?(?: , \?)+ \)", "( ? )", joined)
