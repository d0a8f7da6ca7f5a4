"""What arrived from outside, as it arrived."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.lib.audit import Actor
from config.lib.lifecycle import StatusChange

# Notifications are found by the payment they tell of.
NOWPAYMENTS_SOURCE = "nowpayments"


class Verdict(models.TextChoices):
    """Whether the sender proved itself."""

    VALID = "valid"
    INVALID = "invalid", "not authentic"


class Outcome(models.TextChoices):
    RECEIVED = "received", "received, not processed yet"
    RECORDED = "recorded", "became an accumulation"
    REPLAYED = "replayed", "the same payment again"
    NOTED = "noted", "noted; it told of no money to record"
    LATE = "late", "older than what was known; changed nothing"
    DIVIDED = "divided", "many payments, each with an outcome of its own"
    CONFLICT = "conflict", "the same payment with other content"
    REFUSED = "refused", "refused, see the error"
    FAILED = "failed", "processing failed, can be replayed"


class BodyState(models.TextChoices):
    """Whether a delivery's body is still there; an empty word: it is, and is young."""

    OVERDUE = "overdue", "kept beyond its time, since the delivery waits for somebody"
    FORGOTTEN = "forgotten", "forgotten when its time was over"


# How a delivery ends that somebody meant and that is not in the books.
UNSETTLED = (Outcome.FAILED, Outcome.CONFLICT, Outcome.REFUSED)
_UNSETTLED = Q(verdict=Verdict.VALID, outcome__in=UNSETTLED, acknowledged_at__isnull=True)


class InboundEventQuerySet(models.QuerySet["InboundEvent"]):
    def unsettled(self) -> InboundEventQuerySet:
        """Authentic ones that are not in the books, and of which nobody has said that they are left so."""
        return self.filter(_UNSETTLED)


class InboundEvent(models.Model):
    """One delivery, stored raw before it is trusted: headers without secrets, the body's bytes, what became of it."""

    source = models.CharField(max_length=32)
    event_id = models.CharField(max_length=128, blank=True, help_text="The sender's own id of the delivery.")
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.RECEIVED)
    error = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=1, help_text="How often it was processed.")
    accumulation = models.ForeignKey(
        "payouts.Accumulation", null=True, blank=True, on_delete=models.PROTECT, related_name="inbound_events"
    )
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    acknowledged_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is left as it ended, by a person's word."
    )

    # Of what is in the books the accumulation says both, and nobody pays for saying it twice.
    named_payment_id = models.CharField(
        max_length=128, blank=True, default="", db_default="", help_text="As the body has it, if it was not recorded."
    )
    named_client_id = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="As the body has it, if it was not recorded."
    )
    replay_at = models.DateTimeField(
        null=True, blank=True, help_text="When it is processed again, as somebody asked; later while a worker is at it."
    )

    body_state = models.CharField(max_length=16, choices=BodyState.choices, blank=True, default="", db_default="")
    body_sha256 = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Of a body that is forgotten, in hexadecimal."
    )

    objects = InboundEventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        # As operators and their lists call it.
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"
        constraints = (
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="inbound_event_verdict_is_known"),
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="inbound_event_outcome_is_known"),
            models.CheckConstraint(
                condition=~Q(outcome=Outcome.RECORDED) | Q(accumulation__isnull=False),
                name="recorded_event_has_an_accumulation",
            ),
            models.CheckConstraint(
                condition=Q(verdict=Verdict.VALID) | Q(outcome=Outcome.REFUSED),
                name="unauthentic_event_is_refused",
            ),
            models.CheckConstraint(
                condition=Q(body_state__in=("", BodyState.OVERDUE), body_sha256="")
                | (Q(body_state=BodyState.FORGOTTEN, body=b"") & ~Q(body_sha256="")),
                name="forgotten_body_has_left_its_hash",
            ),
        )
        indexes = (
            # Rejected ones are bounded: the oldest are deleted, and this finds them.
            models.Index(fields=("id",), condition=Q(verdict=Verdict.INVALID), name="inbound_event_invalid"),
            models.Index(fields=("id",), condition=Q(outcome=Outcome.RECEIVED), name="inbound_event_received"),
            models.Index(
                fields=("event_id", "id"), condition=Q(source=NOWPAYMENTS_SOURCE), name="inbound_event_by_now_payment"
            ),
            # The id of a delivery stands for one payment; each that is recorded asks whether its id did before.
            models.Index(
                fields=("event_id",),
                condition=Q(verdict=Verdict.VALID, outcome=Outcome.RECORDED),
                name="inbound_event_that_recorded",
            ),
            models.Index(
                fields=("event_id",),
                condition=Q(verdict=Verdict.VALID, outcome=Outcome.DIVIDED),
                name="inbound_event_that_was_many",
            ),
            models.Index(fields=("outcome", "id"), condition=_UNSETTLED, name="inbound_event_unsettled"),
            models.Index(
                fields=("named_payment_id",), condition=~Q(named_payment_id=""), name="inbound_event_by_payment"
            ),
            models.Index(fields=("named_client_id",), condition=~Q(named_client_id=""), name="inbound_event_by_client"),
            models.Index(fields=("id",), condition=~Q(error=""), name="inbound_event_with_error"),
            models.Index(fields=("body_state", "id"), condition=~Q(body_state=""), name="inbound_event_body_passed"),
            models.Index(fields=("replay_at",), condition=Q(replay_at__isnull=False), name="inbound_event_to_replay"),
        )

    def __str__(self) -> str:
        return f"{self.source} {self.event_id or self.pk}"

    def note(self, *, actor: Actor, reason: str, came_from: str = "") -> None:
        """Record what somebody had done to it; `came_from` is the outcome before, if it is another one now."""
        InboundEventStatusChange.objects.create(
            subject=self, from_status=came_from or self.outcome, to_status=self.outcome, actor=str(actor), reason=reason
        )


class InboundEventStatusChange(StatusChange):
    """What people had done to a delivery; what became of it when it came stands in its own row."""

    subject = models.ForeignKey(InboundEvent, on_delete=models.PROTECT, related_name="status_changes")
