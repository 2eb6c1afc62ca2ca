"""Input inspection: looks at what a request carries, never changes it.

``inspect_request`` is what the middleware asks. Values are looked at leaf by leaf (path, query, form, JSON), as the
view will see them; the body is read only for forms and JSON of a bounded size and stays byte for byte what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, QueryDict
from django.http.request import RawPostDataException, UnreadablePostError

from paiid_perf.conf import get_settings
from paiid_perf.registry import registry
from paiid_perf.security.detection import detect, is_suspect, leaves_of, suspects
from paiid_perf.security.events import record_event
from paiid_perf.security.redaction import one_line, redact
from paiid_perf.security.sink import Carried, carried
from paiid_perf.security.types import ALLOW, Finding, InspectionPolicy, Severity, Verdict

#: A larger body is not read here: files and bulk imports are the view's own business.
MAX_BODY = 256 * 1024
#: Findings that one request may cause; one is enough to decide.
MAX_FINDINGS = 5
EXEMPT_ATTRIBUTE = "perf_inspect_exempt"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PARTS = frozenset({"path", "query", "body"})
_FORM = "application/x-www-form-urlencoded"
_SEVERITY: dict[str, Severity] = {"sqli": "high", "xss": "high"}
View = TypeVar("View", bound=Callable[..., Any])
Values = Iterator[tuple[str, str]]


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
    findings = tuple(_findings(request, exempt, _exempt_names(policy, exempt)))
    if not findings:
        return ALLOW
    return _decide(request, policy.mode, findings)


def _policy(path: str) -> InspectionPolicy:
    declared = [policy for policy in registry.all(InspectionPolicy) if path.startswith(policy.match)]
    if declared:
        return max(declared, key=lambda policy: len(policy.match))
    return InspectionPolicy("settings", mode=get_settings().INSPECTION)


def _exempt_names(policy: InspectionPolicy, exempt: frozenset[str]) -> tuple[str, ...]:
    return (*get_settings().INSPECTION_EXEMPT_FIELDS, *policy.exempt_fields, *(exempt - _PARTS))


def _decide(request: HttpRequest, mode: str, findings: tuple[Finding, ...]) -> Verdict:
    refused = any(finding.kind not in _SEVERITY for finding in findings)
    verdict = Verdict("refuse" if refused else "block" if mode == "block" else "report", findings)
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


# --- looking -----------------------------------------------------------------------------------------


def _findings(request: HttpRequest, exempt: frozenset[str], names: tuple[str, ...]) -> Iterator[Finding]:
    for part, read in (("path", _path), ("query", _query), ("body", _body)):
        if part not in exempt:
            yield from read(request, names)


def _path(request: HttpRequest, names: tuple[str, ...]) -> Iterator[Finding]:
    return _judge("path", [("", request.path_info)])


def _query(request: HttpRequest, names: tuple[str, ...]) -> Iterator[Finding]:
    raw = request.META.get("QUERY_STRING", "")
    if not raw:
        return iter(())
    if "%" in raw and not _is_utf8(unquote_to_bytes(raw.replace("+", " "))):
        return iter([Finding("encoding", "query")])
    return _judge("query", _pairs(request.GET, names))


def _body(request: HttpRequest, names: tuple[str, ...]) -> Iterator[Finding]:
    if request.method not in _BODY_METHODS or request.content_type is None:
        return iter(())
    if request.content_type == _FORM:
        return _form(request, names)
    if request.content_type == "application/json" or request.content_type.endswith("+json"):
        return _json(request, names)
    return iter(())


def _form(request: HttpRequest, names: tuple[str, ...]) -> Iterator[Finding]:
    body = _bounded_body(request)
    if not body:
        return iter(())
    if b"%" in body and not _is_utf8(unquote_to_bytes(body)):
        return iter([Finding("encoding", "form")])
    return _judge("form", _pairs(request.POST, names))


def _json(request: HttpRequest, names: tuple[str, ...]) -> Iterator[Finding]:
    body = _bounded_body(request)
    if not body:
        return iter(())
    if not _is_utf8(body):
        return iter([Finding("encoding", "json")])
    try:
        document = json.loads(body)
        values = leaves_of(document)
    except RecursionError:
        return iter([Finding("depth", "json")])
    except ValueError as error:
        # Not JSON: the view will say so. Too deep: nobody will.
        return iter([Finding("depth", "json")] if str(error) == "nested too deep" else [])
    if not suspects(values) and "\0" not in "".join(values):
        return iter(())
    return _judge("json", _leaves(document, names))


def _bounded_body(request: HttpRequest) -> bytes:
    """The body, empty where it is too large, already consumed or not to be had (the view will find out)."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return b""
    if not 0 < length <= MAX_BODY:
        return b""
    try:
        return request.body
    except (RawPostDataException, UnreadablePostError, RequestDataTooBig):
        return b""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _judge(where: str, values: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    found, load = 0, carried.get()
    for name, value in values:
        field = one_line(f"{where}:{name}" if name else where, 120)
        if load is not None and is_suspect(value):
            load.add(field, value)
        if "\0" in value:
            yield Finding("nul", field, redact(value))
            found += 1
        else:
            for kind in sorted(detect(value)):
                yield Finding(kind, field, redact(value))
                found += 1
        if found >= MAX_FINDINGS:
            return


def _is_exempt(name: str, names: tuple[str, ...]) -> bool:
    lowered = name.lower()
    return any(part in lowered for part in names)


def _pairs(data: QueryDict, names: tuple[str, ...]) -> Values:
    """Every value under its name, and every name as a value of its own."""
    for name, values in data.lists():
        yield name, name
        if not _is_exempt(name, names):
            for value in values:
                yield name, str(value)


def _leaves(document: Any, names: tuple[str, ...]) -> Values:
    """Every string of the document under its dotted path, and every key; exempt fields with all below them left out."""
    level: list[tuple[str, Any]] = [("", document)]
    while level:
        below: list[tuple[str, Any]] = []
        for path, node in level:
            if isinstance(node, str):
                yield path, node
            elif isinstance(node, dict):
                for key, child in node.items():
                    yield path, key
                    if not _is_exempt(key, names):
                        below.append((f"{path}.{key}".lstrip(".")[:120], child))
            elif isinstance(node, list):
                below.extend((f"{path}.{index}".lstrip("."), child) for index, child in enumerate(node))
        level = below
