"""The cache's strategies with what they bring and take; warming and clearing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from paiid_perf.admin import charts, console
from paiid_perf.admin.base import APPLY, RUN, VIEW, post_only, require
from paiid_perf.admin.charts import Chart
from paiid_perf.admin.evidence import facts_of
from paiid_perf.admin.figures import number
from paiid_perf.admin.pages.base import ConsoleAdmin, Page, last_phase
from paiid_perf.admin.window import Window, window_of
from paiid_perf.api.types import ResponseStrategy
from paiid_perf.cache.footprint import KINDS
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.lifetimes.edited import with_edited_ttl
from paiid_perf.monitoring.windows import sums_of
from paiid_perf.optimization import runner
from paiid_perf.registry import registry
from paiid_perf.stores import redis_gate

#: Keys that are named of those that save most.
SHOWN = 10


def view(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    require(request, VIEW)
    window, phase, api = window_of(request), last_phase("cache"), last_phase("api")
    details = dict(phase.details) if phase else {}
    details["reuse"] = [*details.get("reuse", ()), *(api.details.get("reuse", ()) if api else ())]
    return page.shown(
        request,
        "cache",
        _("Cache"),
        window=window,
        strategies=_strategies(window, details),
        chart=charts.line_chart(_hits_chart(window)),
        phase=phase,
        server=facts_of(details.get("server") or {}),
        footprint=facts_of({_("What the memory goes to"): _footprint(details)}),
        keys=facts_of(_keys(details)),
        backend=details.get("backend", ""),
        may_warm=request.user.has_perm(RUN),
        may_clear=request.user.has_perm(APPLY) and redis_gate.is_redis(),
        is_redis=redis_gate.is_redis(),
    )


def _keys(details: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for again, what keys take and save, and a cluster's nodes, as far as the last run saw them."""
    memory = details.get("memory", {})
    return {
        _("Asked for again"): [_reuse(found) for found in details.get("reuse", ()) if found["looks"]],
        _("All kept responses (sampled keys)"): _responses(details),
        _("Key patterns (sampled keys)"): [_pattern(found) for found in memory.get("patterns", ())],
        _("Keys that save most"): list(details.get("worth", ()))[:SHOWN],
        _("Largest keys"): memory.get("largest"),
        _("Nodes"): details.get("nodes"),
    }


