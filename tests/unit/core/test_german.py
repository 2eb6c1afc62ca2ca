"""The German catalogue: compiled from what is written, whole for the console, and faithful to its placeholders."""

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
WRITTEN = re.compile(r'\{% (?:translate|trans) (?:"([^"]+)"|\'([^\']+)\')')
#: New strings may wait for a translator a little; a console half in English may not.
ENOUGH = 0.95


@pytest.fixture(scope="module")
def catalogue():
    with (HOME / "django.mo").open("rb") as file:
        return gettext.GNUTranslations(file)


def pairs(catalogue):
    for key, text in catalogue._catalog.items():
        if key:
            yield (key[0] if isinstance(key, tuple) else key), text


def console_strings():
    for path in (APP / "templates").rglob("*.html"):
        for one, other in WRITTEN.findall(path.read_text()):
            yield one or other
    for path in [*(APP / "admin").glob("*.py"), *(APP / "templatetags").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            told = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_", "gettext_lazy")
            if told and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def test_a_translation_keeps_the_placeholders(catalogue):
    wrong = [key for key, text in pairs(catalogue) if set(PLACE.findall(key)) != set(PLACE.findall(text))]

    assert wrong == []


def test_the_console_is_german_throughout(catalogue):
    asked = set(console_strings())
    known = {key for key, _text in pairs(catalogue)}

    assert len(asked) > 250
    assert len(asked & known) / len(asked) >= ENOUGH, sorted(asked - known)


def test_what_ships_is_what_is_written(catalogue):
    source = (HOME / "django.po").read_text()
    texts = re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', source, re.M)

    assert len(texts) > 300
    unescaped = [(a.replace('\\"', '"'), b.replace('\\"', '"')) for a, b in texts if "\\n" not in a]
    assert [a for a, b in unescaped if catalogue.gettext(a) != b] == []


def test_numbers_follow_the_language():
    with translation.override("de"):
        assert number(1234.5, "ms") == "1,23 s"
