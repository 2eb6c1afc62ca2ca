"""What is a field for Django is a field for us, however a body is written and torn into pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from io import BytesIO

from django.http.multipartparser import MultiPartParser, MultiPartParserError

from paiid_perf.security.multipart import Fields

HEADS = (
    b'Content-Disposition: form-data; name="%s"',
    b"content-disposition: form-data; name=%s",
    b'Content-Disposition:form-data;name="%s"',
    b'Content-Disposition: form-data; name="%s"; filename=""',
    b'Content-Disposition: form-data; name="%s"; filename="f"',
    b"Content-Disposition: form-data; name=\"%s\"; filename*=utf-8''f",
    b"Content-Disposition: form-data; name*=utf-8''%s",
    b'Content-Disposition: form-data; name*0="%s"',
    b'X: y\r\nContent-Disposition: form-data; name="%s"',
    b'Content-Disposition: form-data; name="%s"\r\nContent-Transfer-Encoding: base64',
    b'Content-Disposition : form-data; NAME="%s"',
    b' Content-Disposition: form-data; name=" %s "',
    b'Content-Disposition: form-data;\r\n name="%s"',
    b'Content-Disposition: form-data; name="a\\"%s"',
    b'Content-Disposition: form-data; name="\xff%s"',
    b'Content-Disposition: form-data; name="%s"; name="two"',
    b"Content-Disposition: form-data; x=y; name='%s'",
    b'Foo: ' + b"x" * 960 + b'\r\nContent-Disposition: form-data; name="%s"',
)  # fmt: skip
VALUES = (b"hi", b"a\r\n", b"--", b"x\r\n--b", b"YXR0YWNr", b"a\r\n\r\nb", b"\xff\xfe", b"x" * 3_000)
ENDS = (b"\r\n--bnd\r\n",) * 5 + (
    b"\n--bnd\r\n",
    b"--bnd\r\n",
    b"\r\n--bnd\n",
    b"\r\n--bnd \r\n",
    b"\r\n--bnd--\r\n",
)


def bodies(count: int) -> Iterator[bytes]:
    chance = random.Random(5)
    for _ in range(count):
        parts = [
            (chance.choice(HEADS) % (b"n%d" % number))
            + b"\r\n\r\n"
            + chance.choice(VALUES)
            + chance.choice(ENDS)
            for number in range(chance.randint(1, 3))
        ]
        yield chance.choice((b"", b"junk\r\n")) + b"--bnd\r\n" + b"".join(parts)


def by_django(body: bytes) -> list[tuple[str, str]]:
    meta = {"CONTENT_TYPE": "multipart/form-data; boundary=bnd", "CONTENT_LENGTH": len(body)}
    data, _files = MultiPartParser(meta, BytesIO(body), [], "utf-8").parse()
    return [(name, value) for name, values in data.lists() for value in values]


def test_no_field_of_django_is_missed() -> None:
    chance, compared = random.Random(7), 0
    for body in bodies(800):
        fields, at = Fields(b"bnd", "utf-8", 10**7, 1_000), 0
        while at < len(body):
            size = chance.choice((1, 3, 7, 50, 5_000))
            fields.feed(body[at : at + size])
            at += size
        fields.end()
        try:
            wanted = by_django(body)
        except MultiPartParserError:
            continue
        compared += len(wanted)
        assert [pair for pair in wanted if pair not in fields.found] == [], body
    assert compared > 500


def test_files_are_not_kept_and_fields_only_within_bounds() -> None:
    head = b'--bnd\r\nContent-Disposition: form-data; name="q"'
    fields = Fields(b"bnd", "utf-8", 10, 2)
    fields.feed(head + b'; filename="f"\r\n\r\n' + b"x" * 100_000)
    assert len(fields._waiting) + len(fields._head) + sum(map(len, fields._value)) < 100
    fields.feed(b"\r\n" + (head + b"\r\n\r\n" + b"y" * 50 + b"\r\n") * 5)
    fields.end()
    assert fields.found == [("q", "y" * 10), ("q", "")]