def _footprint(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each part of the server's memory, with what it is, in the reader's language."""
    return [
        {
            "part": KINDS[found["name"]].label,
            "bytes": found["bytes"],
            "of_the_used_memory": number(found["share"], "ratio"),
            "on_top_of_it": KINDS[found["name"]].outside,
            "meaning": KINDS[found["name"]].meaning,
        }
        for found in details.get("footprint", ())
        if found["name"] in KINDS
    ]


def _reuse(found: Mapping[str, Any]) -> dict[str, Any]:
    """One strategy's sampled look-ups, in few words."""
    return {
        "strategy": found["subject"],
        "looks_sampled": found["looks"],
        "keys_sampled": found["keys"],
        "asked_for_once": found["once"],
        "invalidated_or_evicted": found["lost"],
        "hit_ratio_by_ttl": ", ".join(f"{ttl:g} s: {ratio:.0%}" for ttl, ratio in found["expected"]),
    }


def _pattern(found: Mapping[str, Any]) -> dict[str, Any]:
    """One pattern's sampled keys; ``not_read_for_a_day`` counts those that nobody has asked for."""
    return {
        "pattern": found["group"],
        "keys_sampled": found["keys"],
        "bytes": found["bytes"],
        "not_read_for_a_day": found["idle_keys"],
    }


@post_only
def warm(page: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """A worker warms what is due."""
    require(request, RUN)
    told = _("A worker warms what is due.")
    return page.handed_over(request, runner.enqueue_warm(), told, "warmed", "paiid_perf_cache")


def clear(page: ConsoleAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """GET: a page that says what will happen. POST: a worker clears the strategy."""
    require(request, APPLY)
    if name not in {strategy.name for strategy in registry.all(CacheStrategy)} or not redis_gate.is_redis():
        raise Http404
    if request.method != "POST":
        title = _("Clear the values of “%(name)s”?") % {"name": name}
        return page.shown(request, "clear", title, name=name, back=page.address("paiid_perf_cache"))
    told = _("A worker clears “%(name)s”.") % {"name": name}
    taken = runner.enqueue_clear(name)
    return page.handed_over(request, taken, told, f"cleared the cache {name}", "paiid_perf_cache")


@dataclass(frozen=True, slots=True)
class Strategy:
    """One cache strategy with what it brought in the window."""

    name: str
    kind: str
    ttl: str
    depends_on: str
    hits: int
    misses: int
    invalidations: int
    """Commits that touched what it depends on."""
    kept_bytes: float | None
    """What its keys take, as the last run sampled them; None for responses: their keys tell no strategy."""
    can_clear: bool

    @property
    def hit_ratio(self) -> float | None:
        looked = self.hits + self.misses
        return self.hits / looked if looked else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of every subject: what was found, what was not, and the memory its keys take."""

    hits: Mapping[str, int]
    misses: Mapping[str, int]
    commits: Mapping[str, int]
    """Of every model: the commits that made what depends on it old."""
    sizes: Mapping[str, float]


def _strategies(window: Window, details: Mapping[str, Any]) -> list[Strategy]:
    counted = sums_of(("cache.hits", "cache.misses", "cache.invalidations"), window.start, window.end)
    hits, misses, commits = (_counts(found) for found in counted.values())
    seen = _Seen(hits, misses, commits, _sizes(details))
    values = [
        _strategy(with_edited_ttl(one, one.name), one.name, _("values"), seen, True)
        for one in registry.all(CacheStrategy)
    ]
    answers = [
        _strategy(with_edited_ttl(one, one.subject), one.subject, _("responses"), seen, False)
        for one in registry.all(ResponseStrategy)
    ]
    return values + answers


def _counts(found: Mapping[str, tuple[int, float]]) -> dict[str, int]:
    return {subject: count for subject, (count, _total) in found.items()}


def _strategy(
    declared: CacheStrategy | ResponseStrategy, subject: str, kind: str, seen: _Seen, can_clear: bool
) -> Strategy:
    return Strategy(
        name=declared.name,
        kind=kind,
        ttl=_("until invalidated") if declared.ttl is None else number(declared.ttl.total_seconds(), "s"),
        depends_on=", ".join(declared.depends_on) or "–",
        hits=seen.hits.get(subject, 0),
        misses=seen.misses.get(subject, 0),
        invalidations=sum(seen.commits.get(label.lower(), 0) for label in declared.depends_on),
        kept_bytes=seen.sizes.get(subject),
        can_clear=can_clear,
    )


def _sizes(details: Mapping[str, Any]) -> dict[str, float]:
    groups = details.get("memory", {}).get("groups", ())
    named = [(group.get("group") or group.get("name"), group) for group in groups]
    return {name: group["bytes"] for name, group in named if name and "bytes" in group}


def _responses(details: Mapping[str, Any]) -> str:
    kept = _sizes(details).get(f"{get_settings().KEY_PREFIX}:answer")
    return number(kept, "bytes") if kept else ""


def _hits_chart(window: Window) -> Chart:
    empty = _("No cache look-up was recorded. Use paiid_perf.cache, or give an endpoint a response cache.")
    return window.chart(_("Cache hit ratio"), [console.hits(window.start, window.end)], "ratio", 1.0, empty)


PAGES = (
    Page("cache/", "paiid_perf_cache", view),
    Page("cache/warm/", "paiid_perf_cache_warm", warm),
    Page("cache/clear/<str:name>/", "paiid_perf_cache_clear", clear),
)
