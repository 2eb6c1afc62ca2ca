"""``perf advise --trial``: build, run again, keep or drop, one index at a time, and only what policy knows."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from paiid_perf.database.facts import plans
from paiid_perf.database.rules.indexes.judge import OTHERS
from paiid_perf.database.session import connect
from paiid_perf.models import Recommendation
from tests.integration.database.conftest import SCHEMA

pytestmark = pytest.mark.django_db(transaction=True)

READ = f"SELECT * FROM {SCHEMA}.orders WHERE customer_id = 7"
OTHER = f"SELECT count(*) FROM {SCHEMA}.orders WHERE note = 'z'"
WRITE = f"UPDATE {SCHEMA}.orders SET note = 'y' WHERE id = 3"


@pytest.fixture
def orders(plant: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    plant(
        "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint, note text)",
        "INSERT INTO orders (customer_id, note) SELECT i % 2000, repeat('x', 60) FROM generate_series(1, 30000) i",
        "VACUUM ANALYZE orders",
        "SELECT pg_stat_statements_reset()",
        *[READ, OTHER, WRITE] * 5,
    )
    return plant


def tried() -> str:
    out = io.StringIO()
    call_command("perf", "advise", "--trial", stdout=out, stderr=out)
    return out.getvalue()


def built(plant: Callable[..., list[Any]]) -> int:
    ((count,),) = plant(
        f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{SCHEMA}' AND indexname LIKE 'pf\\_%'"
    )
    return int(count)


def test_every_statement_of_the_table_has_a_say_and_what_is_not_kept_is_gone(
    orders: Callable[..., list[Any]],
) -> None:
    said = tried()
    rec = Recommendation.objects.filter(key__startswith=f"{SCHEMA}.orders (customer_id").get()
    # Which of the two is the machine's word: what it means for the database is ours.
    assert rec.state in {"kept", "reverted"}, said
    assert f"#{rec.pk} {rec.state}" in said
    assert rec.before["method"] == rec.after["method"] == "trial"
    texts = [query["text"].split()[0] for query in rec.after["queries"] if OTHERS not in query["key"]]
    assert sorted(texts) == ["SELECT", "SELECT", "UPDATE"]
    assert any(OTHERS in query["key"] and "customer_id" in query["text"] for query in rec.after["queries"])
    assert built(orders) == Recommendation.objects.filter(state="kept", kind="index_create").count()


def test_what_is_planned_as_before_is_not_run_again(orders: Callable[..., list[Any]]) -> None:
    text, known = f"SELECT count(*) FROM {SCHEMA}.orders WHERE customer_id = 7", {}

    def measured() -> Any:
        second = timedelta(seconds=1)
        with connect("default", statement=second, lock=second) as session:
            return plans.measure(session, "1", text, 1.0, [text], second, known=known)

    first, again = measured(), measured()
    assert again == first
    assert len(known) == 1
    orders("CREATE INDEX ON orders (customer_id)")
    assert measured().blocks < first.blocks
    assert len(known) == 2


@pytest.mark.parametrize(("setting", "value"), [("KILL_SWITCH", True), ("POLICY", {"*": "off"})])
def test_nothing_is_tried_against_the_policy(
    orders: Callable[..., list[Any]], settings: Any, setting: str, value: Any
) -> None:
    settings.PAIID_PERF = {**getattr(settings, "PAIID_PERF", {}), setting: value}
    tried()
    assert built(orders) == 0
