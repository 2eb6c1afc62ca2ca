"""Input inspection on real requests: finds, records, decides, and changes nothing."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from paiid_perf.models import SecurityEvent
from paiid_perf.registry import registry
from paiid_perf.security import actions
from paiid_perf.security.inspection import MAX_BODY, inspect_exempt, inspect_request
from paiid_perf.security.types import InspectionPolicy

pytestmark = pytest.mark.django_db
ATTACK = "x' OR 'a'='a' --"
SECRET = "hunter2-4f1c"
factory = RequestFactory()


def get(query):
    return factory.get("/search/", query, REMOTE_ADDR="203.0.113.7")


def post_json(document, **headers):
    return factory.post("/orders/", json.dumps(document), content_type="application/json", **headers)


def test_reports_by_default_and_lets_the_request_go():
    verdict = inspect_request(get({"q": ATTACK}))
    assert (verdict.action, verdict.status) == ("report", 0)
    assert [(f.kind, f.field) for f in verdict.findings] == [("sqli", "query:q")]


def test_blocks_when_told_to(perf):
    perf(INSPECTION="block")
    assert inspect_request(get({"q": ATTACK})).status == 403
    assert inspect_request(get({"q": "O'Reilly"})).action == "allow"


def test_off_is_off(perf):
    perf(INSPECTION="off")
    assert inspect_request(get({"q": ATTACK, "n": "\0"})).action == "allow"


@pytest.mark.parametrize(
    "name",
    [
        "O'Reilly",
        "D'Angelo & Sons <info@example.com>",
        'Robert "Bob" Tables',
        "a < b and c > d",
        "L'été; ça va?",
    ],
)
def test_ordinary_names_pass_untouched(perf, name):
    perf(INSPECTION="block")
    for request in (
        get({"name": name}),
        factory.post("/people/", {"name": name}, content_type="application/x-www-form-urlencoded"),
        post_json({"name": name, "tags": [name]}),
    ):
        before = request.META["QUERY_STRING"]
        assert inspect_request(request).action == "allow"
        assert request.META["QUERY_STRING"] == before
    assert json.loads(post_json({"name": name}).body)["name"] == name


def test_the_body_is_byte_for_byte_what_it_was():
    raw = b'{"name" :  "O\'Reilly", "note": "<b>x</b> \\u00e9", "n": 1.50}'
    request = factory.post("/orders/", raw, content_type="application/json")
    inspect_request(request)
    assert request.body == raw
    form = factory.post("/f/", "a=O%27Reilly&b=%3Cb%3E+x", content_type="application/x-www-form-urlencoded")
    inspect_request(form)
    assert (form.body, form.POST["a"], form.POST["b"]) == (b"a=O%27Reilly&b=%3Cb%3E+x", "O'Reilly", "<b> x")


def test_looks_at_forms_json_leaves_keys_and_the_path():
    form = factory.post(
        "/f/", "comment=%3Cscript%3Ex()%3C/script%3E", content_type="application/x-www-form-urlencoded"
    )
    assert [f.field for f in inspect_request(form).findings] == ["form:comment"]
    found = inspect_request(post_json({"orders": [{"note": "fine"}, {"note": ATTACK}]})).findings
    assert [f.field for f in found] == ["json:orders.1.note"]
    assert inspect_request(post_json({ATTACK: 1})).findings
    assert inspect_request(factory.get("/search/<script>alert(1)</script>/")).findings[0].field == "path"


def test_never_looks_at_passwords_tokens_or_what_is_exempt(perf):
    perf(INSPECTION="block", INSPECTION_EXEMPT_FIELDS=("password", "token", "sql_text"))
    request = post_json({"new_password1": ATTACK, "API_TOKEN": ATTACK, "sql_text": {"deep": [ATTACK]}})
    assert inspect_request(request).action == "allow"

    @inspect_exempt("body")
    def editor(request):
        return None

    assert inspect_request(post_json({"sql": ATTACK}), editor).action == "allow"
    assert inspect_request(get({"q": ATTACK}), editor).status == 403


def test_the_longest_declared_prefix_decides():
    policies = (
        InspectionPolicy("site", match="/", mode="block"),
        InspectionPolicy("wiki", match="/search/", mode="off"),
        InspectionPolicy("orders", match="/orders/", mode="block", exempt_fields=("note",)),
    )
    with registry.temporarily(*policies):
        assert inspect_request(get({"q": ATTACK})).action == "allow"
        assert inspect_request(post_json({"note": ATTACK})).action == "allow"
        assert inspect_request(post_json({"other": ATTACK})).status == 403


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (factory.get("/?q=a%00b"), "nul"),
        (factory.get("/?q=%ff%fe"), "encoding"),
        (factory.post("/", "a=%00", content_type="application/x-www-form-urlencoded"), "nul"),
        (factory.post("/", "a=%c3%28", content_type="application/x-www-form-urlencoded"), "encoding"),
        (factory.post("/", b'{"a": "\xff"}', content_type="application/json"), "encoding"),
        (factory.post("/", b'{"a": "\\u0000"}', content_type="application/json"), "nul"),
        (factory.post("/", b"[" * 10_000 + b"]" * 10_000, content_type="application/json"), "depth"),
        (factory.post("/", b"[" * 300 + b"]" * 300, content_type="application/json"), "depth"),
    ],
)
def test_refuses_what_no_field_can_mean(request_, kind):
    verdict = inspect_request(request_)
    assert verdict.status == 400
    assert verdict.findings[0].kind == kind


def test_leaves_large_bodies_files_and_broken_json_to_the_view():
    large = factory.post(
        "/", b'{"a": "' + b"x" * MAX_BODY + b"' OR 1=1 --\"}", content_type="application/json"
    )
    assert inspect_request(large).action == "allow"
    assert not hasattr(large, "_body"), "a large body must not be read"
    upload = factory.post("/", {"note": ATTACK})
    assert upload.content_type == "multipart/form-data"
    assert inspect_request(upload).action == "allow"
    assert upload.POST["note"] == ATTACK
    assert inspect_request(factory.post("/", b"{broken", content_type="application/json")).action == "allow"


def test_events_hold_no_raw_value_and_the_request_makes_no_query():
    with CaptureQueriesContext(
        connection,
    ) as queries:
        inspect_request(get({"q": f"{SECRET}' OR 'a'='a' --\r\nforged: line"}))
    assert len(queries) == 0
    actions.flush_events()
    event = SecurityEvent.objects.get()
    assert (event.kind, event.severity, event.address, event.path) == (
        "input_sqli",
        "high",
        "203.0.113.7",
        "/search/",
    )
    assert (event.field, event.action) == ("query:q", "report")
    assert SECRET not in event.sample
    assert "hunter" not in event.sample
    assert "\n" not in event.sample
    assert "OR" in event.sample
