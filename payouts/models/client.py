"""Whom we owe."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.columns import USD_LIMIT, number_above, number_between, usd_field


class Strategy(models.TextChoices):
    THRESHOLD = "threshold", "accumulate, pay out over the client's threshold"
    INSTANT = "instant", "pay out each payment at once"


class Client(models.Model):
    """A client by its id in the payment systems, with its payout strategy and destination."""

    external_id = models.CharField(max_length=64, unique=True, help_text="The client's id in the payment systems.")
    name = models.CharField(max_length=120, blank=True)
    strategy = models.CharField(max_length=16, choices=Strategy.choices, default=Strategy.THRESHOLD)
    wallet_address = models.CharField(max_length=128, help_text="Where payouts go.")
    payout_currency = models.CharField(max_length=16, default="usdt")
    payout_network = models.CharField(max_length=16, default="eth")
    payout_threshold_usd = usd_field(null=True, blank=True, help_text="Required by the threshold strategy.")
    fee_percent = models.DecimalField(
        max_digits=7, decimal_places=4, null=True, blank=True, help_text="Empty: the platform's fee applies."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("external_id",)
        constraints = (
            models.CheckConstraint(condition=~Q(external_id=""), name="client_has_an_external_id"),
            models.CheckConstraint(condition=Q(strategy__in=Strategy.values), name="client_strategy_is_known"),
            models.CheckConstraint(
                condition=~Q(strategy=Strategy.THRESHOLD) | Q(payout_threshold_usd__isnull=False),
                name="threshold_client_has_a_threshold",
            ),
            models.CheckConstraint(
                condition=Q(payout_threshold_usd__isnull=True)
                | number_above("payout_threshold_usd", floor=0, below=USD_LIMIT),
                name="client_payout_threshold_is_positive",
            ),
            models.CheckConstraint(
                condition=Q(fee_percent__isnull=True) | number_between("fee_percent", lowest=0, below=Decimal(100)),
                name="client_fee_percent_is_below_hundred",
            ),
        )

    def __str__(self) -> str:
        return self.name or self.external_id

    @property
    def fee_percent_in_force(self) -> Decimal:
        """The client's own fee in percent, or the platform's."""
        if self.fee_percent is None:
            platform: Decimal = settings.PLATFORM_FEE_PERCENT
            return platform
        return self.fee_percent
