"""The addresses of hostpay below `/api/v1/`."""

from django.urls import path

from config.lib.api import by_method
from hostpay.api.payments import PaymentDetail, PaymentReadList, PaymentRequest
from hostpay.api.reports import PaymentCompleted

# One address, two callers: a program with a key reads, a service with a token requests.
urlpatterns = [
    path(
        "hostpay/payments/",
        by_method(GET=PaymentReadList.as_view(), POST=PaymentRequest.as_view()),
        name="host-payments",
    ),
    path("hostpay/payments/<uuid:pk>/", PaymentDetail.as_view(), name="host-payment"),
    path("hostpay/payment-completed/", PaymentCompleted.as_view(), name="payment-completed"),
]
