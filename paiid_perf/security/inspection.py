"""Input inspection: looks at what a request carries, never changes it.

``inspect_request`` is what the middleware asks. Values are looked at leaf by leaf (path, query, headers, form fields,
JSON), as the view will see them; the body is read within bounds (``bodies.py``) and stays byte for byte what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from django.core.exceptions import SuspiciousOperation, TooManyFieldsSent
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from paiid_perf.conf import get_settings
from paiid_perf.registry import registry
from paiid_perf.security.bodies import (
    MAX_BODY,
    MAX_FORM,
    MAX_STRINGS,
    begins_like_json,
    body_of,
    parse_json,
    readings,
    strings_of,
    upload_of,
)
from paiid_perf.security.detection import KINDS, detect, is_suspect, leaves_of, suspects
from paiid_perf.security.events import record_event
from paiid_perf.security.multipart import Fields, Passing
from paiid_perf.security.reading import FULL, read_of
from paiid_perf.security.redaction import one_line, redact
from paiid_perf.security.sink import Carried, carried
from paiid_perf.security.types import ALLOW, SCORES, Action, Finding, InspectionPolicy, Severity, Verdict

logger = logging.getLogger("paiid_perf")

#: Findings that one request may cause; one is enough to decide.
MAX_FINDINGS = 5
EXEMPT_ATTRIBUTE = "perf_inspect_exempt"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PARTS = frozenset({"path", "query", "headers", "body"})
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_FORMS = frozenset({_FORM, _MULTIPART})
_SEVERITY: dict[str, Severity] = {**dict.fromkeys(KINDS, "high"), "duplicate_key": "low"}
#: Characters of a field's name that is remembered.
MAX_NAME = 200
#: Headers that a request may have: servers allow 100 (gunicorn) or less.
MAX_HEADERS = 200
View = TypeVar("View", bound=Callable[..., Any])
Values = Iterator[tuple[str, str]]
#: The way to a leaf, from its end: (the way before, name or index).
Trail = tuple[Any, str | int] | None
_NO_LENGTHS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the fields of one request."""

    policy: InspectionPolicy
    exempt: tuple[str, ...]
    lengths: Mapping[str, int]
    headers: Sequence[str]


class Key(str):
    """A name, looked at as a value; it has no length to keep."""

    __slots__ = ()


def inspect_exempt(*parts: str) -> Callable[[View], View]:
    """A decorator: the view's ``"body"``, ``"query"``, ``"path"`` or fields of that name are not looked at."""

    def mark(view: View) -> View:
        setattr(view, EXEMPT_ATTRIBUTE, frozenset(part.lower() for part in parts))
        return view

    return mark


def inspect_request(request: HttpRequest, view: Callable[..., Any] | None = None) -> Verdict:
    """What to do with the request; findings are recorded as security events. Never raises.

    Args:
        view: the view that will answer (from ``process_view``), whose ``inspect_exempt`` is honoured.
    """
    policy = _policy(request.path_info)
    carried.set(None if policy.mode == "off" else Carried(request, policy.mode == "block"))
    if policy.mode == "off":
        return ALLOW
    exempt: frozenset[str] = getattr(view, EXEMPT_ATTRIBUTE, frozenset())
    findings = tuple(_findings(request, exempt, _rules(policy, exempt)))
    if not findings:
        return ALLOW
    return _decide(request, policy, findings)


def _policy(path: str) -> InspectionPolicy:
    declared = [policy for policy in registry.all(InspectionPolicy) if path.startswith(policy.match)]
    if declared:
        return max(declared, key=lambda policy: len(policy.match))
    return InspectionPolicy("settings", mode=get_settings().INSPECTION)


def _rules(policy: InspectionPolicy, exempt: frozenset[str]) -> Rules:
    settings = get_settings()
    return Rules(
        policy,
        (*settings.INSPECTION_EXEMPT_FIELDS, *policy.exempt_fields, *(exempt - _PARTS)),
        {**settings.INSPECTION_LENGTHS, **policy.lengths},
        settings.INSPECTION_HEADERS,
    )


