"""What the console's pages share: who may do what, and pages that are read, not written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper, wraps
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from paiid_perf.admin.zone import in_readers_zone
from paiid_perf.optimization.plan import conclusion
from paiid_perf.optimization.reports import WINDOWS

VIEW = "paiid_perf.view_console"
RUN = "paiid_perf.run_optimization"
APPROVE = "paiid_perf.approve_recommendation"
APPLY = "paiid_perf.apply_recommendation"
ACKNOWLEDGE = "paiid_perf.acknowledge_alert"
BAN = "paiid_perf.ban_address"
END_SESSION = "paiid_perf.end_session"
VIEW_SAMPLES = "paiid_perf.view_samples"

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    ModelForm = forms.ModelForm[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm

View = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Page:
    """A page beside a model's list: its address under the model's, that address's name, and the view, which is
    called with the model's admin and the request."""

    route: str
    name: str
    view: View


class ModelAdmin(_ModelAdmin):
    """Django's, whose pages tell and read times in the reader's zone, and whose empty list says what to do next."""

    empty: str | Promise = ""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list under its own name: Django would ask to select a row."""
        context = {"title": capfirst(self.opts.verbose_name_plural), "empty": self.empty}
        return super().changelist_view(request, context | (extra_context or {}))

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            url.callback = in_readers_zone(url.callback)
        return urls


class PageAdmin(ModelAdmin):
    """Rows that runs and requests make: seen with ``view_console``, never edited by hand."""

    show_full_result_count = False
    list_per_page = 50
    pages: ClassVar[Sequence[Page]] = ()

    def get_urls(self) -> list[URLPattern]:
        return [*map(self._url, self.pages), *super().get_urls()]

    def _url(self, page: Page) -> URLPattern:
        view = update_wrapper(partial(page.view, self), page.view)
        return path(page.route, in_readers_zone(self.admin_site.admin_view(view)), name=page.name)

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(VIEW)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(VIEW)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        """One of our own templates with what the admin's base template wants."""
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, {**shared, **context})

    def shown(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        """A page of the console that knows its window and its neighbours."""
        return self.page(request, f"paiid_perf/{template}.html", title, windows=list(WINDOWS), **context)

    def address(self, name: str, *args: Any) -> str:
        """An address of this admin site by its name."""
        return reverse(f"admin:{name}", args=args, current_app=self.admin_site.name)

    def address_of(self, row: models.Model) -> str:
        """The page of one row."""
        return self.address(f"paiid_perf_{row._meta.model_name}_change", row.pk)

    def address_of_list(self) -> str:
        """The list of this model."""
        return self.address(f"paiid_perf_{self.opts.model_name}_changelist")


def post_only(view: View) -> View:
    """GET never changes anything."""

    @wraps(view)
    def guarded(page: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(page, request, *args, **kwargs)

    return guarded


def require(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied without the permission: being staff alone opens nothing."""
    if not request.user.has_perm(permission):
        raise PermissionDenied


#: Rows that one confirmation is for: a person reads them, and Django takes 1,000 fields of a form at the most.
AT_ONCE = 200


def first_of(queryset: QuerySet[Any]) -> tuple[list[Any], int]:
    """The first rows of a selection, as many as one confirmation is for, and how many more were selected."""
    rows = list(queryset[:AT_ONCE])
    return rows, queryset.count() - AT_ONCE if len(rows) == AT_ONCE else 0


def pill(kind: str, text: object) -> SafeString:
    """A state as a small label; its colour repeats what its word says."""
    return format_html('<span class="perf-pill perf-pill-{}">{}</span>', kind, text)


def counts(found: Mapping[str, int]) -> str:
    """``2 applied, 1 kept``; a dash for nothing."""
    return conclusion(found) or "–"
