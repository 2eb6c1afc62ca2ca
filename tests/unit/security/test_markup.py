"""Cleaning of HTML: where it is declared, once, and no more."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from typing import Any
from unittest.mock import patch

import pytest
from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.markup import (
    CleanHTML,
    CleanHTMLField,
    CleanHTMLFormField,
    encode_entities,
    sanitize_html,
)
from tests.unit.security.test_detection import XSS

PIECES = (
    "<b>", "</b>", "<pre>", "\n", "<p>", "&", "&lt;", "&amp;lt;", "<a href=x>", "<script>", "<style>", "x", "'", '"',
    "<table>", "<tr>", "<td>", "<svg>", "<math>", "<!--", "-->", "<li>", "<select>", "<option>", "<textarea>",
    "<title>", "&#60;", "<form>", "</p>", "<mglyph>", "<img src=x onerror=alert(1)>", "</table>", "<noscript>",
    "javascript:x()",
)  # fmt: skip


def _elements(text: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    found: list[tuple[str, list[tuple[str, str | None]]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, attrs))  # type: ignore[method-assign]
    parser.feed(text)
    return found


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = sanitize_html(text)
    assert sanitize_html(once) == once


@pytest.mark.parametrize("text", [text for text in XSS if "<" in text])
def test_nothing_that_runs_is_left(text: str) -> None:
    for name, attributes in _elements(sanitize_html(text)):
        assert name not in ("script", "style", "iframe", "svg", "object", "form")
        assert not [name for name, value in attributes if name.startswith("on") or "script:" in str(value)]


def test_what_may_stay_stays() -> None:
    assert sanitize_html("<p>O'Reilly <em>said</em> <a title='x'>so</a></p>").startswith(
        "<p>O'Reilly <em>said</em>"
    )
    assert sanitize_html("<p><em>x</em><b>y</b></p>", frozenset({"b"})) == "x<b>y</b>"
    assert sanitize_html("<pre>\n\n\n  a</pre>") == "<pre>  a</pre>"
    assert encode_entities("<b title='x'>&") == "&lt;b title=&#x27;x&#x27;&gt;&amp;"


def test_a_form_field_cleans_and_another_does_not() -> None:
    class Letter(forms.Form):
        body = CleanHTMLFormField()
        title = forms.CharField()

    raw = "<b onclick=x()>hi</b>"
    letter = Letter({"body": raw, "title": raw})
    assert letter.is_valid()
    assert letter.cleaned_data == {"body": "<b>hi</b>", "title": raw}
    assert not Letter({"body": "<script>x()</script>", "title": "x"}).is_valid(), "nothing of it is left"


def test_a_model_field_cleans_what_is_saved() -> None:
    class Page(models.Model):
        body = CleanHTMLField(null=True)

        class Meta:
            app_label = "markup_test"
            managed = False

        def __str__(self) -> str:
            return self.body

    page = Page(body="<p onclick=x()>hi</p>")
    field: Any = Page._meta.get_field("body")
    assert field.pre_save(page, True) == page.body == "<p>hi</p>"
    assert field.pre_save(Page(body=None), True) is None
    assert field.deconstruct()[1] == "paiid_perf.security.markup.CleanHTMLField"


def test_a_serializer_field_cleans() -> None:
    class CharField:
        def to_internal_value(self, data: Any) -> Any:
            return data

    class Body(CleanHTML, CharField):
        pass

    assert Body().to_internal_value("<i onclick=x()>hi</i>") == "<i>hi</i>"
    assert Body().to_internal_value(5) == 5


def test_without_the_extra_nothing_passes_uncleaned() -> None:
    with patch.dict(sys.modules, {"nh3": None}), pytest.raises(ImproperlyConfigured, match="html"):
        sanitize_html("<b>x</b>")
