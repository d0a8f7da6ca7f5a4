"""The addresses of payouts below `/api/v1/`."""

from django.urls import path

from payouts.api.nowpayments import receive_notification
from payouts.api.payments import receive_payment
from payouts.api.reading import AccumulationDetail, AccumulationList, ClientDetail, ClientList

urlpatterns = [
    path("payments/", receive_payment, name="payments"),
    path("webhooks/nowpayments/", receive_notification, name="nowpayments_webhook"),
    path("clients/", ClientList.as_view(), name="clients"),
    path("clients/<int:pk>/", ClientDetail.as_view(), name="client"),
    path("accumulations/", AccumulationList.as_view(), name="accumulations"),
    path("accumulations/<int:pk>/", AccumulationDetail.as_view(), name="accumulation"),
]
