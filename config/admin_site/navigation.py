"""What stands around every page: environment, navigation with its badge, search."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.dataclasses import SearchResult

from batches.models import BatchConversion
from config.admin_site.attention import attention
from config.lib.adminkit import cells
from config.lib.adminkit.links import page_of
from hostpay.models import ExchangeOrder, Heartbeat, HostPayment, Transaction
from hostpay.tasks import SWEEP_HEARTBEAT
from payouts.models import Accumulation, Client, NowPayment

_MOST_OF_A_KIND = 5


def environment(_request: HttpRequest) -> list[str]:
    """The label in every page's head: never in doubt whether this is real money."""
    return ["LIVE", "danger"] if settings.LIVE else ["SANDBOX", "info"]


def title_prefix(_request: HttpRequest) -> str:
    """The same in the browser's tab."""
    return "" if settings.LIVE else "[sandbox]"


def last_sweep(_request: HttpRequest) -> str:
    """Under the name of the program: whether its engine turns."""
    beat = Heartbeat.objects.filter(name=SWEEP_HEARTBEAT).values_list("succeeded_at", flat=True).first()
    return f"last sweep {cells.relative(beat)}" if beat else "no sweep yet"


def needs_me_count(_request: HttpRequest) -> str:
    """The number beside “Needs me”."""
    return attention().count_text


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """Objects by their whole id, hash or address, from any page; every look-up uses an index."""
    # unfold hands over what was typed in small letters, in which nobody's address or payment id need be written.
    term = request.GET.get("s", term)
    found: list[tuple[Any, str]] = []
    for model, column, permission in _LOOKUPS:
        if request.user.has_perm(permission):
            found += [(obj, model._meta.verbose_name.capitalize()) for obj in _matching(model, column, term)]
    unique = {page_of(obj): (obj, kind) for obj, kind in found}
    return [
        SearchResult(title=str(obj), description=kind, link=url, icon="arrow_forward")
        for url, (obj, kind) in unique.items()
    ]


_LOOKUPS: tuple[tuple[type[Any], str, str], ...] = (
    (BatchConversion, "pk", "batches.view_batchconversion"),
    (HostPayment, "pk", "hostpay.view_hostpayment"),
    (ExchangeOrder, "provider_order_id", "hostpay.view_exchangeorder"),
    (ExchangeOrder, "payin_address", "hostpay.view_exchangeorder"),
    (Transaction, "tx_hash", "hostpay.view_transaction"),
    (Accumulation, "payment_id", "payouts.view_accumulation"),
    (NowPayment, "payment_id", "payouts.view_nowpayment"),
    (Client, "external_id", "payouts.view_client"),
)


def _matching(model: type[Any], column: str, term: str) -> list[Any]:
    try:
        return list(model._default_manager.filter(**{column: term})[:_MOST_OF_A_KIND])
    except ValidationError:
        # Not a UUID, so not one of these.
        return []
