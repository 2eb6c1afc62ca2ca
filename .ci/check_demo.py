"""Reads the demo's JSON and exits with 1, saying what is wrong, unless the run succeeded and changed something."""

import json
import sys

NAMES = {
    "database_query_ms",
    "database_query_p95_ms",
    "api_response_ms",
    "api_response_p95_ms",
    "cache_hit_ratio",
    "cache_memory_bytes",
    "security_score",
}


def wrong(found: dict) -> list[str]:
    """What does not hold; an empty list if all does."""
    run, changes, traffic = found["run"], found["changes"], found["traffic"]
    rules = {
        f"the run's status is {run['status']}, not succeeded": run["status"] == "succeeded",
        f"there were {traffic['errors']} traffic errors": traffic["errors"] == 0,
        "no change was kept": changes["kept"] >= 1,
        "no order was placed": traffic["writes"] >= 1,
        f"the headline lacks {NAMES - set(found['headline'])}": set(found["headline"]) >= NAMES,
        f"the phases are {[phase['name'] for phase in run['phases']]}": len(run["phases"]) == 5,
        "the score is missing": run["score"]["overall"] is not None,
        "a figure is not before, after, improvement": all(
            set(figure) == {"before", "after", "improvement"} for figure in found["headline"].values()
        ),
    }
    return [text for text, holds in rules.items() if not holds]


faults = wrong(json.load(sys.stdin))
print("\n".join(faults) or "the demo's JSON is as it should be")
sys.exit(bool(faults))
