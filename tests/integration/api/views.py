"""A small site whose views do what real ones do, good and bad."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers

from paiid_perf.declarations import depends_on, renew
from paiid_perf.models import LoginFailure

calls: list[str] = []
_numbers = itertools.count()


def _called(request: HttpRequest) -> int:
    calls.append(request.path)
    return next(_numbers)


def number(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}")


def rows(request: HttpRequest) -> HttpResponse:
    _called(request)
    return JsonResponse({"rows": [{"id": n, "name": f"row {n}"} for n in range(200)]})


def users(request: HttpRequest) -> HttpResponse:
    _called(request)
    return JsonResponse({"users": sorted(get_user_model().objects.values_list("username", flat=True))})


def who(request: HttpRequest) -> HttpResponse:
    _called(request)
    user = request.user.get_username() if request.user.is_authenticated else "nobody"
    return HttpResponse(f"I am {user}")


def by_token(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"token {request.META.get('HTTP_AUTHORIZATION', '-')}")


def by_api_key(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"key {request.headers.get('X-Api-Key', '-')}")


def by_cookie(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"name {request.COOKIES.get('name', '-')}")


def by_raw_cookie(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"cookies {request.META.get('HTTP_COOKIE', '-')}")


def by_address(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"address {request.META['REMOTE_ADDR']}")


def by_forwarded_host(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"host {request.META.get('HTTP_X_FORWARDED_HOST', '-')}")


def by_host(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"url {request.build_absolute_uri()}")


def by_everything(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse("\n".join(f"{name}: {value}" for name, value in sorted(request.headers.items())))


def by_meta_copy(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"agent {dict(request.META)['HTTP_USER_AGENT']}")


@vary_on_headers("Accept-Language")
def by_language(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(
        f"language {request.environ_language if hasattr(request, 'environ_language') else ''}"
    )


def sets_cookie(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(f"call {_called(request)}")
    response.set_cookie("visitor", str(_called(request)))
    return response


def writes(request: HttpRequest) -> HttpResponse:
    """Adds a user, and names the answers that the client asks for next."""
    get_user_model().objects.create(username=request.GET["name"])
    renew(request, *request.GET.getlist("then"))
    return HttpResponse(status=int(request.GET.get("status", "201")))


def changes_session(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = _called(request)
    return HttpResponse(f"seen {request.session['seen']}")


def reads_session(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"cart {request.session.get('cart', 'empty')}")


def csrf_form(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse(f"token {get_token(request)}")


@never_cache
def never(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}")


def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}", headers={"Cache-Control": "private, max-age=60"})


def logs_in(request: HttpRequest) -> HttpResponse:
    """What a token-authenticating framework does: the user is known only inside the view."""
    _called(request)
    request.user = get_user_model()(pk=7, username=request.GET.get("as", "ann"))
    return HttpResponse(f"I am {request.user.get_username()}")


def allows_origin(request: HttpRequest) -> HttpResponse:
    _called(request)
    return HttpResponse("shared", headers={"Access-Control-Allow-Origin": request.environ["HTTP_ORIGIN"]})


def vary_all(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}", headers={"Vary": "*"})


def streams(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse([f"call {_called(request)}".encode()])


def fails(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}", status=500)


def missing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}", status=404)


def raises(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the host's own error")


broken = threading.Event()


def breaks(request: HttpRequest) -> HttpResponse:
    number = _called(request)
    if broken.is_set():
        raise RuntimeError("the host's own error")
    return HttpResponse(f"call {number}")


def log_of(request: HttpRequest, pk: int) -> HttpResponse:
    _called(request)
    user = get_user_model().objects.get(pk=pk)
    depends_on(user)
    return HttpResponse(f"{user.get_username()} did {LogEntry.objects.filter(user=user).count()}")


def unheard(request: HttpRequest) -> HttpResponse:
    number = _called(request)
    depends_on(LoginFailure(pk=1))
    return HttpResponse(f"call {number}")


gate = threading.Event()
entered = threading.Semaphore(0)


def slow(request: HttpRequest) -> HttpResponse:
    number = _called(request)
    entered.release()
    gate.wait(10)
    return HttpResponse(f"call {number}")


async def anumber(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"call {_called(request)}")


async def slow_async(request: HttpRequest) -> HttpResponse:
    number = _called(request)
    await asyncio.sleep(0.05)
    return HttpResponse(f"call {number}")


VIEWS: dict[str, Any] = {
    name: view
    for name, view in globals().items()
    if callable(view) and getattr(view, "__module__", "") == __name__ and not name.startswith("_")
}
urlpatterns = [
    path(f"{scope}/{name}/", view, name=f"{scope}-{name}")
    for scope in ("public", "user", "shared", "limited", "plain")
    for name, view in VIEWS.items()
] + [
    path("stale/number/", number),
    path("stale/slow/", slow),
    path("sturdy/breaks/", breaks),
    path("writes/", writes),
    path("rows/<int:pk>/", log_of),
    path("rows/unheard/", unheard),
    path("row/<int:n>/", number),
]
