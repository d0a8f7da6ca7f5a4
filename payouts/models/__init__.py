from payouts.models.accumulation import (
    IN_A_BATCH,
    Accumulation,
    AccumulationStatus,
    AccumulationStatusChange,
)
from payouts.models.api_key import ApiKey, Scope
from payouts.models.client import Client, Strategy
from payouts.models.destination import DestinationChange
from payouts.models.inbound import NOWPAYMENTS_SOURCE, InboundEvent, Outcome, Verdict
from payouts.models.nowpayments import (
    ARRIVED,
    RANK,
    UNFINISHED,
    NowPayment,
    NowPaymentStatus,
    NowPaymentStatusChange,
)
from payouts.models.request_key import RequestKey

__all__ = (
    "ARRIVED",
    "IN_A_BATCH",
    "NOWPAYMENTS_SOURCE",
    "RANK",
    "UNFINISHED",
    "Accumulation",
    "AccumulationStatus",
    "AccumulationStatusChange",
    "ApiKey",
    "Client",
    "DestinationChange",
    "InboundEvent",
    "NowPayment",
    "NowPaymentStatus",
    "NowPaymentStatusChange",
    "Outcome",
    "RequestKey",
    "Scope",
    "Strategy",
    "Verdict",
)
