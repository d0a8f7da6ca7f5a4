"""The addresses of payouts below `/api/v1/`."""

from django.urls import path

from config.lib.api import by_method
from payouts.api.bulk import receive_payments
from payouts.api.clients import (
    ClientChangeList,
    ClientCreation,
    DestinationCancel,
    DestinationChangeList,
    DestinationRequest,
    TermsChange,
)
from payouts.api.nowpayments import receive_notification
from payouts.api.payments import receive_payment
from payouts.api.reading import AccumulationDetail, AccumulationList, ClientDetail, ClientList
from payouts.api.voiding import PaymentVoiding
from payouts.api.webhook_deliveries import DeliveryDetail, DeliveryGivingUp, DeliveryList, DeliveryResending
from payouts.api.webhook_endpoints import (
    EndpointChange,
    EndpointCreation,
    EndpointDetail,
    EndpointDisabling,
    EndpointEnabling,
    EndpointList,
    EndpointTest,
    EndpointTrying,
    FailedResending,
    SecretRotation,
)

urlpatterns = [
    path("payments/", receive_payment, name="payments"),
    path("payments/bulk/", receive_payments, name="payments-bulk"),
    path("webhooks/nowpayments/", receive_notification, name="nowpayments_webhook"),
    path("clients/", by_method(GET=ClientList.as_view(), POST=ClientCreation.as_view()), name="clients"),
    path("clients/<int:pk>/", by_method(GET=ClientDetail.as_view(), PATCH=TermsChange.as_view()), name="client"),
    path("clients/<int:pk>/destination-changes/", DestinationRequest.as_view(), name="client-destination-changes"),
    path("client-changes/", ClientChangeList.as_view(), name="client-changes"),
    path("destination-changes/", DestinationChangeList.as_view(), name="destination-changes"),
    path("destination-changes/<int:pk>/cancel/", DestinationCancel.as_view(), name="destination-change-cancel"),
    path("accumulations/", AccumulationList.as_view(), name="accumulations"),
    path("accumulations/void/", PaymentVoiding.as_view(), name="accumulation-void"),
    path("accumulations/<int:pk>/", AccumulationDetail.as_view(), name="accumulation"),
    path(
        "webhook-endpoints/",
        by_method(GET=EndpointList.as_view(), POST=EndpointCreation.as_view()),
        name="webhook-endpoints",
    ),
    path(
        "webhook-endpoints/<int:pk>/",
        by_method(GET=EndpointDetail.as_view(), PATCH=EndpointChange.as_view()),
        name="webhook-endpoint",
    ),
    path("webhook-endpoints/<int:pk>/disable/", EndpointDisabling.as_view(), name="webhook-endpoint-disable"),
    path("webhook-endpoints/<int:pk>/enable/", EndpointEnabling.as_view(), name="webhook-endpoint-enable"),
    path("webhook-endpoints/<int:pk>/try-now/", EndpointTrying.as_view(), name="webhook-endpoint-try-now"),
    path("webhook-endpoints/<int:pk>/rotate-secret/", SecretRotation.as_view(), name="webhook-endpoint-rotate-secret"),
    path("webhook-endpoints/<int:pk>/test/", EndpointTest.as_view(), name="webhook-endpoint-test"),
    path("webhook-endpoints/<int:pk>/resend-failed/", FailedResending.as_view(), name="webhook-endpoint-resend"),
    path("webhook-deliveries/", DeliveryList.as_view(), name="webhook-deliveries"),
    path("webhook-deliveries/<int:pk>/", DeliveryDetail.as_view(), name="webhook-delivery"),
    path("webhook-deliveries/<int:pk>/resend/", DeliveryResending.as_view(), name="webhook-delivery-resend"),
    path("webhook-deliveries/<int:pk>/give-up/", DeliveryGivingUp.as_view(), name="webhook-delivery-give-up"),
]
