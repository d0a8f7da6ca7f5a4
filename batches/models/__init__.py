from batches.models.batch import BatchConversion, BatchStatus, BatchStatusChange
from batches.models.policy import ConversionPolicy, Decision, ThresholdCheck

__all__ = (
    "BatchConversion",
    "BatchStatus",
    "BatchStatusChange",
    "ConversionPolicy",
    "Decision",
    "ThresholdCheck",
)
