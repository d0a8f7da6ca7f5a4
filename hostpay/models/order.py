"""Orders at the swap provider."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.columns import UNITS_LIMIT, number_above, number_between, units_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange
from hostpay.models.payment import HostPayment


class OrderStatus(models.TextChoices):
    ORDERING = "ordering", "being ordered"
    OPEN = "open"
    FINISHED = "finished"
    FAILED = "failed"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


class ExchangeOrder(Lifecycle):
    """One order at the provider. The row is the intent, committed before the call; the answer is stored after it.

    An order nobody pays moves no money and expires, so an order whose answer never came is abandoned and another one
    is made; only the one that is current can ever be paid.
    """

    edges: ClassVar[Edges] = {
        OrderStatus.ORDERING: frozenset({OrderStatus.OPEN, OrderStatus.ABANDONED}),
        OrderStatus.OPEN: frozenset(
            {
                OrderStatus.FINISHED,
                OrderStatus.FAILED,
                OrderStatus.REFUNDED,
                OrderStatus.EXPIRED,
                OrderStatus.ABANDONED,
            }
        ),
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    payment = models.ForeignKey(HostPayment, on_delete=models.PROTECT, related_name="orders")
    status = models.CharField(max_length=16, choices=OrderStatus.choices, default=OrderStatus.ORDERING)
    is_current = models.BooleanField(default=True)
    provider = models.CharField(max_length=16, default="changenow")
    provider_order_id = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 - unique, so absent is NULL
    send_units = units_field(help_text="Base units the order asks us to send.")
    expected_units = units_field(null=True, blank=True, help_text="Base units of proceeds the provider estimated.")
    payin_address = models.CharField(max_length=42, null=True, blank=True)  # noqa: DJ001 - unique, so absent is NULL
    payout_address = models.CharField(max_length=42)
    refund_address = models.CharField(max_length=42)
    valid_until = models.DateTimeField(null=True, blank=True, help_text="The provider's own limit for the deposit.")

    provider_status = models.CharField(
        max_length=32, blank=True, help_text="The provider's latest word, as it was said."
    )
    reported_units = units_field(
        null=True, blank=True, help_text="Proceeds by the provider's word: a cross-check only."
    )
    payin_hash = models.CharField(max_length=66, blank=True)
    payout_hash = models.CharField(max_length=66, blank=True)
    refund_hash = models.CharField(max_length=66, blank=True)
    placed_answer = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    latest_answer = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    polled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("payment",), condition=Q(is_current=True), name="payment_has_one_current_order"
            ),
            models.UniqueConstraint(
                fields=("provider", "provider_order_id"), name="provider_order_belongs_to_one_order"
            ),
            # A pay-in address seen before could credit somebody else's exchange.
            models.UniqueConstraint(fields=("payin_address",), name="payin_address_is_new"),
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="exchange_order_status_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=(OrderStatus.ORDERING, OrderStatus.ABANDONED))
                | (Q(provider_order_id__isnull=False) & Q(payin_address__isnull=False)),
                name="placed_order_has_id_and_address",
            ),
            models.CheckConstraint(
                condition=number_above("send_units", floor=0, below=UNITS_LIMIT), name="exchange_order_sends_something"
            ),
            models.CheckConstraint(
                condition=~Q(status=OrderStatus.ABANDONED) | Q(is_current=False), name="abandoned_order_is_not_current"
            ),
        )

    def __str__(self) -> str:
        return self.provider_order_id or f"order {self.pk}"


class ExchangeOrderStatusChange(StatusChange):
    subject = models.ForeignKey(ExchangeOrder, on_delete=models.PROTECT, related_name="status_changes")


class Arrival(models.Model):
    """What a transaction in a final block brought to the wallet."""

    chain_id = models.PositiveBigIntegerField()
    tx_hash = models.CharField(max_length=66)
    block_number = models.PositiveBigIntegerField()
    block_hash = models.CharField(max_length=66)
    from_address = models.CharField(max_length=42)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class Receipt(Arrival):
    """Proceeds that arrived: one finalised ERC-20 Transfer log to our wallet, credited to one order once."""

    order = models.ForeignKey(ExchangeOrder, on_delete=models.PROTECT, related_name="receipts")
    log_index = models.PositiveIntegerField()
    units = units_field()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("chain_id", "tx_hash", "log_index"), name="transfer_log_is_credited_once"),
            models.CheckConstraint(
                condition=number_above("units", floor=0, below=UNITS_LIMIT), name="receipt_is_positive"
            ),
        )

    def __str__(self) -> str:
        return f"{self.units} units in {self.tx_hash}"


class Refund(Arrival):
    """The asset coming back: what a final transaction from the provider to our wallet brought for one order, once.

    One transaction may have brought it for several orders. A trigger holds that what orders are credited with of it, here
    and in `LateReturn`, is never more than it brought.
    """

    order = models.OneToOneField(ExchangeOrder, on_delete=models.PROTECT, related_name="refund")
    units = units_field(help_text="Wei that came back.")
    brought_units = units_field(help_text="Wei that the whole transaction brought to the wallet, for whatever orders.")
    lost_units = units_field(help_text="Wei of the order that did not come back: the provider's network fee.")
    approval = models.OneToOneField(
        "hostpay.Approval",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="refund",
        help_text="By which two people accepted it; empty for one that proved itself.",
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=number_above("units", floor=0, below=UNITS_LIMIT)
                & number_between("lost_units", lowest=0, below=UNITS_LIMIT),
                name="refund_amounts_are_sane",
            ),
            models.CheckConstraint(
                condition=number_between("brought_units", lowest=1, below=UNITS_LIMIT)
                & Q(units__lte=F("brought_units")),
                name="refund_is_of_what_its_transaction_brought",
            ),
        )
        indexes = (models.Index(fields=("chain_id", "tx_hash"), name="refund_by_transaction"),)

    def __str__(self) -> str:
        return f"{self.units} wei back in {self.tx_hash}"


class WriteOff(models.Model):
    """What an order took and will not give back: the house's loss, booked by two people."""

    order = models.OneToOneField(ExchangeOrder, on_delete=models.PROTECT, related_name="write_off")
    approval = models.OneToOneField("hostpay.Approval", on_delete=models.PROTECT, related_name="write_off")
    lost_units = units_field(help_text="Wei that the order took.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=number_above("lost_units", floor=0, below=UNITS_LIMIT), name="write_off_is_of_something"
            ),
        )

    def __str__(self) -> str:
        return f"{self.lost_units} wei written off"


class LateReturn(Arrival):
    """What came back for an order after two people had ended its payment: the house's, against the loss it had booked.

    The payment and its loss stay as they were decided. The trigger of `Refund` counts these rows too.
    """

    order = models.ForeignKey(ExchangeOrder, on_delete=models.PROTECT, related_name="late_returns")
    units = units_field(help_text="Wei that came back for the order.")
    brought_units = units_field(help_text="Wei that the whole transaction brought to the wallet, for whatever orders.")
    approval = models.OneToOneField(
        "hostpay.Approval",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="late_return",
        help_text="By which two people accepted it; empty for one that proved itself.",
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("chain_id", "tx_hash", "order"), name="late_return_is_booked_once"),
            models.CheckConstraint(
                condition=number_above("units", floor=0, below=UNITS_LIMIT)
                & number_between("brought_units", lowest=1, below=UNITS_LIMIT)
                & Q(units__lte=F("brought_units")),
                name="late_return_is_of_what_its_transaction_brought",
            ),
        )

    def __str__(self) -> str:
        return f"{self.units} wei back late in {self.tx_hash}"
