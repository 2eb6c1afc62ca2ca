"""The JSON API's addresses; a host includes them, usually at ``api/optimization/``."""

from django.urls import path

from paiid_perf.http import views

app_name = "paiid_perf"
urlpatterns = [
    path("run-full", views.run_full, name="run-full"),
    path("run-quick", views.run_quick, name="run-quick"),
    path("runs/<int:pk>", views.run, name="run"),
    path("status", views.status, name="status"),
    path("health", views.health, name="health"),
    path("metrics", views.metrics, name="metrics"),
    path("metrics/csv", views.metrics_csv, name="metrics-csv"),
    path("metrics/prometheus", views.prometheus, name="prometheus"),
    path("alerts", views.alerts, name="alerts"),
    path("recommendations", views.recommendations, name="recommendations"),
    path("score", views.score, name="score"),
    path("report", views.report, name="report"),
]
