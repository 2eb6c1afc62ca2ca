"""Keys, directives and stored answers."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.api import responses
from paiid_perf.api.responses import (
    PUBLIC,
    Asker,
    cache_control,
    is_unchanged,
    key_of,
    query_part,
    vary_names,
)
from paiid_perf.api.types import ResponseStrategy

STRATEGY = ResponseStrategy("s", ttl=timedelta(minutes=1))
WORDS = st.text(st.characters(whitelist_categories=("Ll", "Nd")), min_size=1, max_size=5)


@given(st.lists(st.tuples(WORDS, WORDS), unique_by=lambda pair: pair[0]), st.randoms())
def test_the_order_of_parameters_does_not_matter(pairs: list[tuple[str, str]], chance: object) -> None:
    shuffled = list(pairs)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    for allowed in (None, [name for name, _ in pairs[:2]]):
        one, two = ("&".join("=".join(pair) for pair in some) for some in (pairs, shuffled))
        assert query_part(one, allowed) == query_part(two, allowed)


def test_the_order_of_a_repeated_parameter_does() -> None:
    assert query_part("a=1&a=2", None) != query_part("a=2&a=1", None)
    assert query_part("a=1&a=2", ["a"]) != query_part("a=2&a=1", ["a"])


def test_only_allowed_parameters_count() -> None:
    assert query_part("a=1&utm=x", ["a"]) == query_part("utm=y&a=1", ["a"]) != query_part("a=2", ["a"])
    assert query_part("a=1&b=2", []) == query_part("c=3", [])


@given(
    st.lists(st.text(max_size=5), min_size=2, max_size=2),
    st.lists(st.text(max_size=5), min_size=2, max_size=2),
)
def test_parts_of_a_key_do_not_run_together(one: list[str], two: list[str]) -> None:
    assert (responses.digest(*one) == responses.digest(*two)) == (one == two)


def test_what_makes_another_key() -> None:
    get = RequestFactory().get
    requests = [
        (get("/a/"), PUBLIC, ()),
        (get("/b/"), PUBLIC, ()),
        (get("/a/?q=1"), PUBLIC, ()),
        (get("/a/", secure=True), PUBLIC, ()),
        (get("/a/", headers={"Host": "other.example"}), PUBLIC, ()),
        (get("/a/"), Asker("5"), ()),
        (get("/a/"), Asker("", "credentials"), ()),
        (get("/a/"), PUBLIC, ("HTTP_ACCEPT",)),
        (get("/a/", headers={"Accept": "text/html"}), PUBLIC, ("HTTP_ACCEPT",)),
        (get("/a/", headers={"Accept": ""}), PUBLIC, ("HTTP_ACCEPT",)),
    ]
    assert len({key_of(request, STRATEGY, asker, reads) for request, asker, reads in requests}) == len(
        requests
    )


@pytest.mark.parametrize(
    ("given", "etag", "unchanged"),
    [
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"b", W/"a"', 'W/"a"', True),
        ("*", '"a"', True),
        ('"b"', '"a"', False),
        ("", '"a"', False),
        ('"a"', "", False),
    ],
)
def test_weak_comparison(given: str, etag: str, unchanged: bool) -> None:
    assert is_unchanged(given, etag) is unchanged


def test_directives() -> None:
    assert cache_control('Private, max-age="60", no-store') == {
        "private": "",
        "max-age": "60",
        "no-store": "",
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 60),
        ("max-age=5", 5),
        ("max-age=500", 60),
        ("s-maxage=7, max-age=3", 7),
        ("max-age=x", 60),
        ("max-age=0", 0),
    ],
)
def test_an_answers_own_age_shortens_the_ttl(header: str, seconds: float) -> None:
    response = HttpResponse(headers={"Cache-Control": header})
    assert responses.ttl_of(response, STRATEGY) == seconds


def test_vary() -> None:
    response = HttpResponse(
        headers={"Vary": "Accept, X-Key", "Access-Control-Allow-Origin": "https://a.example"}
    )
    assert vary_names(response) == {"HTTP_ACCEPT", "HTTP_X_KEY", "HTTP_ORIGIN"}
    assert vary_names(HttpResponse(headers={"Vary": "*", "Access-Control-Allow-Origin": "*"})) == {"*"}


@given(st.binary(max_size=3_000), st.booleans())
def test_a_stored_answer_is_given_as_it_was(body: bytes, compress: bool) -> None:
    response = HttpResponse(body, headers={"X-Own": "kept", "Server-Timing": "not kept"})
    answer, blob = responses.take(response, "r/", 60, compress)
    assert responses.read(blob) == answer
    request = RequestFactory().get("/")
    given = responses.give(answer, request, 3.7)
    assert (given.content, given["X-Own"], given["Age"]) == (body, "kept", "3")
    assert "Server-Timing" not in given
    etag = given["ETag"]
    assert (
        responses.give(answer, RequestFactory().get("/", headers={"If-None-Match": etag}), 0).status_code
        == 304
    )


def test_what_cannot_be_read_is_none(caplog: pytest.LogCaptureFixture) -> None:
    assert responses.read(b"\xc1") is None
    assert responses.read(b"\x93\x01\x02\x03") is None
    assert "computed again" in caplog.text


def test_what_is_given_is_the_answer_each_time_and_shares_nothing() -> None:
    made = HttpResponse(b"x" * 5_000, content_type="text/plain", headers={"ETag": '"a"', "X-Made": "ü"})
    answer, _ = responses.take(made, "a/", 60.0, compress=True)
    packed, plain = (
        RequestFactory().get("/", headers={"Accept-Encoding": coding}) for coding in ("gzip", "br")
    )
    for age in (1.9, 2.0, 3.0):
        one, other = responses.give(answer, packed, age), responses.give(answer, plain, age)
        assert gzip.decompress(one.content) == other.content == made.content
        assert (one["ETag"], one["Content-Encoding"], one["Content-Length"]) == (
            'W/"a"',
            "gzip",
            str(len(one.content)),
        )
        assert (other["ETag"], other.has_header("Content-Encoding")) == ('"a"', False)
        for given_ in (one, other):
            assert (given_["Age"], given_["X-Made"]) == (str(int(age)), made["X-Made"])
            assert not given_.has_header("X-Added")
            assert given_["Content-Type"] == "text/plain"
            given_["X-Added"], given_["Content-Type"] = "by a middleware", "text/other"
