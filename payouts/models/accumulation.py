"""Our claim row for one payment."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.columns import (
    UNITS_LIMIT,
    USD_LIMIT,
    number_above,
    number_between,
    units_field,
    usd_field,
    usdt_field,
)
from config.lib.lifecycle import Edges, Lifecycle, StatusChange
from payouts.models.client import Client


class AccumulationStatus(models.TextChoices):
    PENDING = "pending"
    SWAPPING = "swapping"
    COMPLETED = "completed"
    HELD = "held"
    VOIDED = "voided"


IN_A_BATCH = (AccumulationStatus.SWAPPING, AccumulationStatus.COMPLETED)


class AccumulationQuerySet(models.QuerySet["Accumulation"]):
    def pending(self) -> AccumulationQuerySet:
        return self.filter(status=AccumulationStatus.PENDING)

    def held(self) -> AccumulationQuerySet:
        return self.filter(status=AccumulationStatus.HELD)


class Accumulation(Lifecycle):
    """One payment, owed to a client in USD until it is converted.

    `pending_usd_amount` is the net claim and never changes; `converted_usdt_amount` is empty until the batch it is in
    was distributed. The wei columns say what really arrived, when it arrived in ETH: empty they mean that no receipt
    was told, and never that something else arrived, unless it is held or voided.

    Moves of a whole batch (pending → swapping → completed) are one event each, on the batch, whose members are frozen
    from the claim on; an accumulation's own `status_changes` hold what happened to it alone.
    """

    edges: ClassVar[Edges] = {
        AccumulationStatus.PENDING: frozenset(
            {AccumulationStatus.SWAPPING, AccumulationStatus.HELD, AccumulationStatus.VOIDED}
        ),
        AccumulationStatus.SWAPPING: frozenset({AccumulationStatus.COMPLETED, AccumulationStatus.PENDING}),
        AccumulationStatus.HELD: frozenset({AccumulationStatus.PENDING, AccumulationStatus.VOIDED}),
    }

    source = models.CharField(max_length=32)
    payment_id = models.CharField(max_length=128)
    # Each foreign key is covered by an index below that also has the order it is read in.
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="accumulations", db_index=False)
    user_id = models.CharField(max_length=64, help_text="The paying customer, by the client's id.")
    subscription_id = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=AccumulationStatus.choices, default=AccumulationStatus.PENDING)

    gross_usd = usd_field()
    fee_percent = models.DecimalField(max_digits=7, decimal_places=4)
    fee_usd = usd_field()
    pending_usd_amount = usd_field(help_text="Net USD; immutable.")

    outcome_currency = models.CharField(max_length=16, blank=True, help_text="The asset that really arrived.")
    outcome_amount = models.CharField(max_length=64, blank=True, help_text="How much of it, as the sender wrote it.")
    received_wei = units_field(null=True, blank=True, help_text="ETH that really arrived; empty if not recorded.")
    fee_wei = units_field(null=True, blank=True)
    net_wei = units_field(null=True, blank=True, help_text="The ETH the batch sends for this payment.")

    batch_conversion = models.ForeignKey(
        "batches.BatchConversion",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="members",
        db_index=False,
    )
    converted_usdt_amount = usdt_field(null=True, blank=True)
    hold_reason = models.TextField(blank=True)

    # Who was to be paid where when the money came; the payout itself goes to the client's current wallet.
    wallet_address = models.CharField(max_length=128)
    payout_currency = models.CharField(max_length=16)
    payout_network = models.CharField(max_length=16)

    content_sha256 = models.CharField(
        max_length=64, editable=False, help_text="Of the payment's canonical content: tells a repeat from a conflict."
    )
    paid_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = AccumulationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            # The payment first: people look for one by its id alone.
            models.UniqueConstraint(fields=("payment_id", "source"), name="accumulation_is_one_per_payment"),
            models.CheckConstraint(
                condition=Q(status__in=AccumulationStatus.values), name="accumulation_status_is_known"
            ),
            models.CheckConstraint(condition=~Q(payment_id=""), name="accumulation_has_a_payment_id"),
            models.CheckConstraint(
                condition=Q(gross_usd=F("fee_usd") + F("pending_usd_amount")),
                name="accumulation_net_plus_fee_is_gross",
            ),
            models.CheckConstraint(
                condition=number_above("gross_usd", floor=0, below=USD_LIMIT)
                & number_between("fee_usd", lowest=0, below=USD_LIMIT)
                & number_above("pending_usd_amount", floor=0, below=USD_LIMIT)
                & number_between("fee_percent", lowest=0, below=Decimal(100)),
                name="accumulation_usd_is_sane",
            ),
            models.CheckConstraint(
                condition=Q(received_wei__isnull=True, fee_wei__isnull=True, net_wei__isnull=True)
                | (
                    Q(received_wei__isnull=False, fee_wei__isnull=False, net_wei__isnull=False)
                    & Q(received_wei=F("fee_wei") + F("net_wei"))
                    & number_above("received_wei", floor=0, below=UNITS_LIMIT)
                    & number_between("fee_wei", lowest=0, below=UNITS_LIMIT)
                    & number_above("net_wei", floor=0, below=UNITS_LIMIT)
                ),
                name="accumulation_net_wei_plus_fee_is_received",
            ),
            models.CheckConstraint(
                condition=Q(status__in=IN_A_BATCH, batch_conversion__isnull=False)
                | (~Q(status__in=IN_A_BATCH) & Q(batch_conversion__isnull=True)),
                name="accumulation_has_a_batch_exactly_in_one",
            ),
            models.CheckConstraint(
                condition=Q(status=AccumulationStatus.COMPLETED, converted_usdt_amount__isnull=False)
                | (~Q(status=AccumulationStatus.COMPLETED) & Q(converted_usdt_amount__isnull=True)),
                name="accumulation_is_completed_exactly_when_converted",
            ),
            # A share may be zero: received units can be fewer than members.
            models.CheckConstraint(
                condition=Q(converted_usdt_amount__isnull=True)
                | number_between("converted_usdt_amount", lowest=0, below=Decimal(10) ** 14),
                name="accumulation_share_is_sane",
            ),
            models.CheckConstraint(
                condition=Q(status=AccumulationStatus.HELD) & ~Q(hold_reason="")
                | ~Q(status=AccumulationStatus.HELD) & Q(hold_reason=""),
                name="held_accumulation_says_why",
            ),
            # Without this, what arrived in another asset would look like what has no receipt, and be paid with our ETH.
            models.CheckConstraint(
                condition=Q(status__in=(AccumulationStatus.HELD, AccumulationStatus.VOIDED))
                | Q(outcome_currency="")
                | Q(net_wei__isnull=False),
                name="accumulation_in_a_batch_came_as_eth_or_unsaid",
            ),
        )
        indexes = (
            models.Index(fields=("id",), condition=Q(status=AccumulationStatus.PENDING), name="accumulation_pending"),
            models.Index(fields=("client", "id"), name="accumulation_by_client"),
            models.Index(
                fields=("batch_conversion", "id"),
                condition=Q(batch_conversion__isnull=False),
                name="accumulation_by_batch",
            ),
        )

    def __str__(self) -> str:
        return self.payment_id


class AccumulationStatusChange(StatusChange):
    subject = models.ForeignKey(Accumulation, on_delete=models.PROTECT, related_name="status_changes")
