"""Money that leaves the host wallet for a purpose."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.columns import UNITS_LIMIT, USD_LIMIT, number_above, number_between, units_field, usd_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange


class Context(models.TextChoices):
    """What the money is for; stored with the payment, never guessed from an id."""

    BATCH = "batch", "batch conversion"
    THRESHOLD = "threshold", "payout of a client over its threshold"
    INSTANT = "instant", "payment of an instant client"


class PaymentStatus(models.TextChoices):
    REQUESTED = "requested"
    ORDERED = "ordered"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    MINED = "mined"
    FINAL = "final"
    SETTLED = "settled"
    FAILED = "failed"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class SignerTask(models.TextChoices):
    """What the signer is asked to do for a payment that it has signed before."""

    REPLACE = "replace", "sign the same payment with higher fees"
    CANCEL = "cancel", "sign a transfer of nothing to ourselves on its nonce"


# No money moved or all of it came back: the purpose may be requested anew, once its requester was told.
CLOSED_UNPAID = (PaymentStatus.FAILED, PaymentStatus.REFUNDED, PaymentStatus.CANCELLED)
TERMINAL = (PaymentStatus.SETTLED, *CLOSED_UNPAID)
# Signed bytes exist and the chain has not finally decided about them: the wallet's nonce line is busy.
ON_THE_WIRE = (PaymentStatus.SIGNED, PaymentStatus.BROADCAST, PaymentStatus.MINED)

# Until its requester was told the end, books elsewhere count on this one: another beside it would be paid twice.
_STANDS = ~Q(status__in=CLOSED_UNPAID) | Q(delivered_at__isnull=True)


class HostPaymentQuerySet(models.QuerySet["HostPayment"]):
    def live(self) -> HostPaymentQuerySet:
        """Those that stand for their (context, reference): everything but the closed unpaid whose requester was told."""
        return self.filter(_STANDS)

    def due(self, now: datetime) -> HostPaymentQuerySet:
        """Those that something should be done for, longest due first.

        What nobody signed yet and a person must decide about is never due, whoever made it so.
        """
        undecided = ~Q(review_reason="") & Q(status__in=(PaymentStatus.REQUESTED, PaymentStatus.ORDERED))
        return self.filter(next_action_at__lte=now).exclude(undecided).order_by("next_action_at")

    def undelivered(self) -> HostPaymentQuerySet:
        """Ended, and the requester has not been told."""
        return self.filter(status__in=TERMINAL, delivered_at__isnull=True)

    def in_review(self) -> HostPaymentQuerySet:
        return self.exclude(review_reason="")

    def on_the_wire(self) -> HostPaymentQuerySet:
        return self.filter(status__in=ON_THE_WIRE)


class HostPayment(Lifecycle):
    """One payment out of the host wallet: `amount_units` of `asset`, exchanged into `to_asset` for `payout_address`.

    Beside its status it says what it waits for (`waiting_reason`), what it does not know (`unknown_reason`) and what
    a person must decide (`review_reason`). `next_action_at` is when a worker looks at it again; a worker that takes it
    up moves that time ahead as its lease.
    """

    edges: ClassVar[Edges] = {
        PaymentStatus.REQUESTED: frozenset({PaymentStatus.ORDERED, PaymentStatus.FAILED, PaymentStatus.CANCELLED}),
        # Back to requested when the order expired unpaid: a new one is made.
        PaymentStatus.ORDERED: frozenset(
            {PaymentStatus.SIGNED, PaymentStatus.REQUESTED, PaymentStatus.FAILED, PaymentStatus.CANCELLED}
        ),
        PaymentStatus.SIGNED: frozenset({PaymentStatus.BROADCAST}),
        # Failed when the chain has finally refused the transaction (receipt status 0): the value stayed here.
        # Cancelled when the self-transfer was mined on its nonce instead of it.
        PaymentStatus.BROADCAST: frozenset({PaymentStatus.MINED, PaymentStatus.FAILED, PaymentStatus.CANCELLED}),
        # Back to broadcast when a reorganisation took the block away.
        PaymentStatus.MINED: frozenset({PaymentStatus.FINAL, PaymentStatus.BROADCAST}),
        PaymentStatus.FINAL: frozenset({PaymentStatus.SETTLED, PaymentStatus.REFUNDED, PaymentStatus.FAILED}),
    }

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    context = models.CharField(max_length=16, choices=Context.choices)
    reference = models.CharField(max_length=64, help_text="The requester's own id of the purpose.")
    status = models.CharField(max_length=16, choices=PaymentStatus.choices, default=PaymentStatus.REQUESTED)
    wallet = models.ForeignKey("hostpay.Wallet", on_delete=models.PROTECT, related_name="payments")

    asset = models.CharField(max_length=16, default="ETH")
    amount_units = units_field(help_text="Base units (wei) that the requester asks to send.")
    unpriced_usd = usd_field(
        default=0, help_text="USD to send beside that, valued in ETH by the provider's estimate when it is ordered."
    )
    priced_units = units_field(null=True, blank=True, help_text="What the unpriced USD came to, in base units.")
    expected_usd = usd_field(
        null=True,
        blank=True,
        help_text="What the whole is worth in the requester's books; empty if it did not say.",
    )
    tolerance_bps = models.PositiveIntegerField(
        default=1000, help_text="How far proceeds may be from the expected USD before a person decides."
    )
    valued_usd = usd_field(
        null=True,
        blank=True,
        help_text="What the provider said it is worth when that was last compared with the books.",
    )
    to_asset = models.CharField(max_length=16, default="USDT")
    payout_address = models.CharField(max_length=42, help_text="Where the exchange pays the proceeds.")
    received_units = units_field(
        null=True, blank=True, help_text="Proceeds that finalised Transfer logs prove, in base units."
    )
    refunded_units = units_field(
        null=True, blank=True, help_text="What the provider sent back, proven on chain, in base units of the asset."
    )
    failure_reason = models.TextField(blank=True)
    signer_task = models.CharField(max_length=16, choices=SignerTask.choices, blank=True)

    requested_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True, help_text="When the requester was told the end.")

    next_action_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Tries of the present step that failed.")
    last_error = models.TextField(blank=True)
    waiting_reason = models.TextField(blank=True)
    waiting_since = models.DateTimeField(null=True, blank=True)
    unknown_reason = models.TextField(blank=True)
    unknown_since = models.DateTimeField(null=True, blank=True)
    review_reason = models.TextField(blank=True)
    review_since = models.DateTimeField(null=True, blank=True)

    objects = HostPaymentQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("context", "reference"),
                condition=_STANDS,
                name="host_payment_is_live_once_per_purpose",
            ),
            models.UniqueConstraint(
                fields=("wallet",), condition=Q(status__in=ON_THE_WIRE), name="wallet_has_one_payment_on_the_wire"
            ),
            models.CheckConstraint(condition=Q(context__in=Context.values), name="host_payment_context_is_known"),
            models.CheckConstraint(condition=Q(status__in=PaymentStatus.values), name="host_payment_status_is_known"),
            models.CheckConstraint(
                condition=number_between("amount_units", lowest=0, below=UNITS_LIMIT)
                & number_between("unpriced_usd", lowest=0, below=USD_LIMIT)
                & (Q(amount_units__gt=0) | Q(unpriced_usd__gt=0)),
                name="host_payment_sends_something",
            ),
            models.CheckConstraint(
                condition=Q(priced_units__isnull=True)
                | (number_above("priced_units", floor=0, below=UNITS_LIMIT) & Q(unpriced_usd__gt=0)),
                name="host_payment_prices_only_unpriced_usd",
            ),
            models.CheckConstraint(
                condition=Q(expected_usd__isnull=True) | number_above("expected_usd", floor=0, below=USD_LIMIT),
                name="host_payment_expects_something",
            ),
            models.CheckConstraint(
                condition=Q(status=PaymentStatus.SETTLED, received_units__isnull=False)
                | (~Q(status=PaymentStatus.SETTLED) & Q(received_units__isnull=True)),
                name="host_payment_received_only_when_settled",
            ),
            models.CheckConstraint(
                condition=Q(received_units__isnull=True) | number_above("received_units", floor=0, below=UNITS_LIMIT),
                name="host_payment_received_is_positive",
            ),
            models.CheckConstraint(
                condition=Q(status=PaymentStatus.REFUNDED, refunded_units__isnull=False)
                | (~Q(status=PaymentStatus.REFUNDED) & Q(refunded_units__isnull=True)),
                name="host_payment_refunded_only_with_a_figure",
            ),
            models.CheckConstraint(
                condition=Q(refunded_units__isnull=True) | number_above("refunded_units", floor=0, below=UNITS_LIMIT),
                name="host_payment_refund_is_positive",
            ),
            models.CheckConstraint(
                condition=Q(signer_task="")
                | Q(signer_task__in=SignerTask.values, status__in=(PaymentStatus.SIGNED, PaymentStatus.BROADCAST)),
                name="signer_is_asked_again_only_on_the_wire",
            ),
            models.CheckConstraint(
                condition=Q(delivered_at__isnull=True) | Q(status__in=TERMINAL),
                name="host_payment_is_delivered_after_its_end",
            ),
            # Nothing waits for nobody.
            models.CheckConstraint(
                condition=Q(delivered_at__isnull=False) | Q(next_action_at__isnull=False) | ~Q(review_reason=""),
                name="host_payment_waits_for_somebody",
            ),
            models.CheckConstraint(
                condition=(Q(waiting_reason="") & Q(waiting_since__isnull=True))
                | (~Q(waiting_reason="") & Q(waiting_since__isnull=False)),
                name="host_payment_waiting_has_a_time",
            ),
            models.CheckConstraint(
                condition=(Q(unknown_reason="") & Q(unknown_since__isnull=True))
                | (~Q(unknown_reason="") & Q(unknown_since__isnull=False)),
                name="host_payment_unknown_has_a_time",
            ),
            models.CheckConstraint(
                condition=(Q(review_reason="") & Q(review_since__isnull=True))
                | (~Q(review_reason="") & Q(review_since__isnull=False)),
                name="host_payment_review_has_a_time",
            ),
        )
        indexes = (
            models.Index(
                fields=("next_action_at",), condition=Q(next_action_at__isnull=False), name="host_payment_due"
            ),
            models.Index(F("review_since"), condition=~Q(review_reason=""), name="host_payment_in_review"),
        )

    def __str__(self) -> str:
        return f"{self.context} {self.reference}"

    @property
    def send_units(self) -> int:
        """Base units that leave the wallet: what was asked for plus what unpriced USD came to.

        Raises:
            ValueError: unpriced USD has not been valued yet, so the sum is not known.
        """
        if self.unpriced_usd and self.priced_units is None:
            message = f"host payment {self.pk} has {self.unpriced_usd} USD that nobody valued in {self.asset} yet"
            raise ValueError(message)
        return int(self.amount_units) + int(self.priced_units or 0)

    @property
    def needs_review(self) -> bool:
        return bool(self.review_reason)


class HostPaymentStatusChange(StatusChange):
    subject = models.ForeignKey(HostPayment, on_delete=models.PROTECT, related_name="status_changes")
