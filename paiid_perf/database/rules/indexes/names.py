"""Index names and SQL: recognisable, deterministic, quoted."""

from __future__ import annotations

import hashlib
import re

from paiid_perf.database.index_types import IndexSpec, KeyPart

#: Django's limit (``Index.max_name_length``).
MAX_NAME = 30
PREFIX = "pf_"


def quoted(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quoted_table(key: str) -> str:
    schema, _, name = key.partition(".")
    return f"{quoted(schema)}.{quoted(name)}"


def index_name(spec: IndexSpec) -> str:
    """``pf_<table>_<columns>_<hash>`` in at most MAX_NAME characters; equal specs have equal names."""
    table = spec.table.partition(".")[2]
    mark = hashlib.sha256(describe(spec).encode()).hexdigest()[:4]
    room = MAX_NAME - len(PREFIX) - len(mark) - 2
    columns = "_".join(_word(k.text) for k in spec.keys)
    short = _word(table)[-max(6, room - len(columns)) :].strip("_")
    body = f"{short}_{columns}"[:room].strip("_")
    return f"{PREFIX}{body}_{mark}"


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def key_sql(key: KeyPart) -> str:
    """One key as CREATE INDEX takes it."""
    parts = [quoted(key.text) if key.is_column else f"({key.sql or key.text})"]
    if key.collation:
        parts.append(f"COLLATE {quoted(key.collation)}")
    if key.opclass:
        parts.append(key.opclass)
    if key.descending:
        parts.append("DESC")
    if not key.default_nulls:
        parts.append("NULLS FIRST" if key.nulls_first else "NULLS LAST")
    return " ".join(parts)


def body_sql(spec: IndexSpec) -> str:
    """What follows ``ON table`` in CREATE INDEX."""
    text = f"USING {spec.method} ({', '.join(key_sql(k) for k in spec.keys)})"
    if spec.include:
        text += f" INCLUDE ({', '.join(quoted(c) for c in spec.include)})"
    if spec.predicate:
        text += f" WHERE {' AND '.join(spec.predicate)}"
    return text


def create_sql(spec: IndexSpec, name: str, *, concurrently: bool = True) -> str:
    """One executable statement, without a semicolon."""
    how = "CREATE INDEX CONCURRENTLY" if concurrently else "CREATE INDEX"
    return f"{how} {quoted(name)} ON {quoted_table(spec.table)} {body_sql(spec)}"


def drop_sql(schema: str, name: str, *, concurrently: bool = True) -> str:
    how = "DROP INDEX CONCURRENTLY" if concurrently else "DROP INDEX"
    return f"{how} {quoted(schema)}.{quoted(name)}"


def describe(spec: IndexSpec) -> str:
    """The index as a person would say it: ``public.orders (portfolio_id, created_at DESC)``."""
    keys = ", ".join(_said(k) for k in spec.keys)
    text = f"{spec.table} ({keys})"
    if spec.method != "btree":
        text = f"{spec.table} using {spec.method} ({keys})"
    if spec.include:
        text += f" include ({', '.join(spec.include)})"
    return text + (f" where {' and '.join(spec.predicate)}" if spec.predicate else "")


def _said(key: KeyPart) -> str:
    words = [key.text, key.opclass, "DESC" if key.descending else ""]
    if not key.default_nulls:
        words.append("NULLS FIRST" if key.nulls_first else "NULLS LAST")
    return " ".join(w for w in words if w)
