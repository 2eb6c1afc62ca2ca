"""Which declared class an endpoint belongs to, with its rate and its strategy worked out beforehand."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import Resolver404, resolve

from paiid_perf.api.limits import Rate, parse_rate
from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.registry import registry

logger = logging.getLogger("paiid_perf")

#: Paths whose route is remembered. Resolving one costs tens of microseconds; a scan of a million only empties it.
REMEMBERED_PATHS = 4_096
UNMATCHED = "<unmatched>"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A class of endpoints, ready for use. ``declared`` is None for what no class matches."""

    declared: EndpointClass | None = None
    rate: Rate | None = None
    strategy: ResponseStrategy | None = None
    tags: tuple[str, ...] = ()
    stale_ms: int = 0
    """For so long past its TTL an answer is given while a new one is computed."""
    kept_ms: int = 0
    """For so long past its TTL it is kept (for when the view fails, too)."""

    @property
    def name(self) -> str:
        return self.declared.name if self.declared else ""

    @property
    def compress(self) -> bool:
        return self.declared is None or self.declared.compress


class Route(NamedTuple):
    """Where a path leads: its template (UNMATCHED: nowhere) and the view's name."""

    template: str
    view_name: str


class EndpointTable:
    """The classes that are declared, by what they match."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        matches = [(match, e) for e in endpoints if e.declared for match in _matches(e.declared)]
        self._prefixes = sorted(
            ((match, e) for match, e in matches if not match or match.startswith("/")),
            key=lambda pair: -len(pair[0]),
        )
        self._names = {match: e for match, e in matches if match and not match.startswith("/")}

    def by_prefix(self, path: str) -> Endpoint:
        """The class whose prefix of ``path`` is the longest."""
        for prefix, endpoint in self._prefixes:
            if path.startswith(prefix):
                return endpoint
        return NONE

    def by_name(self, route: Route) -> Endpoint | None:
        """The class that names this route or view."""
        return self._names.get(route.view_name) or self._names.get(route.template)

    @property
    def has_names(self) -> bool:
        return bool(self._names)


NONE = Endpoint()


class Endpoints:
    """Finds a request's class. Follows the registry: what is declared later is known from the next request on."""

    def __init__(self) -> None:
        self._version = -1
        self._table = EndpointTable(())
        self._routes: dict[tuple[Any, str], Route] = {}

    def of(self, request: HttpRequest) -> tuple[Endpoint, Route | None]:
        """The request's class, and its route where it had to be looked up."""
        self._follow_registry()
        path = request.path_info
        if self._table.has_names:
            route = self.route(request)
            return self._table.by_name(route) or self._table.by_prefix(path), route
        return self._table.by_prefix(path), None

    def route(self, request: HttpRequest) -> Route:
        """Where the request's path leads, without running anything."""
        key = (getattr(request, "urlconf", None), request.path_info)
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) >= REMEMBERED_PATHS:
                self._routes.clear()
            route = self._routes[key] = _resolve(*key)
        return route

    def of_route(self, route: Route) -> Endpoint:
        """The class of a route, for who has no request."""
        self._follow_registry()
        return self._table.by_name(route) or self._table.by_prefix(f"/{route.template}")

    def _follow_registry(self) -> None:
        if self._version != registry.version:
            self._rebuild()

    def _rebuild(self) -> None:
        version = registry.version
        self._table = EndpointTable([build(declared) for declared in registry.all(EndpointClass)])
        self._routes.clear()
        self._version = version


def build(declared: EndpointClass) -> Endpoint:
    """The class with its rate parsed and its strategy looked up; what cannot be read is left out and logged."""
    strategies = {strategy.name: strategy for strategy in registry.all(ResponseStrategy)}
    strategy = strategies.get(declared.cache or "")
    tags = tuple(dict.fromkeys(label.lower() for label in strategy.depends_on)) if strategy else ()
    return Endpoint(declared, _rate(declared), strategy, tags, *_stale(strategy))


def _stale(strategy: ResponseStrategy | None) -> tuple[int, int]:
    if strategy is None:
        return 0, 0
    while_revalidating, on_errors = (
        int(span.total_seconds() * 1000)
        for span in (strategy.stale_while_revalidate, strategy.stale_if_error)
    )
    return while_revalidating, max(while_revalidating, on_errors)


def _rate(declared: EndpointClass) -> Rate | None:
    try:
        return parse_rate(declared.rate) if declared.rate else None
    except ConfigurationError:
        logger.exception("EndpointClass %r is not limited.", declared.name)
        return None


def _matches(declared: EndpointClass) -> tuple[str, ...]:
    return (declared.match,) if isinstance(declared.match, str) else tuple(declared.match)


def _resolve(urlconf: Any, path: str) -> Route:
    try:
        match = resolve(path, urlconf)
    except Resolver404:
        return Route(UNMATCHED, "")
    return Route(match.route or path, match.view_name or "")


endpoints = Endpoints()
