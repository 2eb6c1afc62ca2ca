"""A password reset form that keeps the reset limit."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import PasswordResetForm

from paiid_perf.security.events import record_event
from paiid_perf.security.login import allow_reset


class LimitedPasswordResetForm(PasswordResetForm):
    """For ``PasswordResetView.as_view(form_class=LimitedPasswordResetForm)``.

    Past ``PASSWORD_RESET_LIMIT`` no mail is sent; the page says the same as ever, so it tells nobody what exists.
    """

    def save(self, *args: Any, **kwargs: Any) -> None:
        request = kwargs.get("request")
        if request is not None and not allow_reset(request, self.cleaned_data["email"]):
            record_event("password_reset_locked", "medium", request, action="refused")
            return
        super().save(*args, **kwargs)
