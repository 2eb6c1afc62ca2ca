"""What the api domain talks about: endpoint classes, response strategies, facts and decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

Match = str | Callable[..., Any]
Fetch = Literal[
    "select_related", "prefetch_related", "Prefetch", "Subquery", "Exists", "annotate", "once", ""
]
"""What fetches at once what is asked row by row; ``once``: the same question every time; empty: not known."""


@dataclass(frozen=True, slots=True)
class InClass:
    """That a view said itself to which class it belongs. ``name`` is its dotted path."""

    name: str
    endpoint_class: str


@dataclass(frozen=True, slots=True)
class EndpointClass:
    """The endpoints that share a limit, a cache strategy and an objective. The longest ``match`` wins.

    ``match`` is a path prefix, a route (``orders/<int:pk>/``), a view's name (``trading:order-list``), its dotted path
    (``trading.views.orders``) or the view itself, or several of these. ``""`` matches the rest, ``()`` only the views
    that say so themselves (``@in_class("name")``).
    """

    name: str
    match: Match | Sequence[Match] = ""
    rate: str | None = None
    """django-ratelimit's syntax (``60/m``, ``5/10s``); None: no limit."""
    rate_key: str | Callable[..., str] = "user_or_ip"
    """``ip``, ``user``, ``user_or_ip``, ``header:X-…``, or a callable(group, request)."""
    per_method: bool = False
    """Count each HTTP method by itself."""
    cache: str | None = None
    """Name of a ResponseStrategy; None: answers are not cached."""
    compress: bool = True
    latency_objective_ms: float = 500.0


@dataclass(frozen=True, slots=True)
class EditedClass:
    """What a person has set for the endpoint class ``name``, over what is declared; ``values`` by field."""

    name: str
    values: Mapping[str, Any]

    def over(self, declared: EndpointClass | None) -> EndpointClass:
        """The class in force."""
        return replace(declared or EndpointClass(self.name), **self.values)


@dataclass(frozen=True, slots=True)
class ResponseStrategy:
    """How answers of safe requests are cached: for how long, for whom, and what invalidates them."""

    name: str
    ttl: timedelta
    scope: Literal["public", "user"] = "public"
    """``public`` answers are stored for anonymous requests only, unless ``shared_with_users`` is set."""
    shared_with_users: bool = False
    """True: the host states that the answer does not depend on who asks."""
    depends_on: Sequence[str] = ()
    """Model labels; a commit that touches one of them invalidates every answer of this strategy."""
    depends_on_rows: Sequence[str] = ()
    """What its views may name with ``depends_on(row)``: a model's label, or ``trading.Order.portfolio`` where a change
    of an order is one of its portfolio. Only answers of that row become old, not every answer of the strategy."""
    stale_while_revalidate: timedelta = timedelta(0)
    """Past its TTL an answer is given for so long, while one request computes a new one after it has answered."""
    stale_if_error: timedelta = timedelta(0)
    """Past its TTL an answer is given for so long where the view fails (RFC 5861). Never what an event invalidated."""
    query_params: Sequence[str] | None = None
    """Parameters that are part of the key; None: all of them."""

    @property
    def subject(self) -> str:
        """What its counters go by."""
        return f"response:{self.name}"


@dataclass(frozen=True, slots=True)
class RepeatFacts:
    """A statement that one request sends again and again, and the host's line of code that sends it."""

    line: str
    asked: str
    """``table.column`` of the look-up."""
    times: float
    """Runs in one request, on average over the requests that repeat it."""
    seen: int
    """Watched requests that repeated it."""
    fetch: Fetch = ""
    relations: tuple[str, ...] = ()
    """The relation's name on the model that follows it; several where several models could."""


@dataclass(frozen=True, slots=True)
class ListFacts:
    """A statement without a LIMIT that reads many rows, and the host's line of code that sends it."""

    line: str
    asked: str
    rows: float
    """On average over the requests that were seen to read many."""
    seen: int


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the recorder saw of one endpoint in a window. Times in ms."""

    endpoint: str
    """``GET route/template/``"""
    requests: int
    errors: int
    """Answers of 500 and above."""
    p50_ms: float
    p95_ms: float
    mean_ms: float
    queries_per_request: float
    db_ms_per_request: float
    bytes_per_request: float = 0.0
    objective_ms: float = 500.0
    limited: bool = True
    """Whether a rate applies to it."""
    strategy: str = ""
    """Name of its ResponseStrategy."""
    hit_ms: float | None = None
    """Mean time of a cached answer; None where none was given."""
    view_ms: float | None = None
    """Mean time of its view, where its answers are cached."""
    miss_ms: float | None = None
    """Mean time of an answer that was looked up in vain, computed and kept."""
    uncached_ms: float | None = None
    """Mean time that those would have taken without being looked up and kept (limited and compressed all the same)."""
    hits: int = 0
    misses: int = 0
    watched: int = 0
    """Requests in which repeating statements were looked for."""
    repeats: tuple[RepeatFacts, ...] = ()
    lists: tuple[ListFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that a person should do about an endpoint."""

    key: str
    title: str
    why: str
    how: str
    evidence: tuple[tuple[str, Any], ...] = ()
    expected_gain: float | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A scored fact; ``value`` None where too little was seen."""

    name: str
    label: str
    value: float | None
    target: float
    worst: float
    weight: float
    unit: str
    hint: str
