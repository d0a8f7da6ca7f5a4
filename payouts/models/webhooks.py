"""Whom we tell of a payment's life, what is to be told, and every try to tell it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from config.lib.columns import usdt_field
from config.lib.lifecycle import Edges, Lifecycle, StatusChange
from payouts.models.accumulation import Accumulation, AccumulationStatus
from payouts.models.client import Client

# An event is tried for so long after it happened, or after somebody had it sent again.
TRIED_FOR = timedelta(days=3)


class WebhookEvent(models.TextChoices):
    """What can be told; the words are a contract with the receivers."""

    ACCUMULATED = "payment.accumulated", "recorded, and waits for a batch"
    HELD = "payment.held", "kept out of every batch until a person has looked"
    RELEASED = "payment.released", "no longer held, and waits for a batch"
    VOIDED = "payment.voided", "void for good: nothing is owed for it"
    BATCHED = "payment.batched", "a member of a batch that is being converted"
    RETURNED = "payment.returned", "its batch was not converted; it waits for the next one"
    CONVERTED = "payment.converted", "converted: its share of the USDT is known"
    TEST = "endpoint.test", "somebody asked whether the endpoint works"


# The accumulation's status that each event left behind.
STATUS_AFTER: dict[str, str] = {
    WebhookEvent.ACCUMULATED.value: AccumulationStatus.PENDING.value,
    WebhookEvent.HELD.value: AccumulationStatus.HELD.value,
    WebhookEvent.RELEASED.value: AccumulationStatus.PENDING.value,
    WebhookEvent.VOIDED.value: AccumulationStatus.VOIDED.value,
    WebhookEvent.BATCHED.value: AccumulationStatus.SWAPPING.value,
    WebhookEvent.RETURNED.value: AccumulationStatus.PENDING.value,
    WebhookEvent.CONVERTED.value: AccumulationStatus.COMPLETED.value,
}
# What an endpoint can ask for; a test comes only when somebody asks for one.
SUBSCRIBABLE: Sequence[str] = tuple(STATUS_AFTER)


def host_of(url: str) -> str:
    """Of an endpoint's address what everybody may see: the rest is often a secret of the receiver's own."""
    return urlsplit(url).netloc


class EndpointStatus(models.TextChoices):
    ENABLED = "enabled"
    DISABLED = "disabled"


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def due(self, now: datetime) -> WebhookEndpointQuerySet:
        """Those to which something should be sent and nobody is sending, longest due first."""
        waiting = WebhookDelivery.objects.waiting().filter(endpoint=OuterRef("pk"))
        return (
            self.filter(Exists(waiting), status=EndpointStatus.ENABLED, next_attempt_at__lte=now)
            .exclude(leased_until__gt=now)
            .order_by("next_attempt_at")
        )


class WebhookEndpoint(Lifecycle):
    """An address that is told of events, in their order: one that it has not taken holds up those after it.

    So the wait between two tries is the endpoint's and not the event's. Whoever sends takes a lease, by moving
    `leased_until` ahead. The secret it signs with is stored nowhere: it is derived from a seed and a key of the
    settings (see payouts.services.webhooks.secrets).
    """

    edges: ClassVar[Edges] = {
        EndpointStatus.ENABLED: frozenset({EndpointStatus.DISABLED}),
        EndpointStatus.DISABLED: frozenset({EndpointStatus.ENABLED}),
    }

    name = models.CharField(max_length=80, help_text="Who receives there.")
    url = models.CharField(max_length=500)
    events = ArrayField(models.CharField(max_length=32))
    client = models.ForeignKey(
        Client,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="webhook_endpoints",
        # A handful of rows, which every payment's statement looks at: each index would cost it more than it saves.
        db_index=False,
        help_text="Only payments of this client; empty: of all.",
    )
    status = models.CharField(max_length=16, choices=EndpointStatus.choices, default=EndpointStatus.ENABLED)
    disabled_reason = models.TextField(blank=True)
    # From when on each event that it asks for is written for it: made, enabled again, or asking for others.
    subscribed_at = models.DateTimeField(db_default=Now())

    secret_seed = models.CharField(max_length=64, editable=False)
    secret_key_id = models.CharField(max_length=16, editable=False, help_text="Which key of the settings derives it.")
    secret_made_at = models.DateTimeField(db_default=Now())
    # During a rotation the one before signs as well.
    old_secret_seed = models.CharField(max_length=64, blank=True, editable=False)
    old_secret_key_id = models.CharField(max_length=16, blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, blank=True)

    next_attempt_at = models.DateTimeField(db_default=Now(), help_text="Nothing is sent before.")
    leased_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Tries in a row that failed.")
    failing_since = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    last_took_ms = models.PositiveIntegerField(
        db_default=0, default=0, help_text="How long it took over its last answer; those that take long wait apart."
    )
    given_up_in_a_row = models.PositiveIntegerField(
        db_default=0, default=0, help_text="Events given up since the last one that was taken."
    )
    last_success_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(
        null=True, blank=True, help_text="Somebody knows of what was given up until then."
    )

    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(status__in=EndpointStatus.values), name="webhook_status_is_known"),
            models.CheckConstraint(condition=~Q(url="") & ~Q(name=""), name="webhook_endpoint_has_name_and_url"),
            models.CheckConstraint(
                condition=Q(events__len__gt=0, events__contained_by=list(SUBSCRIBABLE)),
                name="webhook_endpoint_asks_for_what_exists",
            ),
            models.CheckConstraint(
                condition=Q(status=EndpointStatus.DISABLED) & ~Q(disabled_reason="")
                | Q(status=EndpointStatus.ENABLED, disabled_reason=""),
                name="disabled_webhook_endpoint_says_why",
            ),
            models.CheckConstraint(
                condition=~Q(secret_seed="") & ~Q(secret_key_id=""),
                name="webhook_endpoint_has_a_secret",
            ),
            models.CheckConstraint(
                condition=Q(old_secret_seed="", old_secret_until__isnull=True)
                | (~Q(old_secret_seed="") & Q(old_secret_until__isnull=False)),
                name="old_webhook_secret_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(failures=0, failing_since__isnull=True) | Q(failures__gt=0, failing_since__isnull=False),
                name="failing_webhook_endpoint_says_since_when",
            ),
            # Twice the same address would be told everything twice.
            models.UniqueConstraint(
                F("url"),
                Coalesce(F("client_id"), 0),
                condition=Q(status=EndpointStatus.ENABLED),
                name="webhook_endpoint_is_one_per_address",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def host(self) -> str:
        return host_of(self.url)

    @property
    def is_enabled(self) -> bool:
        return self.status == EndpointStatus.ENABLED


class WebhookEndpointStatusChange(StatusChange):
    subject = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="status_changes")


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def waiting(self) -> WebhookDeliveryQuerySet:
        return self.filter(delivered_at__isnull=True, given_up_at__isnull=True)

    def given_up(self) -> WebhookDeliveryQuerySet:
        return self.filter(given_up_at__isnull=False)


class WebhookDelivery(models.Model):
    """One event that one endpoint is to be told: the outbox, written in the transaction in which the event happens.

    Its columns are what the event says beyond the accumulation's own, which never change; so the same body is made of
    it at every try. Rows are inserted by the million in one statement, and only for endpoints that ask for them.
    """

    # No constraint of their own in the database: inserting a million rows would ask twice for each, whether an endpoint
    # and an accumulation exist that the same statement has just read. Neither kind of row is ever deleted.
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.PROTECT, related_name="deliveries", db_index=False, db_constraint=False
    )
    accumulation = models.ForeignKey(
        Accumulation,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="webhook_deliveries",
        db_index=False,
        db_constraint=False,
    )
    event = models.CharField(max_length=32, choices=WebhookEvent.choices)
    batch_id = models.UUIDField(null=True, blank=True, help_text="The batch that the event is about.")
    converted_usdt_amount = usdt_field(null=True, blank=True)
    reason = models.TextField(blank=True, db_default="")
    # Part of the message's id, so that no id of before a restored backup comes up again.
    nonce = models.UUIDField(db_default=RandomUUID(), editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    attempts = models.PositiveIntegerField(db_default=0)
    resent_at = models.DateTimeField(null=True, blank=True, help_text="When somebody had it sent again.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(event__in=WebhookEvent.values), name="webhook_event_is_known"),
            models.CheckConstraint(
                condition=Q(event=WebhookEvent.TEST, accumulation__isnull=True)
                | (~Q(event=WebhookEvent.TEST) & Q(accumulation__isnull=False)),
                name="webhook_event_is_of_an_accumulation",
            ),
            models.CheckConstraint(
                condition=Q(delivered_at__isnull=True) | Q(given_up_at__isnull=True),
                name="webhook_delivery_ends_one_way",
            ),
        )
        indexes = (
            models.Index(
                fields=("endpoint", "id"),
                condition=Q(delivered_at__isnull=True, given_up_at__isnull=True),
                name="webhook_delivery_waiting",
            ),
            models.Index(
                fields=("endpoint", "created_at"),
                condition=Q(given_up_at__isnull=False),
                name="webhook_delivery_given_up",
            ),
            models.Index(
                fields=("endpoint", "given_up_at"),
                condition=Q(given_up_at__isnull=False),
                name="webhook_delivery_lost",
            ),
            models.Index(fields=("endpoint", "id"), name="webhook_delivery_of_endpoint"),
            models.Index(fields=("accumulation", "id"), name="webhook_delivery_of_payment"),
            # Rows lie in the order of their times, so an index a thousandth of the size finds the old ones.
            BrinIndex(fields=("created_at",), name="webhook_delivery_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.message_id}"

    @property
    def message_id(self) -> str:
        """The `webhook-id`: the same at every try, and of no other event."""
        return f"msg_{self.pk}_{self.nonce.hex}"

    @property
    def state(self) -> str:
        """`waiting`, `delivered` or `given_up`."""
        if self.delivered_at is not None:
            return "delivered"
        return "waiting" if self.given_up_at is None else "given_up"

    @property
    def tried_until(self) -> datetime:
        """From when on it is given up when a try fails."""
        return (self.resent_at or self.created_at) + TRIED_FOR


class WebhookAttempt(models.Model):
    """One try: written before the request leaves, completed with what came back.

    One that was never completed is of a process that died in between; what its receiver got is not known.
    """

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="+", db_index=False)
    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="tries")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    response_body = models.TextField(blank=True, help_text="The beginning of what was answered.")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(ended_at__isnull=False) | Q(status_code__isnull=True, error=""),
                name="webhook_attempt_ends_before_it_has_an_outcome",
            ),
        )
        indexes = (models.Index(fields=("endpoint", "id"), name="webhook_attempt_of_endpoint"),)

    def __str__(self) -> str:
        return f"try of {self.delivery_id}"

    @property
    def outcome(self) -> str:
        """`delivered`, `failed`, or `unknown` while nothing came back."""
        if self.ended_at is None:
            return "unknown"
        return "failed" if self.error else "delivered"
