"""How well and how fast ``detect`` finds SQL injection and XSS.

    python -m tests.benchmarks.detection --json [--corpus DIR] [--misses]

The corpus is a directory of JSON Lines (``{"payload", "class": "sqli"|"xss"|"benign", "tier", "id"}``), kept apart from
the project; without one only the times are measured. Rates compare detectors on the same rows; they are no field rates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from paiid_perf.security.detection import detect
from paiid_perf.security.reading import FULL

SIZE = 100_000
#: What a 100 KB value may be made of to make a detector slow.
HOSTILE = (
    "<", ">", "'", '"', "`", "/*", "*/", "--", "#", "(", ")", "{", "[", "\\", "\\'", "&", "&#", "&#60;", "%", "%27",
    "%3C", " ", "=", ";", ":", ",", "|", "$", "$a", "@", ".", "0", "1,", "a", "é", "\0", "’",
    "<a ", "<a b=", "<a href='", '<a href="', "<!--", "<!doctype", "<script", "</", "<?xml", "style=", "url(", "x:",
    "on", " on", "onx=", "'on", '"onclick', "javascript:", "' or ", "or 1=", "and ", "and(", "select ", "(select ",
    "union(", "union all ", "1 or ", "f(", "f(1", "1,(", "x'x", "''", "a' ", "'a", "a'b\"", "+adw", ";drop ", "@import",
    "/**/", "/**/or", "\\x3c", "%u003c", "&tab;", "{{a", "${", "{{alert", "constructor(", "'}", "1=1 and ", "</a>",
    "]('", "',1", "\t", "'\t", "\n", "../", "..\\", "a/", "; ", ";cat ", "cat ", "$(", "${", "{{", "{{1", "{%", "`id",
    "curl -a ", ";curl -a ", "__", "/etc/", "<%", "#set(", "or a", "1 or not ", "window[", "eval(", "file:", "%25",
    "\\74", "a%", "%c0%bc", "`a'", '"or" ', "'-", "and--\n", "case when ", ";show ", ".map(", "in alert", "constructor",
    "ﷺ'", "ＡＮＤ", "(select(f(", "1 ^ (a (b (", "and--x\n", "update--\n", "%5C%27+", "\\u{27}", "\u200b'", "\x01'",
    "say 'aa b' is ",
)  # fmt: skip
#: The naive detector of many tutorials, for comparison.
NAIVE = {
    "sqli": re.compile(r"union|select|insert|update|delete|drop|exec|--|'|\bor\b|\band\b|;", re.I),
    "xss": re.compile(r"<|>|script|onerror|onload|javascript|alert", re.I),
}


def naive(text: str) -> frozenset[str]:
    """Keyword lists, as they are commonly written."""
    return frozenset(name for name, pattern in NAIVE.items() if pattern.search(text))


def rates(rows: Iterable[dict[str, Any]], detector: Callable[[str], frozenset[str]]) -> dict[str, Any]:
    """Share found by class and tier; for benign rows the share that is found although nothing is there."""
    seen: dict[str, int] = defaultdict(int)
    hits: dict[str, int] = defaultdict(int)
    for row in rows:
        key = f"{row['class']}_{row['tier']}"
        found = detector(row["payload"])
        seen[key] += 1
        hits[key] += bool(found) if row["class"] == "benign" else row["class"] in found
    return {
        key: {"rows": seen[key], "found": hits[key], "rate": round(hits[key] / seen[key], 4)}
        for key in sorted(seen)
    }


def load(directory: Path) -> list[dict[str, Any]]:
    """Every row of every JSON Lines file there."""
    return [
        json.loads(line)
        for path in sorted(directory.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def document(size: int = 4_600) -> str:
    """A JSON body such as a form-driven page sends, with the names and texts that break naive filters."""
    items: list[dict[str, object]] = []
    while len(text := json.dumps({"portfolio": 17, "orders": items})) < size:
        number = len(items)
        items.append(
            {
                "id": number,
                "symbol": "BRK.B",
                "client": "O'Reilly & Sons" if number % 8 == 0 else "Martin Group",
                "note": "Buy on the dip; not before Friday, please" if number % 4 == 0 else "",
                "quantity": 100 + number,
                "limit_price": "412.55",
                "created_at": "2026-01-05T10:00:00+00:00",
            }
        )
    return text


def crowd(unit: str, length: int) -> str:
    """A JSON list of at most 100 KB, of different values of that length made of the unit."""
    values = [(f"{n}{unit * (length // len(unit) + 1)}")[: length + 6] for n in range(SIZE // (length + 8))]
    sent = len(json.dumps(values, ensure_ascii=False).encode())  # escapes and other alphabets take more
    return json.dumps(values[: len(values) * SIZE // max(SIZE, sent)], ensure_ascii=False)


def best_of(work: Callable[[], object], times: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The fastest of some runs in seconds (the others were disturbed)."""
    best = float("inf")
    for _ in range(times):
        started = clock()
        work()
        best = min(best, clock() - started)
    return best


def speed() -> dict[str, Any]:
    """Microseconds for a document and some values; milliseconds (of CPU: others on the machine do not count) for the
    worst hostile value and document."""
    text = document()
    hostile = {unit: (unit * (SIZE // len(unit) + 1))[:SIZE] for unit in HOSTILE}
    times = {
        unit: best_of(partial(detect, value), 3, time.thread_time) * 1e3 for unit, value in hostile.items()
    }
    worst = max(times, key=times.__getitem__)
    crowds = {
        (unit, length): best_of(partial(detect, crowd(unit, length)), 5, time.thread_time) * 1e3
        for unit in HOSTILE
        for length in (6, 60, 4_000)
    }
    worst_crowd = max(crowds, key=crowds.__getitem__)
    return {
        "json_bytes": len(text),
        "json_us": round(best_of(lambda: detect(text), 200) * 1e6, 1),
        "json_parse_us": round(best_of(lambda: json.loads(text), 200) * 1e6, 1),
        "name_us": round(best_of(lambda: detect("O'Reilly"), 1_000) * 1e6, 2),
        "plain_us": round(best_of(lambda: detect("Martin Group"), 1_000) * 1e6, 2),
        "hostile_bytes": SIZE,
        "hostile_worst_ms": round(times[worst], 2),
        "hostile_worst_unit": worst,
        "crowd_worst_ms": round(crowds[worst_crowd], 2),
        "crowd_worst": worst_crowd,
        "read_in_full_characters": FULL,
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="a directory of JSON Lines files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--misses", action="store_true", help="also list what was wrong (core and plain)")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"speed": speed()}
    rows = load(options.corpus) if options.corpus else []
    if rows:
        result["rates"] = rates(rows, detect)
        result["naive_rates"] = rates(rows, naive)
        mean = best_of(lambda: [detect(row["payload"]) for row in rows], 3) / len(rows)
        result["speed"]["corpus_value_us"] = round(mean * 1e6, 1)
    if options.misses:
        result["misses"] = [row for row in rows if row["tier"] in ("core", "plain") and is_wrong(row)]
    print(json.dumps(result) if options.json else json.dumps(result, indent=2, ensure_ascii=False))
    return 0


def is_wrong(row: dict[str, Any]) -> bool:
    """A core payload that was not found, or a plain value that was."""
    found = detect(row["payload"])
    return bool(found) if row["class"] == "benign" else row["class"] not in found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
