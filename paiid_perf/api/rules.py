"""What to say about endpoints, from what was seen of them. Pure: nothing is read here but the arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from django.utils.translation import gettext as _

from paiid_perf.api.types import Advice, EndpointFacts, Mark, RepeatFacts

#: Requests under which nothing is said of an endpoint: a percentile of fewer is noise.
ENOUGH = 50
#: Lookups under which nothing is said of a cache.
ENOUGH_LOOKUPS = 100
#: A hit ratio under which a cache is work for nothing.
LOW_HIT_RATIO = 0.1
#: Mean ms from which an uncached read is worth a thought: some twenty times what a cached answer costs.
WORTH_CACHING_MS = 20.0
#: Share of the host's total time that an endpoint must take before caching it is advised.
WORTH_CACHING_SHARE = 0.05
#: Runs of one statement in a request from which it is an N+1.
MANY = 5
HEAVY_BYTES = 500_000
MAX_ERROR_RATE = 0.01

UNMATCHED = "<unmatched>"


def advise(endpoints: Sequence[EndpointFacts]) -> Iterator[Advice]:
    """Everything that the facts call for, the most requested endpoint first."""
    total_ms = sum(e.mean_ms * e.requests for e in endpoints)
    known = [e for e in endpoints if UNMATCHED not in e.endpoint]
    for endpoint in sorted(known, key=lambda e: -e.requests):
        yield from _repeats(endpoint)
        yield from _lists(endpoint)
        if endpoint.requests >= ENOUGH:
            yield from _objective(endpoint)
            yield from _errors(endpoint)
            yield from _weight(endpoint)
            yield from _caching(endpoint, total_ms)
    yield from _unlimited(known)


def _repeats(endpoint: EndpointFacts) -> Iterator[Advice]:
    for repeat in endpoint.repeats:
        if repeat.times >= MANY:
            yield Advice(
                key=f"repeats {endpoint.endpoint} {repeat.line} {repeat.asked}",
                title=_("%(endpoint)s asks for %(asked)s again and again")
                % {"endpoint": endpoint.endpoint, "asked": repeat.asked},
                why=_why(repeat) % {"times": repeat.times, "line": repeat.line},
                how=suggestion(repeat),
                evidence=(
                    ("line", repeat.line),
                    ("asked", repeat.asked),
                    ("times_per_request", round(repeat.times, 1)),
                    ("requests_seen", repeat.seen),
                    ("requests_watched", endpoint.watched),
                ),
            )


def _why(repeat: RepeatFacts) -> str:
    if repeat.fetch == "once":
        return _("One request asks the very same question %(times).0f times, from %(line)s.")
    return _(
        "One request runs the same statement %(times).0f times, from %(line)s. "
        "Fetched at once it is one query more instead of one per row."
    )


def suggestion(repeat: RepeatFacts) -> str:
    """The code that fetches at once what is asked for row by row."""
    at = f"# {repeat.line}\n"
    if not repeat.fetch:
        return f"{at}# " + _("fetch the rows of %s in one query before the loop") % repeat.asked
    if repeat.fetch == "once":
        return f"{at}# " + _("the same question every time: ask once and keep the answer")
    if len(repeat.relations) == 1:
        return at + _CODE[repeat.fetch] % repeat.relations[0]
    names = ", ".join(f'"{name}"' for name in repeat.relations)
    return f"{at}.{repeat.fetch}(…)  # " + _("one of: %s") % names


#: How what is fetched is written; %s is the relation, or the rows that a subquery asks for.
_CODE = {
    "select_related": '.select_related("%s")',
    "prefetch_related": '.prefetch_related("%s")',
    "Prefetch": '.prefetch_related(Prefetch("%s", queryset=…, to_attr="…"))',
    "annotate": '.annotate(…=Count("%s"))',
    "Subquery": '.annotate(…=Subquery(%s.order_by("…").values("…")[:1]))',
    "Exists": ".annotate(…=Exists(%s))",
}


def _lists(endpoint: EndpointFacts) -> Iterator[Advice]:
    for one in endpoint.lists:
        yield Advice(
            key=f"list {endpoint.endpoint} {one.line} {one.asked}",
            title=_("%(endpoint)s reads every row of %(asked)s")
            % {"endpoint": endpoint.endpoint, "asked": one.asked},
            why=_("%(line)s reads %(rows).0f rows without a limit, and more as the table grows.")
            % {"line": one.line, "rows": one.rows},
            how=f"# {one.line}\nPaginator(queryset, 100)",
            evidence=(
                ("line", one.line),
                ("asked", one.asked),
                ("rows", round(one.rows)),
                ("requests_seen", one.seen),
                ("requests_watched", endpoint.watched),
            ),
        )


def _objective(endpoint: EndpointFacts) -> Iterator[Advice]:
    if endpoint.p95_ms > endpoint.objective_ms:
        share = endpoint.db_ms_per_request / endpoint.mean_ms if endpoint.mean_ms else 0.0
        yield Advice(
            key=f"objective {endpoint.endpoint}",
            title=_("%s misses its latency objective") % endpoint.endpoint,
            why=_(
                "p95 is %(p95).0f ms, the objective %(objective).0f ms; %(share).0f %% of the time is the database."
            )
            % {"p95": endpoint.p95_ms, "objective": endpoint.objective_ms, "share": 100 * min(1.0, share)},
            how=_("Look at its queries first.")
            if share > 0.5
            else _("Profile the view: most of it is not the database."),
            evidence=(
                ("p95_ms", round(endpoint.p95_ms, 1)),
                ("objective_ms", endpoint.objective_ms),
                ("requests", endpoint.requests),
                ("db_ms_per_request", round(endpoint.db_ms_per_request, 1)),
                ("queries_per_request", round(endpoint.queries_per_request, 1)),
            ),
        )


def _errors(endpoint: EndpointFacts) -> Iterator[Advice]:
    rate = endpoint.errors / endpoint.requests
    if rate > MAX_ERROR_RATE:
        yield Advice(
            key=f"errors {endpoint.endpoint}",
            title=_("%s fails often") % endpoint.endpoint,
            why=_("%(errors)d of %(requests)d requests ended in a server error (%(rate).1f %%).")
            % {"errors": endpoint.errors, "requests": endpoint.requests, "rate": 100 * rate},
            how=_("Look into the log for this route."),
            evidence=(("errors", endpoint.errors), ("requests", endpoint.requests)),
        )


def _weight(endpoint: EndpointFacts) -> Iterator[Advice]:
    if endpoint.bytes_per_request > HEAVY_BYTES:
        yield Advice(
            key=f"bytes {endpoint.endpoint}",
            title=_("%s sends very long answers") % endpoint.endpoint,
            why=_("An answer has %.0f kB on average: probably a list without pages.")
            % (endpoint.bytes_per_request / 1000),
            how="Paginator(queryset, 100)",
            evidence=(
                ("bytes_per_request", round(endpoint.bytes_per_request)),
                ("requests", endpoint.requests),
            ),
        )


def _caching(endpoint: EndpointFacts, total_ms: float) -> Iterator[Advice]:
    if not endpoint.endpoint.startswith("GET "):
        return
    if endpoint.strategy:
        yield from _cached(endpoint)
    elif (
        endpoint.mean_ms >= WORTH_CACHING_MS
        and endpoint.mean_ms * endpoint.requests >= WORTH_CACHING_SHARE * total_ms
    ):
        yield Advice(
            key=f"cache {endpoint.endpoint}",
            title=_("Caching %s may pay") % endpoint.endpoint,
            why=_(
                "%(requests)d reads of %(mean).0f ms are %(share).0f %% of all the time that requests took."
            )
            % {
                "requests": endpoint.requests,
                "mean": endpoint.mean_ms,
                "share": 100 * endpoint.mean_ms * endpoint.requests / total_ms,
            },
            how=_route_class(endpoint, 'cache="…"'),
            evidence=(("requests", endpoint.requests), ("mean_ms", round(endpoint.mean_ms, 1))),
        )


def _cached(endpoint: EndpointFacts) -> Iterator[Advice]:
    lookups = endpoint.hits + endpoint.misses
    if lookups < ENOUGH_LOOKUPS:
        return
    ratio = endpoint.hits / lookups
    cached_ms = _cached_ms(endpoint)
    if cached_ms is not None and endpoint.uncached_ms is not None and cached_ms >= endpoint.uncached_ms:
        yield _uncache(
            endpoint,
            _("Caching %s costs more than it saves") % endpoint.endpoint,
            _(
                "With the cache an answer takes %(cached).2f ms on average (%(ratio).0f %% hits), without it "
                "would take %(uncached).2f ms."
            )
            % {"cached": cached_ms, "ratio": 100 * ratio, "uncached": endpoint.uncached_ms},
        )
    elif ratio < LOW_HIT_RATIO:
        yield _uncache(
            endpoint,
            _("The cache of %s is hardly ever hit") % endpoint.endpoint,
            _("%(ratio).1f %% of %(lookups)d look-ups were hits.")
            % {"ratio": 100 * ratio, "lookups": lookups},
        )


def _cached_ms(endpoint: EndpointFacts) -> float | None:
    """Mean ms of an answer as it is now, hits and misses together: a miss pays for its look-up and its keeping."""
    if endpoint.miss_ms is None:
        return None
    hits, misses = endpoint.hits, endpoint.misses
    return (hits * (endpoint.hit_ms or 0.0) + misses * endpoint.miss_ms) / (hits + misses)


def _uncache(endpoint: EndpointFacts, title: str, why: str) -> Advice:
    return Advice(
        key=f"uncache {endpoint.endpoint}",
        title=title,
        why=why,
        how=_route_class(endpoint, "cache=None"),
        evidence=(
            ("strategy", endpoint.strategy),
            ("hits", endpoint.hits),
            ("misses", endpoint.misses),
            ("hit_ms", endpoint.hit_ms),
            ("view_ms", endpoint.view_ms),
            ("miss_ms", endpoint.miss_ms),
            ("uncached_ms", endpoint.uncached_ms),
        ),
    )


def _unlimited(endpoints: Sequence[EndpointFacts]) -> Iterator[Advice]:
    names = sorted(e.endpoint for e in endpoints if not e.limited and e.requests >= ENOUGH)
    if names:
        yield Advice(
            key="unlimited",
            title=_("%d endpoints have no rate limit") % len(names),
            why=_("One client can take all of their capacity."),
            how='perf.EndpointClass("default", match="/", rate="300/m")',
            evidence=(("endpoints", names[:50]),),
        )


def _route_class(endpoint: EndpointFacts, argument: str) -> str:
    route = endpoint.endpoint.partition(" ")[2]
    return f'perf.EndpointClass("…", match="{route}", {argument})'


# --- the score ---------------------------------------------------------------------------------------------


def marks(endpoints: Sequence[EndpointFacts]) -> tuple[Mark, ...]:
    """The area's scored facts. Targets: Google's SRE workbook takes 99.9 % as an ordinary availability; the query
    counts are a judgement (a page that needs more than ten queries usually has an N+1)."""
    requests = sum(e.requests for e in endpoints)
    enough = requests >= ENOUGH
    return (
        Mark(
            "objectives",
            _("requests to endpoints whose p95 meets their objective"),
            _share(endpoints, lambda e: e.p95_ms <= e.objective_ms) if enough else None,
            target=0.99,
            worst=0.5,
            weight=4,
            unit="",
            hint=_("See the recommendations on endpoints that miss their objective."),
        ),
        Mark(
            "error_rate",
            _("requests that end in a server error"),
            sum(e.errors for e in endpoints) / requests if enough else None,
            target=0.001,
            worst=0.05,
            weight=4,
            unit="",
            hint=_("Look into the log of the routes that fail."),
        ),
        Mark(
            "queries",
            _("queries per request"),
            sum(e.queries_per_request * e.requests for e in endpoints) / requests if enough else None,
            target=10,
            worst=60,
            weight=2,
            unit="",
            hint=_("Fetch related rows at once: see the recommendations on repeating statements."),
        ),
        Mark(
            "limited",
            _("requests to endpoints with a rate limit"),
            _share(endpoints, lambda e: e.limited) if enough else None,
            target=0.9,
            worst=0.0,
            weight=1,
            unit="",
            hint=_("Declare an EndpointClass with a rate for the rest."),
        ),
    )


def _share(endpoints: Sequence[EndpointFacts], holds: Callable[[EndpointFacts], bool]) -> float:
    total = sum(e.requests for e in endpoints)
    return sum(e.requests for e in endpoints if holds(e)) / total if total else 0.0
