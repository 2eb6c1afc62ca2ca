"""Which declared class an endpoint belongs to, with its rate and its strategy worked out beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from django.http import HttpRequest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from paiid_perf.api.limits import Rate, parse_rate
from paiid_perf.api.types import EditedClass, EndpointClass, InClass, ResponseStrategy
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.lifetimes.edited import with_edited_ttl
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
    is_plain: bool = field(init=False, default=True)
    """Whether nobody has to be asked about it: it is neither limited nor cached."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_plain", not (self.rate or self.strategy))

    @property
    def name(self) -> str:
        return self.declared.name if self.declared else ""

    @property
    def compress(self) -> bool:
        return self.declared is None or self.declared.compress


class Route(NamedTuple):
    """Where a path leads: its template (UNMATCHED: nowhere), the view's name, and its dotted path."""

    template: str
    view_name: str
    view: str = ""


class EndpointTable:
    """The classes that are declared, by what they match, and the views that named theirs."""

    def __init__(self, endpoints: Iterable[Endpoint], views: Iterable[InClass] = ()) -> None:
        declared = {e.name: e for e in endpoints if e.declared}
        matches = [(match, e) for e in declared.values() if e.declared for match in _matches(e.declared)]
        self._prefixes = sorted(
            ((match, e) for match, e in matches if not match or match.startswith("/")),
            key=lambda pair: -len(pair[0]),
        )
        self._names = {match: e for match, e in matches if match and not match.startswith("/")}
        self._names |= {v.name: declared[v.endpoint_class] for v in views if v.endpoint_class in declared}
        self.has_names = bool(self._names)

    def by_prefix(self, path: str) -> Endpoint:
        """The class whose prefix of ``path`` is the longest."""
        for prefix, endpoint in self._prefixes:
            if path.startswith(prefix):
                return endpoint
        return NONE

    def by_name(self, route: Route) -> Endpoint | None:
        """The class that this view names, or that names this view or route."""
        names = self._names
        return names.get(route.view) or names.get(route.view_name) or names.get(route.template)


NONE = Endpoint()


class Endpoints:
    """Finds a request's class. Follows the registry: what is declared later is known from the next request on."""

    def __init__(self) -> None:
        self._version = -1
        self._table = EndpointTable(())
        self._routes: dict[tuple[Any, str], Route] = {}
        self._templates: dict[str, Route] = {}

    def of(self, request: HttpRequest) -> tuple[Endpoint, Route | None]:
        """The request's class, and its route where it had to be looked up."""
        if self._version != registry.version:
            self._rebuild()
        table = self._table
        if table.has_names:
            route = self.route(request)
            return table.by_name(route) or table.by_prefix(request.path_info), route
        return table.by_prefix(request.path_info), None

    def route(self, request: HttpRequest) -> Route:
        """Where the request's path leads, without running anything."""
        key = (getattr(request, "urlconf", None), request.path_info)
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) >= REMEMBERED_PATHS:
                self._routes.clear()
            route = self._routes[key] = _resolve(*key)
        return route

    def of_template(self, template: str) -> Endpoint:
        """The class of a route's template, for who has no request."""
        if self._version != registry.version:
            self._rebuild()
        route = self._templates.get(template) or Route(template, "")
        return self._table.by_name(route) or self._table.by_prefix(f"/{template}")

    def _rebuild(self) -> None:
        # The views that name their class do so when they are imported. What fails there, Django tells in a moment.
        with suppress(Exception):
            self._templates = {r.template: r for r, _view in _walk(get_resolver().url_patterns, "", ())}
        version = registry.version
        self._table = EndpointTable(map(build, in_force()), registry.all(InClass))
        self._routes.clear()
        self._version = version


def in_force() -> list[EndpointClass]:
    """Every class: as declared, or as a person has set it since (``api.edited``)."""
    classes: dict[str, EndpointClass] = {c.name: c for c in registry.all(EndpointClass)}
    classes |= {edited.name: edited.over(classes.get(edited.name)) for edited in registry.all(EditedClass)}
    return list(classes.values())


def build(declared: EndpointClass) -> Endpoint:
    """The class with its rate parsed and its strategy looked up; what cannot be read is left out and logged."""
    strategy = registry.find(ResponseStrategy, declared.cache or "")
    if strategy is not None:
        strategy = with_edited_ttl(strategy, strategy.subject)
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
    """What the class matches, a view by its dotted path."""
    single = isinstance(declared.match, str) or callable(declared.match)
    matches = (declared.match,) if single else tuple(declared.match)  # type: ignore[arg-type]
    return tuple(match if isinstance(match, str) else dotted(match) for match in matches)


def dotted(view: Any) -> str:
    """A view's dotted path: ``shop.views.orders``; of a class-based view, its class's."""
    view = getattr(view, "view_class", None) or getattr(view, "cls", None) or view
    named = view if hasattr(view, "__qualname__") else type(view)
    return f"{named.__module__}.{named.__qualname__}"


V = TypeVar("V", bound=Callable[..., Any])


def in_class(name: str) -> Callable[[V], V]:
    """Put a view, or a class-based view's class, into an EndpointClass; stronger than what any class matches.

    The view itself is returned as it is: nothing is wrapped.
    """

    def put(view: V) -> V:
        registry.replace(InClass(dotted(view), name))
        return view

    return put


def views() -> Iterator[tuple[Route, Endpoint, Any]]:
    """Every route of the site with its class and its view."""
    for route, view in _walk(get_resolver().url_patterns, "", ()):
        yield route, endpoints.of_template(route.template), view


def known_names() -> set[str]:
    """What a ``match`` that is no path may name: every route, view's name and view's dotted path of the site."""
    routes = _walk(get_resolver().url_patterns, "", ())
    return {name for route, _view in routes for name in route if name}


def _walk(
    patterns: Iterable[URLPattern | URLResolver], prefix: str, namespaces: tuple[str, ...]
) -> Iterator[tuple[Route, Any]]:
    """Every route of a URLconf, with its view."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _walk(pattern.url_patterns, route, inner)
        else:
            name = ":".join((*namespaces, pattern.name)) if pattern.name else ""
            yield Route(route, name, dotted(pattern.callback)), pattern.callback


def _resolve(urlconf: Any, path: str) -> Route:
    try:
        match = resolve(path, urlconf)
    except Resolver404:
        return Route(UNMATCHED, "")
    return Route(match.route or path, match.view_name or "", dotted(match.func))


endpoints = Endpoints()