def _decide(request: HttpRequest, policy: InspectionPolicy, findings: tuple[Finding, ...]) -> Verdict:
    refused = [finding for finding in findings if finding.kind not in _SEVERITY]
    score = sum(policy.scores.get(finding.kind, SCORES.get(finding.kind, 0)) for finding in findings)
    blocks = policy.mode == "block" and score >= policy.threshold
    action: Action = "refuse" if refused else "block" if blocks else "report"
    verdict = Verdict(action, findings, _reason(refused[0]) if refused else "", score)
    for finding in findings:
        record_event(
            f"input_{finding.kind}",
            _SEVERITY.get(finding.kind, "low"),
            request,
            field=finding.field,
            sample=finding.sample,
            action=verdict.action,
        )
    return verdict


def _reason(finding: Finding) -> str:
    """What to tell whoever sent it, in their language."""
    told = {
        "nul": _("%(field)s holds a NUL character."),
        "encoding": _("%(field)s is not valid UTF-8."),
        "depth": _("%(field)s is nested too deep."),
        "length": _("%(field)s is longer than %(limit)d characters."),
        "fields": _("There are too many fields."),
        "headers": _("There are more than %(limit)d headers."),
    }
    return told[finding.kind] % {"field": finding.field, "limit": finding.limit}


# --- looking -----------------------------------------------------------------------------------------


def _findings(request: HttpRequest, exempt: frozenset[str], rules: Rules) -> Iterator[Finding]:
    for part, read in _READERS:
        if part not in exempt:
            try:
                yield from read(request, rules)
            except TooManyFieldsSent:
                yield Finding("fields", part)
            except Exception:
                # What is wrong with one part keeps no other from being looked at.
                logger.exception("The %s of a request was not looked at.", part)


def _path(request: HttpRequest, rules: Rules) -> Iterator[Finding]:
    path = request.path_info
    return _judge("path", [("", path)]) if is_suspect(path) or "\0" in path else iter(())


def _query(request: HttpRequest, rules: Rules) -> Iterator[Finding]:
    raw = request.META.get("QUERY_STRING", "")
    if not raw:
        return iter(())
    if "%" in raw and _has_replaced(request.GET) and not _is_utf8(unquote_to_bytes(raw)):
        return iter([Finding("encoding", "query")])
    return _judge("query", _pairs(request.GET, rules.exempt), rules.lengths)


def _headers(request: HttpRequest, rules: Rules) -> Iterator[Finding]:
    if (
        len(request.META) > MAX_HEADERS
        and sum(name.startswith("HTTP_") for name in request.META) > MAX_HEADERS
    ):
        yield Finding("headers", "headers", limit=MAX_HEADERS)
    for name in rules.headers:
        value = request.META.get(_meta_name(name), "")
        if value and _in_header(value[:FULL]):
            yield from _judge("header", [(name, value)])


@lru_cache(maxsize=64)
def _meta_name(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


@lru_cache(maxsize=2_048)
def _in_header(value: str) -> frozenset[str]:
    """The same few values come with most requests."""
    return detect(value)


def _body(request: HttpRequest, rules: Rules) -> Iterator[Finding]:
    # Any method may have a body, and a view may read it.
    if request.content_type is None or not (request.method in _BODY_METHODS or _declares_body(request)):
        return iter(())
    kind = request.content_type
    if kind in _FORMS and request.method == "POST" and hasattr(request, "_post"):
        # Somebody before us (as CSRF protection does) has had it read.
        return _judge("form", _pairs(request.POST, rules.exempt), rules.lengths)
    if kind == _MULTIPART:
        return _multipart(request, rules)
    is_json = kind == "application/json" or kind.endswith("+json")
    if not is_json and kind != _FORM and not begins_like_json(request):
        return iter(())
    body, is_all = body_of(request, MAX_FORM if kind == _FORM else MAX_BODY)
    if not body:
        return iter(())
    if "HTTP_CONTENT_ENCODING" in request.META and not _is_utf8(body):
        # Compressed, for somebody behind us to open; what is there is opened by nobody here.
        return iter(())
    return (_form if kind == _FORM else _json)(request, rules, body, is_all)


def _declares_body(request: HttpRequest) -> bool:
    meta = request.META
    return meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta


def _form(request: HttpRequest, rules: Rules, body: bytes, is_all: bool) -> Iterator[Finding]:
    if is_all and hasattr(request, "_body"):
        data = request.POST if _is_parsed_by_django(request) else QueryDict(body, encoding="utf-8")
        if b"%" in body and _has_replaced(data) and not _is_utf8(unquote_to_bytes(body)):
            return iter([Finding("encoding", "form")])
        return _judge("form", _pairs(data, rules.exempt), rules.lengths)
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=None)
    return _judge("form", _not_exempt(pairs[:MAX_STRINGS], rules.exempt), rules.lengths)


