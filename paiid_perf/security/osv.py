"""Advisories asked of a service that speaks as https://api.osv.dev does (https://google.github.io/osv.dev/api/).

It is told the names and versions of what is installed, and nothing else. Asked outside requests only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from http.client import HTTPException
from itertools import islice
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

#: Seconds that one answer may take, bytes that it may have.
PATIENCE = 10.0
LARGEST = 20_000_000
#: Distributions in one question (the service's own limit), pages of one answer, advisories that are read.
BATCH = 1_000
PAGES = 5
ADVISORIES = 500


def is_service(where: str) -> bool:
    """Whether ``ADVISORIES`` names a service, not a file."""
    return where.startswith(("https://", "http://"))


def ask(address: str, installed: Mapping[str, str]) -> Iterator[Any]:
    """Every advisory, in OSV's format, that the service has of what is installed (name → version).

    Raises:
        OSError: it cannot be reached, or refuses.
        ValueError: what it says is no JSON of that form.
    """
    address = address.rstrip("/")
    queries: list[dict[str, Any]] = [
        {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
        for name, version in installed.items()
    ]
    ids = dict.fromkeys(_ids(address, queries))
    for id_, modified in islice(ids, ADVISORIES):
        yield _advisory(address, id_, modified)


def _ids(address: str, queries: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """(id, when it was changed) of each advisory; an answer of several pages names where it goes on."""
    for _ in range(PAGES):
        further: list[dict[str, Any]] = []
        for start in range(0, len(queries), BATCH):
            asked = queries[start : start + BATCH]
            for query, result in zip(asked, _results(address, asked), strict=False):
                for found in result.get("vulns", ()):
                    yield str(found["id"]), str(found.get("modified", ""))
                if token := result.get("next_page_token"):
                    further.append({**query, "page_token": token})
        if not further:
            return
        queries = further


def _results(address: str, queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = _json(Request(f"{address}/v1/querybatch", _body({"queries": queries}), _HEADERS))  # noqa: S310
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise ValueError(f"{address} answers in another form")
    return results


@lru_cache(maxsize=ADVISORIES)
def _advisory(address: str, id_: str, modified: str) -> Any:
    """Read once for each change to it."""
    return _json(Request(f"{address}/v1/vulns/{quote(id_, safe='')}", headers=_HEADERS))  # noqa: S310


_HEADERS = {"Content-Type": "application/json", "User-Agent": "paiid-perf"}


def _body(question: Any) -> bytes:
    return json.dumps(question).encode()


def _json(request: Request) -> Any:
    try:
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            data = answer.read(LARGEST + 1)
    except HTTPException as error:
        raise OSError(f"no whole answer: {error!r}") from error
    if len(data) > LARGEST:
        raise ValueError("the answer is too large")
    return json.loads(data)
