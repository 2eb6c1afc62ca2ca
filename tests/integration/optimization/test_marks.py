"""Marks on the charts: what is declared otherwise than before, what was migrated, and what a person notes."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.utils import timezone

from paiid_perf.admin.marks import marks as drawn
from paiid_perf.declarations import CacheStrategy, EndpointClass
from paiid_perf.models import Mark
from paiid_perf.optimization import marks
from paiid_perf.testing import register_temporarily

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _first_look(settings):
    settings.PAIID_PERF = settings.PAIID_PERF | {"RELEASE": "1.0"}
    assert marks.look(timezone.now() - 2 * HOUR) == []  # it only remembers


def released(settings, name, now):
    settings.PAIID_PERF = settings.PAIID_PERF | {"RELEASE": name}
    return [mark.label for mark in marks.look(now)]


def test_a_new_release_is_marked_once_and_however_it_rolls_out(settings):
    now = timezone.now()

    assert released(settings, "2.0", now) == ["release 2.0"]
    assert released(settings, "2.0", now) == []
    # Another machine still runs the old one for a minute.
    assert released(settings, "3.0", now + HOUR / 60) == ["release 3.0"]
    assert released(settings, "2.0", now + HOUR / 30) == []
    assert released(settings, "2.0", now + 2 * HOUR) == ["release 2.0"]


def test_what_is_declared_otherwise_is_told():
    now = timezone.now()
    strategy = CacheStrategy("told", ttl=timedelta(minutes=5))
    with register_temporarily(strategy, EndpointClass("exports", "api/exports/", rate="5/m")):
        found = {mark.kind: mark.label for mark in marks.look(now)}

    assert "told ttl: – → 0:05:00" in found["strategy"]
    assert "exports rate: – → 5/m" in found["limit"]
    assert {mark.kind for mark in marks.look(now + 2 * HOUR)} == {"strategy", "limit"}  # it is gone again


def test_migrations_are_a_mark_but_our_first_ones_are_not():
    one, two = (SimpleNamespace(app_label="shop", name=name) for name in ("0002_index", "0001_initial"))
    ours = SimpleNamespace(app_label="paiid_perf", name="0001_initial")

    marks.on_migrate(None, plan=[(one, False), (two, True)])
    marks.on_migrate(None, plan=[(ours, False), (two, False)])
    marks.on_migrate(None, plan=[])
    marks.on_migrate(None, using="elsewhere", plan=[(one, False)])

    assert [mark.label for mark in Mark.objects.filter(kind="migration")] == ["migrated: shop 0002_index"]


def test_a_person_and_a_pipeline_can_mark(capsys):
    call_command("perf", "mark", "spring sale")
    call_command("perf", "mark", "4.2", "--deployment")
    now = timezone.now()

    told = [mark.label for mark in drawn(now - HOUR, now + HOUR)]

    assert told == ["deployment: 4.2", "note: spring sale"]  # the first looks have no words


def test_the_release_is_the_commit_that_is_checked_out(settings, tmp_path):
    settings.PAIID_PERF = settings.PAIID_PERF | {"RELEASE": ""}
    settings.BASE_DIR = tmp_path
    assert marks.release() == ""

    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text("0123456789abcdef\n")
    assert marks.release() == "0123456789ab"
    (git / "HEAD").write_text("fedcba9876543210\n")
    assert marks.release() == "fedcba987654"


def test_many_differences_are_shortened():
    after = {f"s{n} ttl": "1" for n in range(40)}
    told = marks._shortened(marks.difference({}, after))

    assert told.endswith("; and 34 more")
    assert len(told) <= 300
