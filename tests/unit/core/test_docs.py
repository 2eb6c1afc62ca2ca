"""Undocumented means failing: every name that a host can use stands in docs/reference.md."""

import dataclasses
import re
from pathlib import Path

import pytest

from paiid_perf import declarations
from paiid_perf.conf import CHANGE_KINDS, Settings, known_settings
from paiid_perf.http.urls import urlpatterns
from paiid_perf.management.commands.perf import ACTIONS
from paiid_perf.tasks import beat_schedule

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "paiid_perf").rglob("*.py"))


def permissions():
    from django.apps import apps

    models = apps.get_app_config("paiid_perf").get_models()
    return [f"paiid_perf.{codename}" for model in models for codename, _ in model._meta.permissions]


NAMES = {
    "setting": known_settings(),
    "kind of change": CHANGE_KINDS,
    "declaration": [name for name in declarations.__all__ if name not in ("register", "replace")],
    "action": ACTIONS,
    "address": [str(pattern.pattern).replace("<int:pk>", "ID") for pattern in urlpatterns],
    "task": beat_schedule(),
    "check": sorted(set(re.findall(r"paiid_perf\.[EIW]\d{3}", CODE))),
    "permission": permissions(),
}


@pytest.mark.parametrize(("what", "name"), [(what, name) for what, names in NAMES.items() for name in names])
def test_it_is_in_the_reference(what, name):
    assert f"`{name}`" in REFERENCE, f"the {what} {name} is not in docs/reference.md"


def test_the_reference_lists_no_setting_or_check_that_is_none():
    section = REFERENCE.split("## Settings")[1].split("### Policies")[0]
    told = set(re.findall(r"^\| `(\w+)`", section, re.M))

    assert told == {field.name for field in dataclasses.fields(Settings)}
    assert set(re.findall(r"paiid_perf\.[EIW]\d{3}", REFERENCE)) == set(NAMES["check"])


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]

    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
