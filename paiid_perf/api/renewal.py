"""Answers that a view has made old itself, and that somebody is about to ask for: computed anew once it has answered.

Who places an order looks at the list of orders next. Without this, each such write costs the next reader a miss.
"""

from __future__ import annotations

from io import BytesIO
from urllib.parse import unquote, unquote_to_bytes

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest, get_script_name
from django.http import HttpRequest

#: Where a request keeps the paths that are to be asked for.
_NAMED = "paiid_perf_renew"
#: What a request hands on: who asks, and with which session.
_WHO = ("user", "auser", "session", "session_as_found", "_cached_user", "_acached_user", "csp_nonce")
#: Of a request's body, and of the answer that its client has already.
_ITS_OWN = ("CONTENT_", "CSRF_", "HTTP_IF_", "HTTP_RANGE", "HTTP_TRANSFER_ENCODING")
_ITS_OWN_HEADERS = (b"content-", b"if-", b"range", b"transfer-encoding")


def renew(request: HttpRequest, *urls: str) -> None:
    """Ask for these paths of this site (with their query) as the same user, when this answer is sent.

    For a view that has written: what it made old is in the cache again before its reader asks. Nothing is done where
    the answer is an error, where the path's answers are not cached, or where the one kept is fresh; and no limit counts
    it. The worker is busy with it for as long as the views named take.
    """
    vars(request).setdefault(_NAMED, []).extend(urls)


def renewals(request: HttpRequest) -> list[HttpRequest]:
    """The requests that the view has asked for."""
    return [_like(request, url) for url in vars(request).get(_NAMED, ())]


def _like(request: HttpRequest, url: str) -> HttpRequest:
    path, _, query = url.partition("?")
    other = (
        _over_asgi(request, path, query)
        if isinstance(request, ASGIRequest)
        else _over_wsgi(request, path, query)
    )
    known = vars(request)
    vars(other).update((name, known[name]) for name in _WHO if name in known)
    return other


def _over_wsgi(request: HttpRequest, path: str, query: str) -> HttpRequest:
    kept = {name: value for name, value in request.META.items() if not name.startswith(_ITS_OWN)}
    inside = unquote_to_bytes(path.removeprefix(get_script_name(request.META))).decode("latin-1")  # PEP 3333
    asked = {"REQUEST_METHOD": "GET", "PATH_INFO": inside, "QUERY_STRING": query, "wsgi.input": BytesIO()}
    return WSGIRequest(kept | asked)


def _over_asgi(request: ASGIRequest, path: str, query: str) -> HttpRequest:
    scope = dict(request.scope)
    headers = [pair for pair in scope.get("headers", ()) if not pair[0].lower().startswith(_ITS_OWN_HEADERS)]
    asked = {"method": "GET", "path": unquote(path), "query_string": query.encode(), "headers": headers}
    return ASGIRequest(scope | asked, BytesIO())
