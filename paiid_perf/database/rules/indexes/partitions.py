"""A partitioned table's index as statements that lock no writer: ON ONLY the parent, each partition, ATTACH."""

from __future__ import annotations

from hashlib import sha1

from paiid_perf.database.index_types import IndexSpec, Table
from paiid_perf.database.rules.indexes import names

#: PostgreSQL cuts identifiers at NAMEDATALEN - 1.
_MOST_BYTES = 63


def index_name(name: str, partition: str) -> str:
    """A name of its own for a partition's index, within PostgreSQL's 63 bytes, equal for equal arguments."""
    text = f"{name}_{partition}"
    if len(text.encode()) <= _MOST_BYTES:
        return text
    mark = sha1(partition.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{text.encode()[: _MOST_BYTES - 9].decode(errors='ignore')}_{mark}"


def create_sql(spec: IndexSpec, name: str, table: Table) -> str:
    """The statements that build the index, a line each, without the last semicolon.

    A table whose partitions are partitioned again is left to PostgreSQL, in one statement that locks its writers.
    """
    if table.kind != "partitioned":
        return names.create_sql(spec, name)
    if table.partition_levels > 1 or not table.partitions:
        return names.create_sql(spec, name, concurrently=False)
    body = names.body_sql(spec)
    lines = [f"CREATE INDEX {names.quoted(name)} ON ONLY {names.quoted_table(spec.table)} {body}"]
    for part in table.partitions:
        schema, _, partition = part.partition(".")
        own = index_name(name, partition)
        lines += [
            f"CREATE INDEX CONCURRENTLY {names.quoted(own)} ON {names.quoted_table(part)} {body}",
            f"ALTER INDEX {names.quoted(table.schema)}.{names.quoted(name)} ATTACH PARTITION "
            f"{names.quoted(schema)}.{names.quoted(own)}",
        ]
    return ";\n".join(lines)
