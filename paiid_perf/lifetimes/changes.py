"""How another time to live is set, judged by the hit ratio that it really has, and taken back."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Sum

from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, Verdict
from paiid_perf.lifetimes.advice import KIND
from paiid_perf.models import Metric, StrategyTtl

#: The hit ratio before is that of so long; counters are by the minute.
BEFORE, MINUTE = timedelta(hours=1), timedelta(minutes=1)
#: Fewer look-ups say nothing about a ratio.
ENOUGH = 200


def _apply(payload: Json, context: ChangeContext) -> Json:
    values = {"seconds": payload["seconds"], "changed_at": context.now}
    StrategyTtl.objects.update_or_create(subject=payload["subject"], defaults=values)
    return {"seconds": payload["seconds"], "before": payload["previous"]}


def _revert(payload: Json, context: ChangeContext) -> None:
    if payload["previous"] == payload["declared"]:
        # Row by row, so that the signal that tells every process is sent.
        for row in StrategyTtl.objects.filter(subject=payload["subject"]):
            row.delete()
    else:
        values = {"seconds": payload["previous"], "changed_at": context.now}
        StrategyTtl.objects.update_or_create(subject=payload["subject"], defaults=values)


def _measure(payload: Json, context: ChangeContext) -> Measurement:
    """Hits and misses since the time was set; of the last hour, before it is."""
    row = StrategyTtl.objects.filter(subject=payload["subject"], seconds=payload["seconds"]).first()
    # The minute in which it was set is neither before nor after.
    since = row.changed_at + MINUTE if row else context.now - BEFORE
    found = _counts(payload["subject"], since.replace(second=0, microsecond=0), context.now)
    return Measurement("window", numbers={"in_place": float(row is not None), **found})


def _counts(subject: str, since: datetime, until: datetime) -> dict[str, float]:
    rows = Metric.objects.filter(
        resolution=Metric.Resolution.MINUTE,
        name__in=("cache.hits", "cache.misses"),
        subject=subject,
        at__gte=since,
        at__lte=until,
    )
    seen = dict(rows.values_list("name").annotate(n=Sum("count")).order_by())
    return {"hits": float(seen.get("cache.hits", 0)), "misses": float(seen.get("cache.misses", 0))}


def judge(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Keep it if misses became rarer by MIN_GAIN; wait while there were too few look-ups to say. Pure."""
    if not after.numbers.get("in_place"):
        return Verdict(False, "somebody has taken it back meanwhile")
    was, now = _ratio(before), _ratio(after)
    if now is None:
        return Verdict(
            None, f"fewer than {ENOUGH} look-ups since it was set: it is judged when there are more"
        )
    if was is None or was >= 1:
        return Verdict(False, "too few look-ups before it was set to say what it brought")
    gain = 1 - (1 - now) / (1 - was)
    told = f"the hit ratio was {was:.1%} and is {now:.1%}"
    if gain < settings.MIN_GAIN:
        return Verdict(False, f"{told}: misses became rarer by less than {settings.MIN_GAIN:.0%}", gain)
    return Verdict(True, told, gain)


def _ratio(measured: Measurement) -> float | None:
    hits, misses = measured.numbers.get("hits", 0.0), measured.numbers.get("misses", 0.0)
    return hits / (hits + misses) if hits + misses >= ENOUGH else None


HANDLERS: tuple[ChangeHandler, ...] = (ChangeHandler(KIND, _apply, _revert, _measure, judge, _revert),)
