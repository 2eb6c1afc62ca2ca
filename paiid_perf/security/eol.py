"""Until when the makers support each series; written down on 2025-11-20 from their own pages.

https://www.djangoproject.com/download/#supported-versions · https://devguide.python.org/versions/ ·
https://www.postgresql.org/support/versioning/
"""

from __future__ import annotations

from datetime import date

AS_OF = date(2025, 11, 20)

END_OF_LIFE: dict[str, dict[str, date]] = {
    "Django": {
        "4.2": date(2026, 4, 30),
        "5.0": date(2025, 4, 2),
        "5.1": date(2025, 12, 31),
        "5.2": date(2028, 4, 30),
        "6.0": date(2027, 4, 30),
        "6.1": date(2027, 12, 31),
    },
    "Python": {
        "3.9": date(2025, 10, 31),
        "3.10": date(2026, 10, 31),
        "3.11": date(2027, 10, 31),
        "3.12": date(2028, 10, 31),
        "3.13": date(2029, 10, 31),
        "3.14": date(2030, 10, 31),
    },
    "PostgreSQL": {
        "13": date(2025, 11, 13),
        "14": date(2026, 11, 12),
        "15": date(2027, 11, 11),
        "16": date(2028, 11, 9),
        "17": date(2029, 11, 8),
        "18": date(2030, 11, 14),
    },
}


def ends(product: str, series: str) -> date | None:
    """When support ends; ``date.min`` for series older than the table; None for ones that it does not know."""
    table = END_OF_LIFE.get(product, {})
    if series in table:
        return table[series]
    numbers = _numbers(series)
    return date.min if table and numbers and numbers < min(map(_numbers, table)) else None


def _numbers(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split(".") if part.isdigit())
