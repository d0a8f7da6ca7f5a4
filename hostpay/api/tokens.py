"""Requests whose proof is a signed token in the body: `{"token": "..."}`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from config.lib.api import StrictSerializer
from config.lib.commits import after_commit
from config.lib.errors import SluiceError
from config.lib.problems import problem
from hostpay.callbacks import NotAdmittedError, count_wrong_token
from hostpay.models import HostPayment
from hostpay.services import Handover
from hostpay.services.handovers import UnknownReportError, UnsupportedAssetError
from hostpay.services.requesting import UnknownContextError
from hostpay.tasks import hint
from hostpay.tokens import TokenError, TokenExpiredError, TokenSignatureError

T = TypeVar("T")

_STATUS_OF: tuple[tuple[type[SluiceError], int], ...] = (
    (TokenSignatureError, 401),
    (TokenExpiredError, 401),
    (TokenError, 400),
    (UnsupportedAssetError, 422),
    (UnknownContextError, 422),
    (NotAdmittedError, 422),
    (UnknownReportError, 404),
)


def look_soon(payment: HostPayment) -> None:
    """Tell a worker that the payment is due; without a broker the sweep finds it as well, so that is no failure."""
    after_commit(partial(hint, str(payment.pk), Handover.WORKER))


class TokenSerializer(StrictSerializer):
    """A token by which the sender proves itself, and says all it has to say."""

    token = serializers.CharField(max_length=4096, trim_whitespace=False)


class TokenView(APIView):
    """No API key: the token says who sends it, and is good for one thing only."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def claims(self, request: Request, read: Callable[[str], T]) -> T:
        """What the token in the body says.

        Raises:
            ValidationError: another body.
            TokenError: it proves nothing.
            Throttled: nor did too many before it from this address; a good one is heard all the same.
        """
        body = TokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            return read(body.validated_data["token"])
        except TokenSignatureError:
            if not count_wrong_token(address=request.META.get("REMOTE_ADDR", "")):
                raise Throttled(wait=60, detail="This address has sent too many wrong tokens.") from None
            raise

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        if isinstance(exc, SluiceError):
            for kind, status in _STATUS_OF:
                if isinstance(exc, kind):
                    return problem(status, exc.code, str(exc))
        return super().handle_exception(exc)
