"""Settings that open what Django keeps shut. A table: (setting, what is dangerous about a value, why)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.utils.translation import gettext_lazy

from paiid_perf.security.types import Danger

_MISSING = object()
Judge = Callable[[Any], bool]


def _is(*values: object) -> Judge:
    return lambda value: value in values


def _any_starts(*beginnings: str) -> Judge:
    return lambda values: any(str(one).startswith(beginnings) for one in values or ())


def _contains(*wanted: object) -> Judge:
    return lambda values: any(one in (values or ()) for one in wanted)


def _is_url_in_the_clear(value: Any) -> bool:
    return str(value or "").startswith("http://")


def _is_open_to_all(mode: Any) -> bool:
    return isinstance(mode, int) and bool(mode & 0o002)


#: Values that are not set are not judged: Django's defaults are safe.
TABLE: tuple[tuple[str, Judge, Any], ...] = (
    ("ALLOWED_HOSTS", _contains("*"), gettext_lazy("any Host header is believed, in links and password resets")),
    ("CORS_ALLOWED_ORIGIN_REGEXES", _contains(".*", "^.*$", r"^https?://.*$"), gettext_lazy("any site may ask")),
    ("CSRF_TRUSTED_ORIGINS", _any_starts("http://", "https://*.com"), gettext_lazy("others' forms are believed")),
    ("CSRF_COOKIE_SAMESITE", _is(None, False), gettext_lazy("other sites' requests bring the cookie")),
    ("SESSION_COOKIE_SAMESITE", _is(None, False), gettext_lazy("other sites' requests bring the session")),
    ("DATA_UPLOAD_MAX_MEMORY_SIZE", _is(None), gettext_lazy("one request may fill the memory")),
    ("DATA_UPLOAD_MAX_NUMBER_FIELDS", _is(None), gettext_lazy("one request may hold millions of fields")),
    ("DEBUG_PROPAGATE_EXCEPTIONS", _is(True), gettext_lazy("errors leave the site as they are")),
    ("FILE_UPLOAD_PERMISSIONS", _is_open_to_all, gettext_lazy("everybody on the machine may change what was uploaded")),
    ("STATIC_URL", _is_url_in_the_clear, gettext_lazy("scripts come in the clear (mixed content)")),
    ("MEDIA_URL", _is_url_in_the_clear, gettext_lazy("media come in the clear (mixed content)")),
    ("SECURE_CROSS_ORIGIN_OPENER_POLICY", _is(None, "unsafe-none"), gettext_lazy("other sites' windows reach it")),
    ("SECURE_REFERRER_POLICY", _is(None, "unsafe-url"), gettext_lazy("whole addresses go to other sites")),
)  # fmt: skip


def dangers(value_of: Callable[[str, object], object]) -> tuple[Danger, ...]:
    """Those settings whose value is dangerous; ``value_of(name, default)`` is ``getattr`` of the settings."""
    return tuple(_dangers(TABLE, value_of))


def _dangers(
    table: Iterable[tuple[str, Judge, Any]], value_of: Callable[[str, object], object]
) -> Iterable[Danger]:
    for setting, judge, why in table:
        value = value_of(setting, _MISSING)
        if value is not _MISSING and judge(value):
            yield Danger(setting, str(why))
