"""Texts of pg_stat_statements: what they leave out is put back so that they parse and can be explained.

pg_stat_statements replaces every constant by ``$n``, also where the grammar takes only a literal (``date $1``,
``interval $2 day``); PostgreSQL 18 squashes lists to ``IN ($1 /*, ... */)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_STRING = (
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$"""
)
#: What a comment may not begin in, the mark of a squashed list, and where a comment begins.
_SKIPPED = re.compile(
    rf"""{_STRING}|"(?:[^"]|"")*"|/\*, \.\.\. \*/|(?P<line>--[^\n]*)|(?P<block>/\*)""", re.DOTALL
)
_EDGES = re.compile(r"/\*|\*/")
_SQUASHED = re.compile(r"/\*, \.\.\. \*/")
#: A squashed list is read as one of five: its length is not known.
_LIST = re.compile(r"(\$\d+)\s*/\*, \.\.\. \*/")
_QUOTED = re.compile(rf"""{_STRING}|"(?:[^"]|"")*\"""", re.DOTALL)
#: How foreign keys' own statements spell ``=``.
_OPERATOR = re.compile(r"\bOPERATOR\s*\(\s*(?:pg_catalog\s*\.\s*)?([^\s()\w.]+)\s*\)", re.IGNORECASE)

_UNIT = r"(?:year|month|day|hour|minute|second)s?\b(?:\s*\(\d+\))?"

#: What may stand before a literal to say of which type it is.
_TYPES = (
    r"date|timestamptz|timestamp|timetz|time|bytea|inet|cidr|macaddr|uuid|jsonb|json|jsonpath|xml|numeric|money|bit"
    r"|point|line|lseg|box|path|polygon|circle|tsquery|tsvector|(?:int4|int8|num|ts|tstz|date)(?:multi)?range"
)
#: The field of an ``extract($1 from x)``, which nobody knows: a name of the year that hardly anybody writes.
SOME_FIELD = "years"

#: Pattern → replacement, tried in order on text outside quotes. Group 1 is the parameter.
_REPAIRS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (
            rf"\binterval\s*(?:\(\d+\)\s*)?(\$\d+)(?:\s+{_UNIT}(?:\s+to\s+{_UNIT})?)?",
            r"CAST(\1 AS interval)",
        ),
        (
            rf"\b({_TYPES})\s+(\$\d+)",
            r"CAST(\2 AS \1)",
        ),
        (
            r"\b(timestamp|time)\s+(with|without)\s+time\s+zone\s+(\$\d+)",
            r"CAST(\3 AS \1 \2 time zone)",
        ),
        (r"\bextract\s*\(\s*\$\d+\s+from\b", rf"EXTRACT({SOME_FIELD} FROM"),
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
    kept = (" " if _is_comment(piece, plain) else piece for piece, plain in pieces(text))
    return "".join(kept).strip().rstrip(";").strip()


def _is_comment(piece: str, plain: bool) -> bool:
    return not plain and piece.startswith(("--", "/*")) and not _SQUASHED.fullmatch(piece)


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, in order: (piece, whether it is plain SQL: no string, quoted name or comment)."""
    at = 0
    while (mark := _SKIPPED.search(text, at)) is not None:
        yield text[at : mark.start()], True
        at = _comment_end(text, mark.end()) if mark.lastgroup == "block" else mark.end()
        yield text[mark.start() : at], False
    yield text[at:], True


def _comment_end(text: str, at: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 1
    for edge in _EDGES.finditer(text, at):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def repaired(text: str) -> str:
    """The statement as SQL that parses, with ``$n`` where it had it. Quoted text is left alone."""
    bare = _OPERATOR.sub(r" \1 ", _LIST.sub(r"\1, \1, \1, \1, \1", without_comments(text)))
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
    if _TOOLS.search(_OPERATOR.sub(r"\1", _strip_strings(bare))):
        return "catalogue or monitoring query"
    return ""


def _strip_strings(text: str) -> str:
    return re.sub(r"'(?:[^']|'')*'", "''", text)


# --- linking sampled statements to normalised ones -----------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<string>[Ee]'(?:[^'\\]|\\.|'')*'|(?:[BbXxNn]|[Uu]&)?'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
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


#: After these (and a list that follows) a number is a position or a length, not a constant.
_COUNTING = {
    "by",
    "char",
    "varchar",
    "character",
    "varying",
    "numeric",
    "decimal",
    "bit",
    "time",
    "timestamp",
}
_WITHIN_COUNT = {"(", ",", "asc", "desc", "nulls", "first", "last"}


def normalised(text: str) -> tuple[str, tuple[str, ...]]:
    """The statement with ``$n`` for its constants, as pg_stat_statements would have it, and the constants."""
    bare = without_comments(text)
    tokens = list(_TOKEN.finditer(bare))
    if any(t.lastgroup == "param" for t in tokens):
        return bare, ()
    words: list[str] = []
    constants: list[str] = []
    counting = False
    for token in tokens:
        word = token.group()
        is_number = token.lastgroup == "number"
        if not word.isspace():
            counting = word.lower() in _COUNTING or (
                counting and (is_number or word.lower() in _WITHIN_COUNT)
            )
        if token.lastgroup in {"string", "tag"} or (is_number and not counting):
            constants.append(word)
            word = f"${len(constants)}"
        words.append(word)
    return "".join(words), tuple(constants)


def _squash(words: Sequence[str]) -> str:
    joined = " ".join(words)
    return re.sub(r"\( \?(?: , \?)+ \)", "( ? )", joined)
