"""Times in the reader's zone: the browser tells it by a cookie, unless the host knows it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.test import RequestFactory
from django.utils import timezone

from paiid_perf.admin import zone
from paiid_perf.models import AlertSilence, Mark

pytestmark = pytest.mark.django_db
HOME = "/admin/paiid_perf/"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def reader(client_of):
    """A superuser whose browser tells that it is in Tokyo."""
    client = client_of("superuser")
    client.cookies[zone.COOKIE] = "Asia/Tokyo"
    return client


@pytest.fixture
def recent(rec):
    rec.confirmed_at = rec.applied_at = NOON
    rec.save()
    Mark.objects.create(at=NOON, kind="deployment", label="release 2")
    return rec


@pytest.mark.parametrize("path", ["recommendation/", "recommendation/{pk}/change/", "mark/"])
def test_lists_and_pages_are_made_in_it(path, reader, recent):
    html = reader.get(HOME + path.format(pk=recent.pk)).content.decode()
    assert "9 p.m." in html
    assert html.count("Times in Asia/Tokyo") == 1


def test_the_page_says_which_it_is(reader, client_of):
    told = reader.get(HOME).content.decode()

    assert 'data-zone="Asia/Tokyo"' in told
    assert "Times in Asia/Tokyo" in told


def test_the_next_request_is_not_told_in_it(reader, recent):
    reader.get(f"{HOME}recommendation/{recent.pk}/change/")
    reader.get(HOME)

    assert str(timezone.get_current_timezone()) == "UTC"


def test_what_is_sent_is_read_in_it(reader, post):
    data = {"comment": "lunch", "until_0": "2026-03-01", "until_1": "21:00:00"}

    assert post(reader, f"{HOME}alertsilence/add/", data).status_code == 302

    assert AlertSilence.objects.get().until == NOON


@pytest.mark.parametrize("name", ["", "Nowhere/Else", "../../etc/passwd", "/etc/localtime", "x" * 3000])
def test_nonsense_is_no_zone(name, reader, recent):
    reader.cookies[zone.COOKIE] = name

    assert "noon" in reader.get(f"{HOME}recommendation/").content.decode()


@pytest.mark.parametrize(("told", "known"), zone.MODERN.items())
def test_a_browsers_old_name_is_what_the_database_calls_it_now(told, known):
    request = RequestFactory().get("/", headers={"Cookie": f"{zone.COOKIE}={told}"})

    assert str(zone.zone_of(request)) == known
    assert ZoneInfo(known).utcoffset(NOON) is not None


def test_the_hosts_zone_comes_first():
    request = RequestFactory().get("/", headers={"Cookie": f"{zone.COOKIE}=Asia/Tokyo"})

    with timezone.override(ZoneInfo("America/Lima")):
        assert str(zone.zone_of(request)) == "America/Lima"
        assert zone.asked_for(request) == ""
    assert str(zone.zone_of(request)) == "Asia/Tokyo"
