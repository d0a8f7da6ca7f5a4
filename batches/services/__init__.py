"""What batches does, one function per business event. Callers import from here."""

from batches.services.checking import HEARTBEAT, check_threshold, explain_threshold
from batches.services.explaining import TimelineEntry, explain_batch, timeline
from batches.services.operating import odd_members_of, payment_of, release_batch, retry_batch
from batches.services.policy import current_policy, set_policy
from batches.services.reconciling import reconcile_batches
from batches.services.settling import (
    DistributionError,
    UnknownBatchError,
    batch_of_reference,
    distribute,
    fail_batch,
    open_batch_terms,
)

__all__ = (
    "HEARTBEAT",
    "DistributionError",
    "TimelineEntry",
    "UnknownBatchError",
    "batch_of_reference",
    "check_threshold",
    "current_policy",
    "distribute",
    "explain_batch",
    "explain_threshold",
    "fail_batch",
    "odd_members_of",
    "open_batch_terms",
    "payment_of",
    "reconcile_batches",
    "release_batch",
    "retry_batch",
    "set_policy",
    "timeline",
)
