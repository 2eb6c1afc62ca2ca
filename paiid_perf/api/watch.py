"""Notes which headers and cookies a view reads, so that its answer is cached for requests that agree in them.

``Vary`` says what a view's author thought of; this says what the view did. An answer that reflects
``X-Forwarded-Host``, an API key or an A/B cookie without saying so is kept apart by exactly that value and reaches
nobody else. A view that reads all of them is not cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from django.http import HttpRequest
from django.http.request import HttpHeaders

ALL = "*"
COOKIE = "cookie:"
#: What a view may read without its answer depending on it: in the key already, or about the transfer only.
_HARMLESS = frozenset(
    {"HTTP_HOST", "HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"}
)
_PERSONAL = frozenset({"REMOTE_ADDR", "REMOTE_USER", "REMOTE_HOST", "REMOTE_PORT"})


def _matters(key: Any) -> bool:
    if not isinstance(key, str):
        return False
    return (
        key in _PERSONAL or key.startswith("SSL_CLIENT") or (key.startswith("HTTP_") and key not in _HARMLESS)
    )


class _Watched(dict[str, Any]):
    """A dict that tells which of its keys are read; reading all at once is told as ALL."""

    __slots__ = ("told",)

    told: Callable[[str], None]

    def __getitem__(self, key: str) -> Any:
        self.told(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.told(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.told(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.told(key)
        return super().setdefault(key, default)

    def __contains__(self, key: object) -> bool:
        self.told(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.told(ALL)
        return super().__iter__()

    def keys(self) -> Any:
        self.told(ALL)
        return super().keys()

    def values(self) -> Any:
        self.told(ALL)
        return super().values()

    def items(self) -> Any:
        self.told(ALL)
        return super().items()

    def copy(self) -> dict[str, Any]:
        self.told(ALL)
        return dict(super().items())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a watched mapping is not pickled")


class _WatchedHeaders(HttpHeaders):
    """``request.headers`` that tells which are read."""

    told: Callable[[str], None]

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        # Most views read no header: they are gathered when the first is.
        if name != "_store":
            raise AttributeError(name)
        HttpHeaders.__init__(self, self._plain)
        return self.__dict__[name]

    def __getitem__(self, key: str) -> str:
        self.told("HTTP_" + key.replace("-", "_").upper())
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self.told(ALL)
        return super().__iter__()


class Reads:
    """What a request's view has read so far: ``HTTP_…`` and ``REMOTE_…`` keys, ``cookie:name``, or ALL."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def meta(self, key: str) -> None:
        if key == ALL or _matters(key):
            self.names.add(key)

    def cookie(self, name: str) -> None:
        self.names.add(ALL if name == ALL else COOKIE + name)


def watch(request: HttpRequest) -> Reads:
    """Put watched mappings in place of ``request.META``, ``.headers`` and ``.COOKIES``."""
    reads = Reads()
    plain = request.META
    headers = _WatchedHeaders(plain)
    headers.told = reads.meta
    meta = _Watched(plain)
    meta.told = reads.meta
    cookies = _Watched(request.COOKIES)
    cookies.told = reads.cookie
    request.META = meta
    request.COOKIES = cookies
    request.headers = headers
    return reads


def unwatch(request: HttpRequest) -> None:
    """Go on without telling: what is read after the view is not what the answer was made of."""
    for mapping in (request.META, request.COOKIES, request.headers):
        if isinstance(mapping, _Watched | _WatchedHeaders):
            mapping.told = _silent


def _silent(key: str) -> None: ...


def value_of(name: str, meta: Mapping[str, Any], cookies: Mapping[str, str]) -> str:
    """What a request has under a name that ``Reads`` noted; an absent one differs from an empty one."""
    is_cookie = name.startswith(COOKIE)
    value = cookies.get(name.removeprefix(COOKIE)) if is_cookie else meta.get(name)
    return "-" if value is None else f"={value}"
