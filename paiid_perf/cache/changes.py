"""How a server setting is changed, judged and set back."""

from __future__ import annotations

from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from paiid_perf.cache.actions import server_client, set_config
from paiid_perf.cache.facts import read_config, read_server
from paiid_perf.conf import Settings
from paiid_perf.contracts import ChangeContext, ChangeHandler, Json, Measurement, Verdict
from paiid_perf.exceptions import ActionFailed


def _apply(payload: Json, context: ChangeContext) -> Json:
    before = set_config(server_client(), payload["setting"], payload["value"])
    return {"setting": payload["setting"], "value": payload["value"], "before": before}


def _revert(payload: Json, context: ChangeContext) -> None:
    set_config(server_client(), payload["setting"], payload["previous"])


def _measure(payload: Json, context: ChangeContext) -> Measurement:
    """Whether the setting is in place, and the counters that say how the cache does.

    Raises:
        ActionFailed: the server does not answer.
    """
    client = server_client()
    try:
        server, value = read_server(client), read_config(client, payload["setting"])
    except (RedisError, OSError) as error:
        raise ActionFailed(f"the server does not answer: {error}") from error
    numbers = {
        "in_place": float(value == payload["value"]),
        "hits": float(server.keyspace_hits),
        "lookups": float(server.lookups),
        "evicted_keys": float(server.evicted_keys),
        "used_bytes": float(server.used_bytes),
    }
    return Measurement("window", numbers=numbers)


def judge(before: Measurement, after: Measurement, settings: Settings) -> Verdict:
    """Keep the setting unless the server lost it, or lookups since then hit less than MAX_REGRESSION allows."""
    if not after.numbers.get("in_place"):
        return Verdict(False, _("the server no longer has the setting"))
    was = _ratio(before.numbers.get("hits", 0.0), before.numbers.get("lookups", 0.0))
    now = _ratio(
        after.numbers["hits"] - before.numbers.get("hits", 0.0),
        after.numbers["lookups"] - before.numbers.get("lookups", 0.0),
    )
    if was is None or now is None:
        return Verdict(True, _("the setting is in place; too few lookups since then to compare hit ratios"))
    if now < was * (1 - settings.MAX_REGRESSION):
        said = _("the server's hit ratio fell from %(was).1f %% to %(now).1f %%")
        return Verdict(False, said % {"was": was * 100, "now": now * 100}, now - was)
    said = _("the setting is in place; the server's hit ratio was %(was).1f %% and is %(now).1f %%")
    return Verdict(True, said % {"was": was * 100, "now": now * 100}, now - was)


#: Fewer lookups say nothing about a ratio.
ENOUGH_LOOKUPS = 1000


def _ratio(hits: float, lookups: float) -> float | None:
    # Counters that ran backwards are those of a server that was started again.
    return hits / lookups if lookups >= ENOUGH_LOOKUPS and hits >= 0 else None


def _clean_up(payload: Json, context: ChangeContext) -> None:
    """CONFIG SET is atomic: a killed ``apply`` left the old value or the new one, and either can be applied to."""


HANDLERS: tuple[ChangeHandler, ...] = (
    ChangeHandler("cache_config", _apply, _revert, _measure, judge, _clean_up),
)
