"""Celery tasks and the beat schedule; each is a thin call."""
