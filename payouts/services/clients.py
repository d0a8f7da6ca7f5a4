"""Clients: made, changed, and paid elsewhere from some day on."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from config.lib import clock
from config.lib.audit import Actor, need_reason
from config.lib.columns import USD_LIMIT
from config.lib.errors import RefusedError
from config.lib.problems import FieldError, InvalidFieldsError
from payouts.models import Client, ClientChange, DestinationChange, Strategy
from payouts.services.destinations import check_destination

logger = logging.getLogger(__name__)

CHANGEABLE: Final = ("name", "strategy", "payout_threshold_usd", "fee_percent")
DESTINATION: Final = ("wallet_address", "payout_currency", "payout_network")
_EXTERNAL_ID = re.compile(r"[\x21-\x7e]{1,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_NAME = 120


class ClientExistsError(RefusedError):
    """Somebody has this id already."""

    code = "client_exists"


def create_client(
    *,
    external_id: str,
    wallet_address: str,
    actor: Actor,
    payout_currency: str = "usdt",
    payout_network: str = "eth",
    name: str = "",
    strategy: str = Strategy.THRESHOLD,
    payout_threshold_usd: Decimal | None = None,
    fee_percent: Decimal | None = None,
    reason: str = "",
) -> Client:
    """Make a client; its destination is in force at once, as there is nothing yet that could be led astray.

    What it begins with is its first changes, from nothing.

    Raises:
        InvalidFieldsError: all that is wrong, with which field.
        ClientExistsError: the id is taken.
    """
    client = Client(
        external_id=external_id,
        name=name,
        strategy=strategy,
        wallet_address=wallet_address,
        payout_currency=payout_currency,
        payout_network=payout_network,
        payout_threshold_usd=payout_threshold_usd,
        fee_percent=fee_percent,
    )
    check_new(client)
    with transaction.atomic():
        found, is_new = Client.objects.get_or_create(
            external_id=external_id, defaults={name: getattr(client, name) for name in (*CHANGEABLE, *DESTINATION)}
        )
        if is_new:
            begins_with = {name: (None, getattr(client, name)) for name in (*CHANGEABLE, *DESTINATION)}
            _record(found, begins_with, actor=actor, reason=reason)
    if not is_new:
        raise ClientExistsError(why=f"Client {external_id} exists already.", next_step="Change it, or take another id.")
    logger.info("client made", extra={"client": external_id, "actor": str(actor)})
    return found


def change_client(*, client_id: int, changes: Mapping[str, Any], actor: Actor, reason: str = "") -> Client:
    """Change name, strategy, payout threshold or fee; what was recorded before keeps the old ones.

    Raises:
        InvalidFieldsError: all that is wrong, with which field.
        Client.DoesNotExist: there is none.
    """
    strange = [
        FieldError(name, "unknown_field", "cannot be changed here") for name in changes if name not in CHANGEABLE
    ]
    if strange:
        raise InvalidFieldsError(strange)
    with transaction.atomic():
        client = Client.objects.select_for_update().get(pk=client_id)
        moved = {
            name: (getattr(client, name), value) for name, value in changes.items() if value != getattr(client, name)
        }
        for name, (_, value) in moved.items():
            setattr(client, name, value)
        check_terms(client)
        if moved:
            client.save(update_fields=(*moved, "updated_at"))
            _record(client, moved, actor=actor, reason=reason)
    logger.info("client changed", extra={"client": client.external_id, "actor": str(actor), "changes": sorted(moved)})
    return client


def _record(client: Client, moved: Mapping[str, tuple[object, object]], *, actor: Actor, reason: str) -> None:
    """The history of what was changed, in the transaction that changes it."""
    ClientChange.objects.bulk_create(
        ClientChange(
            client=client,
            field=name,
            before=as_text(before),
            after=as_text(after),
            actor=str(actor),
            reason=reason.strip(),
        )
        for name, (before, after) in moved.items()
        if as_text(before) != as_text(after)
    )


def as_text(value: object) -> str:
    """A field's value as histories and plans show it: empty for nothing, amounts without trailing zeros."""
    return "" if value is None else f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def request_destination_change(
    *,
    client_id: int,
    wallet_address: str,
    payout_currency: str,
    payout_network: str,
    actor: Actor,
    reason: str,
) -> DestinationChange:
    """Have a client paid elsewhere from DESTINATION_COOL_OFF_S after now, unless somebody cancels it before.

    Raises:
        InvalidFieldsError: what is wrong with which field.
        RefusedError: without a reason, to where it is paid already, or while another change waits.
        Client.DoesNotExist: there is none.
    """
    check_destination(wallet_address=wallet_address, payout_currency=payout_currency, payout_network=payout_network)
    need_reason(reason)
    with transaction.atomic():
        client = Client.objects.select_for_update().get(pk=client_id)
        if DestinationChange.objects.pending().filter(client=client).exists():
            raise RefusedError(
                why=f"Client {client.external_id} has a change waiting already.", next_step="Cancel that one first."
            )
        wanted = (wallet_address, payout_currency, payout_network)
        if wanted == (client.wallet_address, client.payout_currency, client.payout_network):
            raise RefusedError(why=f"Client {client.external_id} is paid there already.", next_step="Nothing is to do.")
        change = DestinationChange.objects.create(
            client=client,
            wallet_address=wallet_address,
            payout_currency=payout_currency,
            payout_network=payout_network,
            old_wallet_address=client.wallet_address,
            old_payout_currency=client.payout_currency,
            old_payout_network=client.payout_network,
            reason=reason.strip(),
            requested_by=str(actor),
            effective_at=clock.now() + timedelta(seconds=settings.DESTINATION_COOL_OFF_S),
        )
    logger.info("destination change requested", extra={"client": client.external_id, "change": change.pk})
    return change