def _is_parsed_by_django(request: HttpRequest) -> bool:
    """Django parses the forms of POST alone, and those in UTF-8; other parsers take any."""
    return request.method == "POST" and (request.encoding or "utf-8").lower() in ("utf-8", "utf8")


def _multipart(request: HttpRequest, rules: Rules) -> Iterator[Finding]:
    body, fields = upload_of(request)
    if fields is None:
        return iter(())
    if body is None:
        passing = Passing(request._stream, fields, lambda: _judge_late(request, rules, fields))
        request._stream = cast("BinaryIO", passing)
        return iter(())
    fields.feed(body)
    fields.end()
    return _fields(rules, fields)


def _fields(rules: Rules, fields: Fields) -> Iterator[Finding]:
    return _judge("form", _not_exempt(fields.found, rules.exempt), rules.lengths)


def _judge_late(request: HttpRequest, rules: Rules, fields: Fields) -> None:
    """An upload has passed: what is refused now is refused where it was read. Django answers 400."""
    verdict = ALLOW
    try:
        findings = tuple(_fields(rules, fields))
        if findings:
            verdict = _decide(request, rules.policy, findings)
    except Exception:
        logger.exception("The fields of an upload were not looked at.")
    if verdict.status:
        raise SuspiciousOperation(verdict.reason or "a field of an upload is refused")


def _json(request: HttpRequest, rules: Rules, body: bytes, is_all: bool) -> Iterator[Finding]:
    if not is_all:
        text = body.decode("utf-8", "replace")
        return _judge("json", (("", value) for value in strings_of(text)))
    if not _is_utf8(body):
        # What says nothing of JSON may be anything.
        is_json = (request.content_type or "").endswith("json")
        return iter([Finding("encoding", "json")] if is_json else [])
    return chain.from_iterable(_json_text(text, rules) for text in readings(body, request.encoding))


def _json_text(text: bytes | str, rules: Rules) -> Iterator[Finding]:
    try:
        document, twice = parse_json(text)
        values = leaves_of(document)
    except RecursionError:
        return iter([Finding("depth", "json")])
    except ValueError as error:
        if str(error) == "nested too deep":
            return iter([Finding("depth", "json")])
        # Not JSON for us; another parser may take it (lines of JSON, comments, long numbers).
        told = text if isinstance(text, str) else text.decode()
        return _judge("json", (("", value) for value in strings_of(told)))
    found = iter([Finding("duplicate_key", "json")] if twice else [])
    suspicious = suspects(values)
    wanted = None if rules.lengths else {*suspicious, *(value for value in values if "\0" in value)}
    if wanted is not None and not wanted:
        return found
    return chain(found, _judge("json", _leaves(document, rules.exempt, wanted), rules.lengths, suspicious))


Read = Callable[[HttpRequest, "Rules"], Iterator[Finding]]
_READERS: tuple[tuple[str, Read], ...] = (
    ("path", _path),
    ("query", _query),
    ("headers", _headers),
    ("body", _body),
)


