"""What the system checks read in a host's source code."""

from __future__ import annotations

import inspect
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.views import View
from django.views.decorators.cache import never_cache

from paiid_perf import checks
from paiid_perf.api.sources import personal, writes_of
from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.registry import registry
from project.trading.models import Order


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("Order.objects.bulk_create(rows)", "bulk_create"),
        ("Order.objects.filter(x=1).update(a=2)", "update"),
        ("Order._default_manager.using('a').bulk_update(rows, ['a'])", "bulk_update"),
        ("portfolio.orders.update(a=2)", "update"),
        ("portfolio.orders.filter(x=1).exclude(y=2).update(a=2)", "update"),
        ("def f():\n    found = Order.objects.all()\n    found.update(a=2)", "update"),
        ("async def f():\n    await Order.objects.aupdate(a=2)", "aupdate"),
        ("class A:\n    def f(self):\n        Order.objects.update(a=2)", "update"),
        ("def f():\n    Order.objects.update(a=2)\n    invalidate('trading.Order')", None),
        ("def f():\n    Order.objects.update(a=2)\n    perf.invalidate(Order)", None),
        ("Portfolio.objects.update(a=2)", None),
        ("Order.objects.create(a=2)", None),
        ("options.update(a=2)", None),
        ("{}.update(a=2)", None),
        ("Order.update(", None),
    ],
)
def test_a_write_that_sends_no_signal_is_found(tmp_path: Path, code: str, call: str | None) -> None:
    file = tmp_path / "services.py"
    file.write_text(code)
    assert [write.call for write in writes_of(file, [Order])] == ([call] if call else [])


def by_user(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.user))


@never_cache
def wrapped(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session["a"])


@login_required
def behind(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def own_wrapper(view: Any) -> Any:
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        return view(request) if request.user.is_authenticated else HttpResponse(status=401)

    return checked


@own_wrapper
def checked(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.GET.get("user", ""))


class OfUser(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return self.shown()

    def shown(self) -> HttpResponse:
        return HttpResponse(str(self.request.user))


class Behind(LoginRequiredMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


class Plain(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (by_user, "reads request.user in by_user"),
        (wrapped, "reads request.session in wrapped"),
        (behind, "asks for a login"),
        (checked, "reads request.user in checked"),
        (OfUser.as_view(), "reads request.user in shown"),
        (Behind.as_view(), "asks for a login"),
        (plain, ""),
        (Plain.as_view(), ""),
        (len, ""),
    ],
)
def test_a_personal_view_is_known(view: Any, why: str) -> None:
    found = personal(view)
    assert why in found if why else found == ""


urlpatterns = [path("mine/", by_user), path("all/", plain)]
TTL = inspect.signature(ResponseStrategy).parameters["stale_if_error"].default


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (ResponseStrategy("s", TTL, shared_with_users=True), ["gives all users one answer"]),
        (ResponseStrategy("s", TTL), ["is for anonymous requests only"]),
        (ResponseStrategy("s", TTL, scope="user"), []),
    ],
)
@override_settings(ROOT_URLCONF=__name__)
def test_a_strategy_that_does_not_fit_its_view_is_told(strategy: ResponseStrategy, told: list[str]) -> None:
    with registry.temporarily(EndpointClass("c", ("/mine/", "/all/"), cache="s"), strategy):
        found = [message for message in checks.check_sources(None) if message.id == "paiid_perf.W007"]
    assert [words in message.msg for words, message in zip(told, found, strict=True)] == [True] * len(told)
    assert all("'mine/'" in message.msg for message in found)


def test_the_demos_own_writes_are_all_told_of() -> None:
    assert [m for m in checks.check_sources(None) if m.id == "paiid_perf.W006"] == []


def test_a_silent_write_in_an_app_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs.py").write_text("\n\nget_user_model\nUser.objects.update(is_active=False)")
    model = get_user_model()
    monkeypatch.setattr(checks.sources, "_host_files", lambda configs: [tmp_path / "jobs.py"])
    with registry.temporarily(ResponseStrategy("s", TTL, depends_on=[model._meta.label_lower])):
        [found] = [m for m in checks.check_sources(None) if m.id == "paiid_perf.W006"]
    assert f"{tmp_path / 'jobs.py'}:4 writes auth.User by update()" in found.msg


def test_on_memory_of_its_own_each_process_counts_for_itself(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert [message.id for message in checks.check_stores(None) if message.id != "paiid_perf.W004"] == [
        "paiid_perf.W003",
        "paiid_perf.W005",
    ]
