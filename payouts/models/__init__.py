from payouts.models.accumulation import (
    IN_A_BATCH,
    Accumulation,
    AccumulationStatus,
    AccumulationStatusChange,
)
from payouts.models.api_key import ApiKey, Scope
from payouts.models.client import Client, Strategy
from payouts.models.client_change import ClientChange
from payouts.models.destination import DestinationChange
from payouts.models.export import Export
from payouts.models.failed_tries import FailedTries, RejectedDeliveries, TryKind
from payouts.models.inbound import (
    NOWPAYMENTS_SOURCE,
    UNSETTLED,
    BodyState,
    InboundEvent,
    InboundEventStatusChange,
    Outcome,
    Verdict,
)
from payouts.models.nowpayments import (
    ARRIVED,
    RANK,
    UNFINISHED,
    NowPayment,
    NowPaymentStatus,
    NowPaymentStatusChange,
    ReviewCause,
)
from payouts.models.request_key import RequestKey
from payouts.models.void_order import VoidOrder
from payouts.models.webhooks import (
    STATUS_AFTER,
    SUBSCRIBABLE,
    TRIED_FOR,
    EndpointStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointStatusChange,
    WebhookEvent,
    host_of,
)

__all__ = (
    "ARRIVED",
    "IN_A_BATCH",
    "NOWPAYMENTS_SOURCE",
    "RANK",
    "STATUS_AFTER",
    "SUBSCRIBABLE",
    "TRIED_FOR",
    "UNFINISHED",
    "UNSETTLED",
    "Accumulation",
    "AccumulationStatus",
    "AccumulationStatusChange",
    "ApiKey",
    "BodyState",
    "Client",
    "ClientChange",
    "DestinationChange",
    "EndpointStatus",
    "Export",
    "FailedTries",
    "InboundEvent",
    "InboundEventStatusChange",
    "NowPayment",
    "NowPaymentStatus",
    "NowPaymentStatusChange",
    "Outcome",
    "RejectedDeliveries",
    "RequestKey",
    "ReviewCause",
    "Scope",
    "Strategy",
    "TryKind",
    "Verdict",
    "VoidOrder",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEndpointStatusChange",
    "WebhookEvent",
    "host_of",
)
