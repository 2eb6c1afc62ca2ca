"""How the advisor shares out its time."""

from __future__ import annotations

from paiid_perf.database.advisor.types import Deadline


def test_what_must_be_takes_nothing_from_the_shares_of_the_rest() -> None:
    now = [100.0]
    late = Deadline(20.0, lambda: now[0])
    now[0] = 108.0  # the catalog was long
    assert late(0.25)
    late.share_out()
    assert not late(0.25)
    now[0] = 111.0
    assert late(0.25)
    assert not late(0.5)
    now[0] = 120.0
    assert late(1.0)


def test_a_limit_that_was_passed_before_leaves_nothing() -> None:
    now = [0.0]
    late = Deadline(5.0, lambda: now[0])
    now[0] = 9.0
    late.share_out()
    assert late(0.25)