def cancel_destination_change(*, change_id: int, actor: Actor, reason: str) -> DestinationChange:
    """Let a change that waits never take effect.

    Raises:
        RefusedError: it was applied or cancelled already, or no reason was given.
        DestinationChange.DoesNotExist: there is none.
    """
    need_reason(reason)
    with transaction.atomic():
        change = DestinationChange.objects.select_for_update(of=("self",)).get(pk=change_id)
        if change.state != "pending":
            raise RefusedError(why=f"The change is {change.state}.", next_step="Only one that waits can be cancelled.")
        change.cancelled_at, change.cancelled_by = clock.now(), str(actor)
        change.cancel_reason = reason.strip()
        change.save()
    logger.info("destination change cancelled", extra={"change": change.pk, "actor": str(actor)})
    return change


def apply_destination_changes(*, now: datetime) -> int:
    """Put into force the changes whose time has come; says how many."""
    due = list(DestinationChange.objects.due(now).values_list("pk", flat=True))
    return sum(_apply(change_id, now) for change_id in due)


def _apply(change_id: int, now: datetime) -> bool:
    with transaction.atomic():
        change = DestinationChange.objects.due(now).select_for_update(of=("self",)).filter(pk=change_id).first()
        if change is None:
            # Cancelled or applied by somebody else meanwhile.
            return False
        Client.objects.filter(pk=change.client_id).update(
            wallet_address=change.wallet_address,
            payout_currency=change.payout_currency,
            payout_network=change.payout_network,
            updated_at=now,
        )
        change.applied_at = now
        change.save()
    logger.info("destination changed", extra={"change": change.pk})
    return True


def check_new(client: Client) -> None:
    """Go on only with a client that could be made, whose id may be taken; raises InvalidFieldsError with all errors."""
    checks: tuple[Callable[[], None], ...] = (
        partial(check_external_id, client.external_id),
        partial(check_terms, client),
        partial(check_destination, **{name: getattr(client, name) for name in DESTINATION}),
    )
    errors = [error for check in checks for error in errors_of(check)]
    if errors:
        raise InvalidFieldsError(errors)


def errors_of(check: Callable[[], None]) -> tuple[FieldError, ...]:
    """What `check` raises InvalidFieldsError for; none if it goes through."""
    try:
        check()
    except InvalidFieldsError as refusal:
        return refusal.errors
    return ()


def check_external_id(external_id: str) -> None:
    """Go on only with what can be a client's id; raises InvalidFieldsError."""
    if not _EXTERNAL_ID.fullmatch(external_id):
        rule = "must be 1 to 64 printable ASCII characters without spaces"
        raise InvalidFieldsError([FieldError("external_id", "invalid", rule)])


def check_terms(client: Client) -> None:
    """Go on only with name, strategy, threshold and fee as they may be; raises InvalidFieldsError."""
    errors = []
    if len(client.name) > _LONGEST_NAME or _UNPRINTABLE.search(client.name):
        errors.append(FieldError("name", "invalid", f"must have at most {_LONGEST_NAME} printable characters"))
    if client.strategy not in Strategy.values:
        errors.append(FieldError("strategy", "invalid", f"must be among {', '.join(Strategy.values)}"))
    threshold = client.payout_threshold_usd
    if threshold is None and client.strategy == Strategy.THRESHOLD:
        errors.append(FieldError("payout_threshold_usd", "required", "is required by the strategy threshold"))
    if threshold is not None and not (threshold.is_finite() and 0 < threshold < USD_LIMIT):
        errors.append(FieldError("payout_threshold_usd", "invalid", "must be above zero"))
    percent = client.fee_percent
    if percent is not None and not (percent.is_finite() and 0 <= percent < 100):
        errors.append(FieldError("fee_percent", "invalid", "must be from 0 to below 100"))
    if errors:
        raise InvalidFieldsError(errors)
