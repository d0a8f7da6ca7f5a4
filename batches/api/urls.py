"""The addresses of batches below `/api/v1/`."""

from django.urls import path

from batches.api.checking import CheckThreshold, ThresholdCheckDetail, ThresholdCheckList
from batches.api.reading import BatchDetail, BatchExplanation, BatchList, BatchTimeline
from batches.api.swap_executed import SwapExecuted

urlpatterns = [
    path("batches/check-threshold/", CheckThreshold.as_view(), name="check-threshold"),
    path("batches/swap-executed/", SwapExecuted.as_view(), name="swap-executed"),
    path("batches/", BatchList.as_view(), name="batches"),
    path("batches/<uuid:pk>/", BatchDetail.as_view(), name="batch"),
    path("batches/<uuid:pk>/explain/", BatchExplanation.as_view(), name="batch-explain"),
    path("batches/<uuid:pk>/timeline/", BatchTimeline.as_view(), name="batch-timeline"),
    path("threshold-checks/", ThresholdCheckList.as_view(), name="threshold-checks"),
    path("threshold-checks/<int:pk>/", ThresholdCheckDetail.as_view(), name="threshold-check"),
]
