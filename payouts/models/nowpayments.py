"""Payments at NOWPayments, as its notifications and answers tell of them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.columns import USD_LIMIT, number_above, usd_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange
from payouts.models.accumulation import Accumulation
from payouts.models.inbound import InboundEvent
from payouts.providers.nowpayments import Word


class NowPaymentStatus(models.TextChoices):
    """The provider's words, in the order of `Word`: a payment moves to a later one only."""

    WAITING = "waiting"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    SENDING = "sending"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PARTIALLY_PAID = "partially_paid"
    FINISHED = "finished"
    REFUNDED = "refunded"


# Money is on its way, or not even that; the provider is asked until it says something else.
UNFINISHED = (
    NowPaymentStatus.WAITING,
    NowPaymentStatus.CONFIRMING,
    NowPaymentStatus.CONFIRMED,
    NowPaymentStatus.SENDING,
)
# Something arrived that is owed to a client.
ARRIVED = (NowPaymentStatus.PARTIALLY_PAID, NowPaymentStatus.FINISHED)
RANK: dict[str, int] = {word.value: place for place, word in enumerate(Word)}


_UNBOOKED = Q(status__in=ARRIVED, accumulation__isnull=True, set_aside_at__isnull=True)


class ReviewCause(models.TextChoices):
    """Why a person must look, the graver the later: of several, a review has the gravest."""

    REFUSED = "refused", "its booking was refused"
    UNANSWERED = "unanswered", "what is needed was not answered"
    STALE = "stale", "nothing more is heard of it"
    UNKNOWN_WORD = "unknown_word", "a word that we do not know"
    NEWS = "news", "it went on after it was decided"
    CONFLICT = "conflict", "it is told in two ways"


class NowPaymentQuerySet(models.QuerySet["NowPayment"]):
    def due(self, now: datetime) -> NowPaymentQuerySet:
        """Those that something should be done for, longest due first."""
        return self.filter(next_action_at__lte=now).order_by("next_action_at")

    def in_review(self) -> NowPaymentQuerySet:
        return self.exclude(review_reason="")

    def unbooked(self) -> NowPaymentQuerySet:
        """Those whose money has arrived and is not in the books, though nobody has decided so."""
        return self.filter(_UNBOOKED)


class NowPayment(Lifecycle):
    """One payment at NOWPayments: the latest that is known of it, and the accumulation it became.

    `status` is the furthest word heard, in whatever order the words came, and the figures are those told with it.
    `review_reason` says what a person must decide; until then nothing is credited. A payment that was set aside is never
    booked, unless a person takes it up again. `next_action_at` is when a worker looks at it again; a worker that takes it
    up moves that time ahead as its lease.
    """

    edges: ClassVar[Edges] = {
        status: frozenset(later for later in NowPaymentStatus.values if RANK[later] > RANK[status])
        for status in NowPaymentStatus.values
    }

    payment_id = models.CharField(max_length=64, unique=True, help_text="The provider's number of the payment.")
    parent_payment_id = models.CharField(
        max_length=64, blank=True, help_text="The payment whose address this later deposit went to."
    )
    # An answer leaves a parent out, so that alone it says neither that there is one nor that there is none.
    is_parent_told = models.BooleanField(
        default=False, db_default=False, help_text="Whether a notification told of it; these name the parent."
    )
    status = models.CharField(max_length=16, choices=NowPaymentStatus.choices)
    order_id = models.CharField(max_length=256, blank=True, help_text="Whose it is: CLIENT:USER[:SUBSCRIPTION].")
    pay_address = models.CharField(max_length=256, blank=True)
    # As text: exactly as it was told, of whatever asset.
    price_amount = models.CharField(max_length=64, blank=True, help_text="What was asked for.")
    price_currency = models.CharField(max_length=16, blank=True)
    pay_amount = models.CharField(max_length=64, blank=True, help_text="The same in the customer's asset.")
    pay_currency = models.CharField(max_length=16, blank=True)
    actually_paid = models.CharField(max_length=64, blank=True, help_text="What the customer sent.")
    outcome_amount = models.CharField(max_length=64, blank=True, help_text="What reached us, after the fees.")
    outcome_currency = models.CharField(max_length=16, blank=True)
    provider_updated_at = models.DateTimeField(null=True, blank=True, help_text="By the provider's clock.")

    eth_usd = usd_field(null=True, blank=True, help_text="The price of one ETH by which the outcome was valued.")
    valued_usd = usd_field(
        null=True, blank=True, help_text="What the outcome is worth; owed where the asked price is not."
    )
    # What told of the present status and figures.
    event = models.ForeignKey(InboundEvent, on_delete=models.PROTECT, related_name="+")
    accumulation = models.OneToOneField(
        Accumulation, null=True, blank=True, on_delete=models.PROTECT, related_name="now_payment"
    )

    next_action_at = models.DateTimeField(null=True, blank=True)
    looks = models.PositiveIntegerField(default=0, help_text="How often the provider was asked in this status.")
    attempts = models.PositiveIntegerField(default=0, help_text="Tries of the present step that failed.")
    last_error = models.TextField(blank=True)
    review_reason = models.TextField(blank=True)
    review_cause = models.CharField(max_length=16, choices=ReviewCause.choices, blank=True, db_default="")
    review_since = models.DateTimeField(null=True, blank=True)
    set_aside_at = models.DateTimeField(
        null=True, blank=True, help_text="When a person decided to book nothing for it."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = NowPaymentQuerySet.as_manager()

    class Meta:
        verbose_name = "NOWPayments payment"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(status__in=NowPaymentStatus.values), name="now_payment_status_is_known"),
            models.CheckConstraint(
                condition=Q(review_reason="", review_since__isnull=True)
                | (~Q(review_reason="") & Q(review_since__isnull=False)),
                name="now_payment_review_has_a_time",
            ),
            models.CheckConstraint(
                condition=Q(review_reason="", review_cause="")
                | (~Q(review_reason="") & Q(review_cause__in=ReviewCause.values)),
                name="now_payment_review_has_a_cause",
            ),
            models.CheckConstraint(
                condition=Q(set_aside_at__isnull=True) | Q(accumulation__isnull=True),
                name="now_payment_set_aside_is_not_booked",
            ),
            # Nothing waits for nobody: money that is not booked has somebody or a time to look at it.
            models.CheckConstraint(
                condition=~Q(status__in=(*UNFINISHED, *ARRIVED))
                | Q(accumulation__isnull=False)
                | Q(next_action_at__isnull=False)
                | Q(set_aside_at__isnull=False)
                | ~Q(review_reason=""),
                name="now_payment_waits_for_somebody",
            ),
            models.CheckConstraint(
                condition=Q(valued_usd__isnull=True) | number_above("valued_usd", floor=0, below=USD_LIMIT),
                name="now_payment_value_is_positive",
            ),
        )
        indexes = (
            models.Index(fields=("next_action_at",), condition=Q(next_action_at__isnull=False), name="now_payment_due"),
            models.Index(fields=("review_since",), condition=~Q(review_reason=""), name="now_payment_in_review"),
            models.Index(fields=("status_changed_at",), condition=_UNBOOKED, name="now_payment_unbooked"),
            models.Index(fields=("parent_payment_id",), condition=~Q(parent_payment_id=""), name="now_payment_child"),
        )

    def __str__(self) -> str:
        return self.payment_id


class NowPaymentStatusChange(StatusChange):
    subject = models.ForeignKey(NowPayment, on_delete=models.PROTECT, related_name="status_changes")
