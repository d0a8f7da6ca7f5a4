"""The addresses of payouts below `/api/v1/`."""

from django.urls import path

from config.lib.api import by_method
from payouts.api.bulk import receive_payments
from payouts.api.clients import (
    ClientChange,
    ClientCreation,
    DestinationCancel,
    DestinationChangeList,
    DestinationRequest,
)
from payouts.api.nowpayments import receive_notification
from payouts.api.payments import receive_payment
from payouts.api.reading import AccumulationDetail, AccumulationList, ClientDetail, ClientList

urlpatterns = [
    path("payments/", receive_payment, name="payments"),
    path("payments/bulk/", receive_payments, name="payments-bulk"),
    path("webhooks/nowpayments/", receive_notification, name="nowpayments_webhook"),
    path("clients/", by_method(GET=ClientList.as_view(), POST=ClientCreation.as_view()), name="clients"),
    path("clients/<int:pk>/", by_method(GET=ClientDetail.as_view(), PATCH=ClientChange.as_view()), name="client"),
    path("clients/<int:pk>/destination-changes/", DestinationRequest.as_view(), name="client-destination-changes"),
    path("destination-changes/", DestinationChangeList.as_view(), name="destination-changes"),
    path("destination-changes/<int:pk>/cancel/", DestinationCancel.as_view(), name="destination-change-cancel"),
    path("accumulations/", AccumulationList.as_view(), name="accumulations"),
    path("accumulations/<int:pk>/", AccumulationDetail.as_view(), name="accumulation"),
]
