"""A token is acted upon once; its nonce is remembered for as long as it could verify."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from config.lib.forgetting import forget
from hostpay.models import UsedToken

# Far beyond the five minutes in which a token verifies, and the clock skew allowed.
_REMEMBERED_FOR = timedelta(days=1)


def use_token_once(*, nonce: str, purpose: str) -> bool:
    """Whether this is the first use of the token; call it in the transaction of what the token asks for."""
    try:
        with transaction.atomic():
            UsedToken.objects.create(nonce=nonce, purpose=purpose)
    except IntegrityError:
        return False
    return True


def forget_used_tokens(*, now: datetime) -> int:
    """Delete nonces that no valid token can carry any more; says how many."""
    return forget(UsedToken.objects.filter(used_at__lt=now - _REMEMBERED_FOR))
