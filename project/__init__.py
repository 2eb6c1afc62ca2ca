"""The host: a small trading platform that runs paiid_perf, for the demo and the tests."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
