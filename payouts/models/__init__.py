from payouts.models.accumulation import (
    IN_A_BATCH,
    Accumulation,
    AccumulationStatus,
    AccumulationStatusChange,
)
from payouts.models.api_key import ApiKey, Scope
from payouts.models.client import Client, Strategy
from payouts.models.inbound import InboundEvent, Outcome, Verdict

__all__ = (
    "IN_A_BATCH",
    "Accumulation",
    "AccumulationStatus",
    "AccumulationStatusChange",
    "ApiKey",
    "Client",
    "InboundEvent",
    "Outcome",
    "Scope",
    "Strategy",
    "Verdict",
)
