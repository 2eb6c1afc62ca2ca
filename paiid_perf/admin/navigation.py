"""The console's pages as tabs; related lists stand under one tab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

HOME = "app_list"
#: tab → its pages: what comes after ``admin:`` in the address's name → the page's label. The first one is the tab's.
TABS: tuple[tuple[str | Promise, Mapping[str, str | Promise]], ...] = (
    (gettext_lazy("Overview"), {HOME: ""}),
    (
        gettext_lazy("Endpoints"),
        {
            "paiid_perf_endpoints": gettext_lazy("Endpoints"),
            "paiid_perf_endpointrule_changelist": gettext_lazy("Limits and caching"),
        },
    ),
    (gettext_lazy("Queries"), {"paiid_perf_queries": ""}),
    (gettext_lazy("Recommendations"), {"paiid_perf_recommendation_changelist": ""}),
    (
        gettext_lazy("Runs"),
        {
            "paiid_perf_optimizationrun_changelist": gettext_lazy("Runs"),
            "paiid_perf_score_changelist": gettext_lazy("Scores"),
            "paiid_perf_mark_changelist": gettext_lazy("Change marks"),
        },
    ),
    (gettext_lazy("Cache"), {"paiid_perf_cache": ""}),
    (gettext_lazy("Database"), {"paiid_perf_database": ""}),
    (
        gettext_lazy("System"),
        {
            "paiid_perf_system": gettext_lazy("System"),
            "paiid_perf_outlook": gettext_lazy("Outlook"),
        },
    ),
    (
        gettext_lazy("Alerts"),
        {
            "paiid_perf_alert_changelist": gettext_lazy("Alerts"),
            "paiid_perf_alertrule_changelist": gettext_lazy("Alert rules"),
            "paiid_perf_alertsilence_changelist": gettext_lazy("Silences"),
        },
    ),
    (
        gettext_lazy("Security"),
        {
            "paiid_perf_security": gettext_lazy("At a glance"),
            "paiid_perf_securityevent_changelist": gettext_lazy("Events"),
            "paiid_perf_blockedaddress_changelist": gettext_lazy("Blocked addresses"),
            "paiid_perf_usersession_changelist": gettext_lazy("Sessions"),
        },
    ),
    (gettext_lazy("Settings"), {"paiid_perf_settings": ""}),
)


@dataclass(frozen=True, slots=True)
class Tab:
    """One link of the navigation; a tab with several pages has them as ``pages``."""

    label: str | Promise
    url: str
    current: bool
    pages: tuple[Tab, ...] = ()


def tabs(request: HttpRequest, site: str) -> list[Tab]:
    """Every tab, the one that the request lies under marked, and so its page."""
    return [_tab(label, pages, request.path, site) for label, pages in TABS]


def _tab(label: str | Promise, pages: Mapping[str, str | Promise], path: str, site: str) -> Tab:
    found = [Tab(words, url, False) for name, words in pages.items() if (url := _url(name, site))]
    home = _url(HOME, site)
    lying = [page for page in found if (path == home if page.url == home else path.startswith(page.url))]
    # The longest one: a list's address begins that of the pages beside it.
    here = max(lying, key=lambda page: len(page.url), default=None)
    marked = tuple(replace(page, current=page is here) for page in found)
    return Tab(label, found[0].url, here is not None, marked if len(found) > 1 else ())


def _url(name: str, site: str) -> str:
    """Empty where the page is not there: its model's admin is not registered."""
    try:
        args = ["paiid_perf"] if name == HOME else []
        return reverse(f"admin:{name}", args=args, current_app=site)
    except NoReverseMatch:
        return ""
