"""A workload read from a file, and the statements that build a partitioned table's index."""

from __future__ import annotations

import pytest

from paiid_perf.database.index_types import IndexSpec, KeyPart, Table
from paiid_perf.database.rules.indexes import partitions
from paiid_perf.database.rules.indexes.script import statements
from paiid_perf.database.rules.indexes.texts import normalised

FILE = """
-- the list of a customer's orders
-- calls=500 mean_ms=2.5 rows=3
SELECT * FROM orders WHERE customer_id = 7 AND note <> 'a;b' /* ; */ ORDER BY 1 LIMIT 5;
;
UPDATE "odd;name" SET a = $1;
SELECT 1
"""


def test_a_file_is_its_statements_with_what_their_comments_tell() -> None:
    first, second, third = statements(FILE)
    assert " ".join(first.text.split()) == (
        "SELECT * FROM orders WHERE customer_id = $1 AND note <> $2 ORDER BY 1 LIMIT $3"
    )
    assert first.samples == (("7", "'a;b'", "5"),)
    assert (first.calls, first.mean_ms, first.rows_per_call) == (500, 2.5, 3)
    assert (second.text, second.samples, second.calls, second.total_ms) == (
        'UPDATE "odd;name" SET a = $1',
        (),
        1,
        0,
    )
    assert (third.text, third.samples) == ("SELECT $1", (("1",),))


@pytest.mark.parametrize("text", ["", " ; ;", "-- nothing\n", "/* ; */"])
def test_a_file_may_hold_nothing(text: str) -> None:
    assert statements(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a FROM t WHERE b = 'x' GROUP BY 1, 2 HAVING c > 3", "b = $1 GROUP BY 1, 2 HAVING c > $2"),
        ("SELECT a::numeric(15,2) FROM t WHERE b = 1", "a::numeric(15,2) FROM t WHERE b = $1"),
        (r"SELECT a FROM t WHERE b = E'\'x' AND c = $$y$$", "b = $1 AND c = $2"),
        ("SELECT a FROM t ORDER BY 1 DESC NULLS LAST LIMIT 5", "ORDER BY 1 DESC NULLS LAST LIMIT $1"),
    ],
)
def test_constants_become_parameters_where_they_are_constants(text: str, expected: str) -> None:
    assert expected in normalised(text)[0]


def test_an_index_of_a_partition_has_a_name_of_its_own_within_63_bytes() -> None:
    long = [f"measurements_of_all_the_sensors_in_the_building_{n}" for n in range(20)]
    names = {partitions.index_name("pf_measurements_sensor_at_0a1b", p) for p in long}
    assert len(names) == 20
    assert all(len(n.encode()) <= 63 for n in names)
    assert partitions.index_name("i", "p") == "i_p"


def test_a_partitioned_table_is_indexed_without_locking_its_writers() -> None:
    spec = IndexSpec("public.t", (KeyPart("a"),))
    table = Table("public", "t", 1, 1, {}, kind="partitioned", partitions=("s.t1",), partition_levels=1)
    assert partitions.create_sql(spec, "i", table).splitlines() == [
        'CREATE INDEX "i" ON ONLY "public"."t" USING btree ("a");',
        'CREATE INDEX CONCURRENTLY "i_t1" ON "s"."t1" USING btree ("a");',
        'ALTER INDEX "public"."i" ATTACH PARTITION "s"."i_t1"',
    ]
