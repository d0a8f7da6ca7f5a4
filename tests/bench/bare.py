"""What ingestion is compared with: the least that Django REST framework needs to insert one row over HTTP.

Served beside the program's own addresses, by the same server, with the same middleware; exists in the benchmark only.
"""

from typing import Any

from django.db import models
from django.urls import URLPattern, URLResolver, include, path
from rest_framework import generics, serializers
from rest_framework.permissions import AllowAny


class BareRow(models.Model):
    """The fields of a payment, and nothing that follows from them."""

    payment_id = models.CharField(max_length=128)
    client_id = models.CharField(max_length=64)
    user_id = models.CharField(max_length=64)
    amount_usd = models.DecimalField(max_digits=20, decimal_places=8)
    outcome_amount = models.CharField(max_length=64)
    outcome_currency = models.CharField(max_length=16)

    class Meta:
        app_label = "bench"

    def __str__(self) -> str:
        return self.payment_id


class BareRowSerializer(serializers.ModelSerializer[BareRow]):
    class Meta:
        model = BareRow
        fields = ("id", "payment_id", "client_id", "user_id", "amount_usd", "outcome_amount", "outcome_currency")


class BareView(generics.CreateAPIView[BareRow]):
    """No signature, no key, no rules."""

    authentication_classes: Any = ()
    permission_classes = (AllowAny,)
    queryset = BareRow._default_manager.all()
    serializer_class = BareRowSerializer


urlpatterns: list[URLPattern | URLResolver] = [
    path("bare/", BareView.as_view()),
    path("", include("config.urls")),
]