def _has_replaced(data: QueryDict) -> bool:
    """Whether Django has put a sign in the place of bytes that are no UTF-8 (or somebody has sent that sign)."""
    return any("\ufffd" in text for name, values in data.lists() for text in (name, *map(str, values)))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _judge(
    where: str,
    values: Iterable[tuple[str, str]],
    lengths: Mapping[str, int] = _NO_LENGTHS,
    suspicious: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """What is wrong with the named values; ``suspicious``: those of them that are, where that is known."""
    found, load = 0, carried.get()
    pairs = list(values)
    if suspicious is None:
        suspicious = suspects(value for _name, value in pairs)
    parts: dict[str, Sequence[str]] = {**dict.fromkeys(suspicious, ()), **read_of(suspicious)}
    for name, value in pairs:
        if not lengths and value not in parts and "\0" not in value:
            continue
        field = one_line(f"{where}:{name}" if name else where, 120)
        if load is not None and value in parts:
            load.add(field, value)
        findings = list(_in_value(field, value, _limit(name, value, lengths), parts.get(value, ())))
        yield from findings
        found += len(findings)
        if found >= MAX_FINDINGS:
            return
        if not findings:
            # The same value again is as harmless.
            parts.pop(value, None)


def _in_value(field: str, value: str, limit: int | None, parts: Iterable[str]) -> Iterator[Finding]:
    if limit is not None and len(value) > limit:
        yield Finding("length", field, limit=limit)
    elif "\0" in value:
        yield Finding("nul", field, redact(value))
    else:
        for kind in sorted(frozenset().union(*map(detect, parts))):
            yield Finding(kind, field, redact(value))


def _limit(name: str, value: str, lengths: Mapping[str, int]) -> int | None:
    """The length that a field may have: by its last name (``orders.0.note`` is a ``note``), else of any field."""
    if not lengths or isinstance(value, Key):
        return None
    last = next((part for part in reversed(name.split(".")) if not part.isdigit()), name)
    return lengths.get(last, lengths.get("*"))


def _is_exempt(name: str, names: tuple[str, ...]) -> bool:
    # A client chooses the names: long ones are not remembered, or they would fill the memory.
    return _names_exempt(name, names) if len(name) <= MAX_NAME else _holds_one(name, names)


def _holds_one(name: str, names: tuple[str, ...]) -> bool:
    lowered = name.lower()
    return any(part in lowered for part in names)


_names_exempt = lru_cache(maxsize=4_096)(_holds_one)


def _pairs(data: QueryDict, names: tuple[str, ...]) -> Values:
    """Every value under its name, and every name as a value of its own."""
    return _not_exempt(((name, str(value)) for name, values in data.lists() for value in values), names)


def _not_exempt(pairs: Iterable[tuple[str, str]], names: tuple[str, ...]) -> Values:
    for name, value in pairs:
        yield name, Key(name)
        if not _is_exempt(name, names):
            yield name, value


def _leaves(document: Any, names: tuple[str, ...], wanted: Container[str] | None) -> Values:
    """The strings and keys of the document that are ``wanted`` (None: all), under their dotted paths; exempt fields
    with all below them left out."""
    level: list[tuple[Trail, Any]] = [(None, document)]
    while level:
        below: list[tuple[Trail, Any]] = []
        for trail, node in level:
            if isinstance(node, dict):
                for key, child in node.items():
                    if wanted is None or key in wanted:
                        yield _dotted(trail), Key(key)
                    if not _is_exempt(key, names):
                        below.append(((trail, key), child))
            elif isinstance(node, list):
                below += [((trail, index), child) for index, child in enumerate(node)]
            elif isinstance(node, str) and (wanted is None or node in wanted):
                yield _dotted(trail), node
        level = below


def _dotted(trail: Trail) -> str:
    """``orders.0.note``; of a very long one, its end."""
    names: list[str] = []
    while trail is not None and len(names) < 20:
        trail, name = trail
        names.append(str(name)[:120])
    return ".".join(reversed(names))[-120:]
