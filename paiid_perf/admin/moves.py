"""What a person can do with a recommendation: a table of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from paiid_perf.admin.base import APPLY, APPROVE
from paiid_perf.contracts import ADVICE
from paiid_perf.models import Recommendation
from paiid_perf.optimization import ledger, runner


@dataclass(frozen=True, slots=True)
class Move:
    """What a person can do with a recommendation."""

    name: str
    label: str | Promise
    permission: str
    states: tuple[str, ...]
    """The states that it is offered in."""
    effect: str | Promise
    """What the page that asks for confirmation says will happen."""
    for_advice: bool = False
    """Whether it means something for advice, which the app cannot apply."""


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move(
            "approve",
            gettext_lazy("Approve"),
            APPROVE,
            ("proposed",),
            gettext_lazy("The next run does this, measures it, and takes it back if it does not pay."),
        ),
        Move(
            "apply",
            gettext_lazy("Apply now"),
            APPLY,
            ("proposed", "approved"),
            gettext_lazy("A worker does this now, measures it, and takes it back if it does not pay."),
        ),
        Move(
            "revert",
            gettext_lazy("Revert"),
            APPLY,
            ("verifying", "kept"),
            gettext_lazy("A worker takes this change back."),
        ),
        Move(
            "dismiss",
            gettext_lazy("Dismiss"),
            APPROVE,
            ("proposed", "approved"),
            gettext_lazy("It is closed, and not proposed again unless somebody reopens it."),
            for_advice=True,
        ),
        Move(
            "reopen",
            gettext_lazy("Reopen"),
            APPROVE,
            ("dismissed",),
            gettext_lazy("It is open again."),
            for_advice=True,
        ),
    )
}
#: The moves that take long: a worker makes them.
QUEUED: dict[str, Callable[..., bool]] = {
    "apply": runner.enqueue_apply,
    "revert": runner.enqueue_revert,
}
BY_HAND: dict[str, Callable[..., Recommendation]] = {
    "approve": ledger.approve,
    "dismiss": ledger.dismiss,
    "reopen": ledger.reopen,
}


def offered(rec: Recommendation, move: Move) -> bool:
    """Whether the row's state and kind lead there."""
    if rec.state not in move.states or (rec.kind == ADVICE and not move.for_advice):
        return False
    return move.name != "revert" or ledger.can_be_undone(rec)
