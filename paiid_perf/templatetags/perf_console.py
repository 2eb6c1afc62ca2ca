"""Template tags of the console (``admin/tags.py``); none in a project without the Django admin.

Django imports the tags of every installed app for its checks, and the admin's modules cannot be imported where the
admin is not installed.
"""

from __future__ import annotations

from django import template
from django.apps import apps

if apps.is_installed("django.contrib.admin"):
    from paiid_perf.admin.tags import register
else:
    register = template.Library()

__all__ = ["register"]
