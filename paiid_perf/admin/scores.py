"""The score's history."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy

from paiid_perf.admin.base import PageAdmin
from paiid_perf.admin.console import AREA_NAMES
from paiid_perf.admin.figures import number
from paiid_perf.models import Score


@admin.register(Score)
class ScoreAdmin(PageAdmin):
    """The score's history."""

    list_display = ("at", "overall_score", "confidence_share", *AREA_NAMES)
    date_hierarchy = "at"
    empty = gettext_lazy("No score yet: every run ends with one.")

    @admin.display(description=gettext_lazy("overall"), ordering="overall")
    def overall_score(self, score: Score) -> str:
        return number(score.overall)

    @admin.display(description=gettext_lazy("confidence"))
    def confidence_share(self, score: Score) -> str:
        return number(score.confidence, "ratio")

    def database(self, score: Score) -> str:
        return _area(score, "database")

    def api(self, score: Score) -> str:
        return _area(score, "api")

    def cache(self, score: Score) -> str:
        return _area(score, "cache")

    def monitoring(self, score: Score) -> str:
        return _area(score, "monitoring")

    def security(self, score: Score) -> str:
        return _area(score, "security")


def _area(score: Score, name: str) -> str:
    return number(score.areas.get(name, {}).get("score"))
