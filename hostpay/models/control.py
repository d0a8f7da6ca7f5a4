"""What holds money back until a person decides: the breaker, approvals by two, the health of who we call."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.lib.audit import ACTOR_MAX_LENGTH
from hostpay.models.payment import HostPayment


class BreakerCause(models.TextChoices):
    """What may open the breaker."""

    FAILURES = "failures", "repeated failures"
    INVARIANT = "invariant", "a broken invariant"
    CHAIN = "chain", "a surprise on chain"
    OPERATOR = "operator", "an operator"


class Breaker(models.Model):
    """One opening of the circuit breaker: no new signature until a person has closed it."""

    cause = models.CharField(max_length=16, choices=BreakerCause.choices)
    detail = models.TextField()
    opened_by = models.CharField(max_length=ACTOR_MAX_LENGTH)
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=ACTOR_MAX_LENGTH, blank=True)
    close_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-opened_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("cause",), condition=Q(closed_at__isnull=True), name="breaker_is_open_once_per_cause"
            ),
            models.CheckConstraint(condition=Q(cause__in=BreakerCause.values), name="breaker_cause_is_known"),
            models.CheckConstraint(condition=~Q(detail=""), name="breaker_says_why"),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, closed_by="", close_reason="")
                | (Q(closed_at__isnull=False) & ~Q(closed_by="") & ~Q(close_reason="")),
                name="breaker_is_closed_by_somebody_with_a_reason",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_cause_display()}: {self.detail}"


class ApprovalAction(models.TextChoices):
    """What takes two people."""

    CANCEL_PAYMENT = "cancel_payment", "cancel a payment that is on the wire"
    ACCEPT_REFUND = "accept_refund", "accept what came back as the refund"
    WRITE_OFF = "write_off", "write off what is at the exchange"
    TAKE_ON = "take_on", "take on what our key paid to its order, unknown to the books"


# How two people end a payment whose ETH is at the exchange. It may pay all the same, so it is watched on.
GIVEN_UP = (ApprovalAction.ACCEPT_REFUND, ApprovalAction.WRITE_OFF)


class ApprovalDecision(models.TextChoices):
    APPROVED = "approved"
    REJECTED = "rejected"


class Approval(models.Model):
    """A proposal of one operator that takes effect only when another one approves exactly what was proposed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    action = models.CharField(max_length=32, choices=ApprovalAction.choices)
    payment = models.ForeignKey(HostPayment, on_delete=models.PROTECT, related_name="approvals")
    payload = models.JSONField(encoder=DjangoJSONEncoder, help_text="What is to be done, in figures.")
    payload_sha256 = models.CharField(max_length=64, editable=False)
    reason = models.TextField()
    proposed_by = models.CharField(max_length=ACTOR_MAX_LENGTH)
    proposed_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    decision = models.CharField(max_length=16, choices=ApprovalDecision.choices, blank=True)
    decided_by = models.CharField(max_length=ACTOR_MAX_LENGTH, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    executed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-proposed_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("action", "payment"), condition=Q(decision=""), name="approval_is_proposed_once"
            ),
            models.CheckConstraint(condition=Q(action__in=ApprovalAction.values), name="approval_action_is_known"),
            # Four eyes, whoever writes to the table.
            models.CheckConstraint(condition=~Q(proposed_by=F("decided_by")), name="approval_takes_two_people"),
            models.CheckConstraint(
                condition=Q(decision="", decided_by="", decided_at__isnull=True)
                | (Q(decision__in=ApprovalDecision.values) & ~Q(decided_by="") & Q(decided_at__isnull=False)),
                name="approval_decision_has_a_person_and_a_time",
            ),
            models.CheckConstraint(
                condition=Q(executed_at__isnull=True) | Q(decision=ApprovalDecision.APPROVED),
                name="approval_is_executed_only_when_approved",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_action_display()}, proposed by {self.proposed_by}"

    def is_open(self, now: datetime) -> bool:
        """Neither decided nor expired."""
        return not self.decision and self.expires_at > now


class ServiceHealth(models.Model):
    """How calls to one outside service have gone lately; after some failures in a row it is left alone for a while."""

    name = models.CharField(max_length=32, primary_key=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    resting_until = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    succeeded_at = models.DateTimeField(null=True, blank=True)
    full_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When a whole second's calls may be made at once again."
    )

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "service health"

    def __str__(self) -> str:
        return self.name
