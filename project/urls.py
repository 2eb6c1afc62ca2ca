"""The host's addresses."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="landing.html"), name="landing"),
    path("admin/", admin.site.urls),
    path("api/optimization/", include("paiid_perf.http.urls")),
    path("api/", include("project.trading.urls")),
]
