"""The host's addresses."""

from django.contrib import admin
from django.urls import include, path

from project.views import landing

urlpatterns = [
    path("", landing, name="landing"),
    path("admin/", admin.site.urls),
    path("api/optimization/", include("paiid_perf.http.urls")),
    path("api/", include("project.trading.urls")),
]
