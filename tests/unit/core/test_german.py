"""The German catalogue: compiled from what is written, whole, and faithful to its placeholders."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

import pytest
from django.utils import translation

from paiid_perf.admin.figures import number

APP = Path(__file__).parents[3] / "paiid_perf"
HOME = APP / "locale" / "de" / "LC_MESSAGES"
PLACE = re.compile(r"%(?:\(\w+\))?[-.\d]*[sdfr%]")
CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
WRITTEN = re.compile(r"""\{% (?:translate|trans) (?:"([^"]+)"|'([^']+)')""")
BLOCK = re.compile(r"\{% blocktranslate[^%]*%\}(.*?)(?:\{% plural %\}.*?)?\{% endblocktranslate %\}", re.S)
VARIABLE = re.compile(r"\{\{ (\w+) \}\}")


@pytest.fixture(scope="module")
def catalogue():
    with (HOME / "django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def pairs(catalogue):
    for key, text in catalogue._catalog.items():
        if key:
            yield (key[0] if isinstance(key, tuple) else key), text


def of_templates():
    for path in (APP / "templates").rglob("*.html"):
        text = path.read_text()
        for one, other in WRITTEN.findall(text):
            yield one or other
        for block in BLOCK.findall(text):
            yield VARIABLE.sub(r"%(\1)s", block)


def of_code():
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            told = isinstance(node, ast.Call) and getattr(node.func, "id", "") in CALLS
            if told and node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def test_a_translation_keeps_the_placeholders(catalogue):
    wrong = [key for key, text in pairs(catalogue) if set(PLACE.findall(key)) != set(PLACE.findall(text))]

    assert wrong == []


def test_everything_that_people_read_is_german(catalogue):
    """Missing some? In paiid_perf: ``django-admin makemessages -l de --no-location --no-obsolete --no-wrap``, translate
    what is empty or fuzzy, ``django-admin compilemessages -l de``."""
    asked = {text for text in (*of_templates(), *of_code()) if text}
    known = {key for key, _text in pairs(catalogue)}

    assert len(asked) > 800
    assert sorted(asked - known) == []


def test_what_ships_is_what_is_written(catalogue):
    source = (HOME / "django.po").read_text()
    texts = re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', source, re.M)

    assert len(texts) > 300
    unescaped = [(a.replace('\\"', '"'), b.replace('\\"', '"')) for a, b in texts if "\\n" not in a]
    assert [a for a, b in unescaped if catalogue.gettext(a) != b] == []


def test_numbers_follow_the_language():
    with translation.override("de"):
        assert number(1234.5, "ms") == "1,23 s"
