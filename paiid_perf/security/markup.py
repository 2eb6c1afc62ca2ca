"""HTML that people may write: cleaned in the fields that say so, nowhere else. Everything else stays as it was sent.

The work is done by ammonia (https://github.com/rust-ammonia/ammonia) through nh3, the extra ``paiid-perf[html]``.
"""

from __future__ import annotations

import html
import re
from typing import Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.db import models

#: Passes after which a text that still changes is shown as text: parsers disagree about it, which attackers use
#: (mutation XSS, https://cure53.de/fp170.pdf).
PASSES = 6
#: Each parser takes away one line break at the beginning of <pre>.
_LEADING_BREAKS = re.compile(r"(<pre(?:\s[^<>]*)?>)\n+")


def sanitize_html(text: str, tags: frozenset[str] | None = None) -> str:
    """The HTML without what a browser would run; cleaning it again changes nothing.

    Args:
        tags: names of the elements that stay, and no others; None: those that ammonia takes for harmless.

    Raises:
        ImproperlyConfigured: the extra ``html`` is not installed.
    """
    for _ in range(PASSES):
        cleaned = _cleaned(text, tags)
        if cleaned == text:
            return text
        text = cleaned
    return encode_entities(text)


def _cleaned(text: str, tags: frozenset[str] | None) -> str:
    try:
        import nh3
    except ImportError:
        raise ImproperlyConfigured("Cleaning HTML needs nh3: pip install 'paiid-perf[html]'") from None
    return _LEADING_BREAKS.sub(r"\1", nh3.clean(text, tags=None if tags is None else set(tags)))


def encode_entities(text: str) -> str:
    """The text as HTML shows it, for the rare place that no template escapes."""
    return html.escape(text)


class CleanHTML:
    """Put before the field class of a serializer: ``class Body(CleanHTML, serializers.CharField)``."""

    tags: frozenset[str] | None = None

    def to_internal_value(self, data: Any) -> Any:
        """What the field makes of the data, cleaned."""
        value = super().to_internal_value(data)  # type: ignore[misc]
        return sanitize_html(value, self.tags) if isinstance(value, str) else value


class CleanHTMLFormField(forms.CharField):
    """A form field whose value is HTML: cleaned before it is validated."""

    widget = forms.Textarea

    def __init__(self, *, tags: frozenset[str] | None = None, **kwargs: Any) -> None:
        self.tags = tags
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        """The text, cleaned."""
        text = super().to_python(value)
        return sanitize_html(text, self.tags) if text else text


class CleanHTMLField(models.TextField):  # type: ignore[type-arg]
    """A model field of HTML that is cleaned whenever its row is saved (``QuerySet.update`` saves no row).

    What is cleaned away changes no column: ``tags`` stands in no migration.
    """

    def __init__(self, *args: Any, tags: frozenset[str] | None = None, **kwargs: Any) -> None:
        self.tags = tags
        super().__init__(*args, **kwargs)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Clean the value, also the one that the instance has."""
        value = super().pre_save(model_instance, add)
        if isinstance(value, str):
            value = sanitize_html(value, self.tags)
            setattr(model_instance, self.attname, value)
        return value
