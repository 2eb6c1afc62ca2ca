"""Which installed distributions advisories name, and the version that mends them.

Reads OSV's format (https://ossf.github.io/osv-schema/: one advisory, a list of them, or ``{"vulns": [...]}``) and what
``pip-audit -f json`` writes (https://pypi.org/project/pip-audit/). Versions are compared as PEP 440 orders them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paiid_perf.security.types import Severity, Vulnerable

#: Severities from the least to the gravest; advisories of GitHub say MODERATE for medium.
GRAVITY: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
_SAID: Mapping[str, Severity] = {
    "low": "low",
    "moderate": "medium",
    "medium": "medium",
    "high": "high",
    "critical": "critical",
}
_VERSION = re.compile(
    r"\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?(\d*))?"
    r"(?:-(\d+)|[-_.]?(?:post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+[\w.-]*)?\s*\Z",
    re.I,
)
_PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What one advisory says of one distribution."""

    name: str
    id: str
    aliases: tuple[str, ...] = ()
    versions: frozenset[str] = frozenset()
    """Exactly these."""
    spans: tuple[tuple[str, str, str], ...] = ()
    """(introduced, fixed, last affected); empty where it does not say."""
    severity: Severity = "medium"
    summary: str = ""


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_key(text: str) -> Key | None:
    """What orders versions as PEP 440 does; None for a text that is none. ``0`` is before everything."""
    match = _VERSION.match(text)
    if match is None:
        return None
    epoch, release, pre, pre_number, post, post_number, dev, dev_number = match.groups()
    numbers = [int(part) for part in release.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    is_post = post is not None or post_number is not None
    return (
        int(epoch or 0),
        tuple(numbers),
        # A development version without a stage comes before all stages, a release after them.
        (_PRE.get(pre.lower(), pre.lower()), int(pre_number or 0))
        if pre
        else ("",)
        if dev and not is_post
        else ("z",),
        int(post or post_number or 0) if is_post else -1,
        (0, int(dev_number or 0)) if dev else (1, 0),
    )


# --- reading ----------------------------------------------------------------------------------------------


def read(document: Any) -> Iterator[Known]:
    """Every advisory in a parsed JSON document of either format; what is neither gives none."""
    if isinstance(document, list):
        for one in document:
            yield from read(one)
    elif isinstance(document, dict):
        if isinstance(document.get("dependencies"), list):
            yield from _audited(document["dependencies"])
        elif isinstance(document.get("vulns"), list):
            yield from read(document["vulns"])
        elif "id" in document and not document.get("withdrawn"):
            yield from _osv(document)


def _maps(found: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, whatever else a file holds there."""
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _audited(dependencies: Iterable[Any]) -> Iterator[Known]:
    for dependency in _maps(dependencies):
        for found in _maps(dependency.get("vulns")):
            fixes = sorted(filter(version_key, map(str, found.get("fix_versions", ()))), key=_order)
            yield Known(
                canonical(str(dependency.get("name"))),
                str(found.get("id")),
                tuple(map(str, found.get("aliases", ()))),
                frozenset({str(dependency.get("version"))}),
                tuple(("0", fixed, "") for fixed in fixes),
                summary=_line(found.get("description")),
            )


def _osv(advisory: Mapping[str, Any]) -> Iterator[Known]:
    for affected in _maps(advisory.get("affected")):
        package = affected.get("package") or {}
        if package.get("ecosystem", "PyPI") != "PyPI" or "name" not in package:
            continue
        yield Known(
            canonical(str(package["name"])),
            str(advisory["id"]),
            tuple(map(str, advisory.get("aliases", ()))),
            frozenset(map(str, affected.get("versions", ()))),
            tuple(
                span
                for one in _maps(affected.get("ranges"))
                if one.get("type") != "GIT"
                for span in _spans(one)
            ),
            _severity(advisory, affected),
            _line(advisory.get("summary") or advisory.get("details")),
        )


def _spans(ranged: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    introduced = ""
    for event in _maps(ranged.get("events")):
        if "introduced" in event:
            introduced = str(event["introduced"])
        elif introduced and ("fixed" in event or "last_affected" in event):
            yield introduced, str(event.get("fixed", "")), str(event.get("last_affected", ""))
            introduced = ""
    if introduced:
        yield introduced, "", ""


def _severity(*places: Mapping[str, Any]) -> Severity:
    for place in places:
        for key in ("database_specific", "ecosystem_specific"):
            said = str((place.get(key) or {}).get("severity", "")).lower()
            if said in _SAID:
                return _SAID[said]
    return "medium"


def _line(text: Any) -> str:
    return str(text or "").strip().partition("\n")[0][:200]


# --- judging ----------------------------------------------------------------------------------------------


def vulnerable(installed: Mapping[str, str], known: Iterable[Known]) -> tuple[Vulnerable, ...]:
    """The installed distributions (name → version) that advisories name, by name; aliases of one flaw count once."""
    by_name: dict[str, list[Known]] = {}
    names = {canonical(name): (name, version) for name, version in installed.items()}
    for one in known:
        if one.name in names and is_affected(names[one.name][1], one):
            by_name.setdefault(one.name, []).append(one)
    return tuple(_together(*names[name], found) for name, found in sorted(by_name.items()))


def is_affected(version: str, known: Known) -> bool:
    """Whether the version is one that the advisory names."""
    key = version_key(version)
    if version in known.versions or key is None:
        return version in known.versions
    if any(version_key(one) == key for one in known.versions):
        return True
    # pip-audit names the version it saw; its spans only tell what mends it.
    return not known.versions and any(_is_within(key, *span) for span in known.spans)


def _is_within(key: Key, introduced: str, fixed: str, last: str) -> bool:
    begins, ends, until = version_key(introduced), version_key(fixed), version_key(last)
    after = introduced == "0" or (begins is not None and begins <= key)
    before = (ends is None or key < ends) and (until is None or key <= until)
    return after and before


def _together(name: str, version: str, found: list[Known]) -> Vulnerable:
    different: dict[frozenset[str], Known] = {}
    for one in found:
        names = frozenset({one.id, *one.aliases})
        if not any(names & seen for seen in different):
            different[names] = one
    kept = list(different.values())
    fixes = [_fix(version, one) for one in kept]
    return Vulnerable(
        name,
        version,
        tuple(_best_id(one) for one in kept),
        max(fixes, key=_order) if all(fixes) else "",
        max((one.severity for one in found), key=GRAVITY.index),
        next((one.summary for one in kept if one.summary), ""),
    )


def _best_id(known: Known) -> str:
    """A CVE where there is one: it is what people look for."""
    return next((name for name in (known.id, *known.aliases) if name.startswith("CVE-")), known.id)


def _fix(version: str, known: Known) -> str:
    """The lowest version above the installed one that mends this; empty where none is known."""
    key = version_key(version)
    above = [
        fixed
        for _, fixed, _ in known.spans
        if fixed and (ends := version_key(fixed)) and (not key or ends > key)
    ]
    return min(above, key=_order, default="")


def _order(version: str) -> Key:
    return version_key(version) or ()
