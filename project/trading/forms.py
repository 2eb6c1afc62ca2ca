"""What the API accepts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.validators import MinValueValidator

from project.trading.models import Instrument, Order, Portfolio

SMALLEST = Decimal("0.0001")


class OrderForm(forms.ModelForm):
    """A new order of one of the user's portfolios, for an instrument named by its symbol."""

    symbol = forms.ModelChoiceField(Instrument.objects.all(), to_field_name="symbol")

    class Meta:
        model = Order
        fields = ("portfolio", "side", "quantity", "limit_price")

    def __init__(self, user: AbstractBaseUser | AnonymousUser, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.fields["portfolio"].queryset = Portfolio.objects.filter(owner=user)
        for name in ("quantity", "limit_price"):
            self.fields[name].validators.append(MinValueValidator(SMALLEST))

    def save(self, commit: bool = True) -> Order:
        self.instance.instrument = self.cleaned_data["symbol"]
        return super().save(commit)


class OrderFilter(forms.Form):
    """Which orders to list."""

    status = forms.ChoiceField(choices=Order.Status, required=False)
    symbol = forms.CharField(max_length=12, required=False)
    since = forms.DateTimeField(required=False)

    #: Query parameter → lookup.
    LOOKUPS = {"status": "status", "symbol": "instrument__symbol", "since": "created_at__gte"}

    def lookups(self) -> dict[str, Any]:
        """Arguments for ``filter()``: those that were given."""
        return {self.LOOKUPS[name]: value for name, value in self.cleaned_data.items() if value}
