"""Endpoints: made, changed, given another secret, switched off and on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from config.lib import clock, locks
from config.lib.audit import Actor, need_reason
from config.lib.errors import RefusedError
from config.lib.problems import FieldError, InvalidFieldsError
from config.lib.public_addresses import UnfitAddressError
from payouts import gateways
from payouts.models import SUBSCRIBABLE, Client, EndpointStatus, WebhookDelivery, WebhookEndpoint, WebhookEvent, host_of
from payouts.services.webhooks.secrets import new_seed, secret_of

logger = logging.getLogger(__name__)

CHANGEABLE = ("name", "url", "events")
# So long both secrets sign after a rotation, unless somebody says otherwise.
OVERLAP = timedelta(days=1)
LONGEST_OVERLAP = timedelta(days=7)
# Each is told of every payment, in the transaction that moves it: a batch's million, and its claim has minutes.
MOST_OF_EVERYBODY = 5
_LONGEST_NAME = 80
_ONE_PER_ADDRESS = "webhook_endpoint_is_one_per_address"


class EndpointExistsError(RefusedError):
    """Another enabled endpoint has this address."""

    code = "endpoint_exists"


class TooManyEndpointsError(RefusedError):
    """No more enabled endpoints can listen to all clients."""

    code = "too_many_endpoints"


def create_endpoint(
    *, name: str, url: str, events: Iterable[str], actor: Actor, client: Client | None = None
) -> tuple[WebhookEndpoint, str]:
    """Make an endpoint; the second value is its secret, which is shown this once.

    It is told of what is written from now on. What other transactions are writing at this moment may be missing, so
    who needs to know where things stood reads that a minute later.

    Raises:
        InvalidFieldsError: what is wrong with which field.
        EndpointExistsError: an enabled one has this address.
        TooManyEndpointsError: it is for all clients, as MOST_OF_EVERYBODY are already.
    """
    wanted = check_endpoint({"name": name, "url": url, "events": events})
    seed, key = new_seed()
    with _one_per_address(wanted["url"]), transaction.atomic():
        if client is None:
            _need_room()
        endpoint = WebhookEndpoint.objects.create(
            **wanted, client=client, secret_seed=seed, secret_key_id=key, created_by=str(actor)
        )
        endpoint.record_birth(actor=actor, reason="made", data=_noted({"url": endpoint.url, "events": endpoint.events}))
    logger.info("webhook endpoint made", extra={"endpoint": endpoint.pk, "actor": str(actor)})
    endpoint.refresh_from_db()
    return endpoint, secret_of(seed, key)


def change_endpoint(*, endpoint_id: int, changes: Mapping[str, Any], actor: Actor, reason: str) -> WebhookEndpoint:
    """Change its name, address or events; what waits for it goes to the new address, after what is under way.

    Raises:
        InvalidFieldsError: what is wrong with which field.
        RefusedError: no reason was given; EndpointExistsError if an enabled one has the address.
        WebhookEndpoint.DoesNotExist: there is none.
    """
    need_reason(reason)
    wanted = check_endpoint(changes)
    with _one_per_address(wanted.get("url", "")), transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        before = {name: getattr(endpoint, name) for name in wanted}
        now = clock.now()
        columns: dict[str, Any] = dict(wanted)
        if wanted.get("url", endpoint.url) != endpoint.url:
            # What whoever is sending at this moment hears is of the old one.
            columns |= {**_unburdened(now), "leased_until": None}
        if wanted.get("events", endpoint.events) != endpoint.events:
            columns["subscribed_at"] = now
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**columns)
        endpoint.note(actor=actor, reason=reason.strip(), data={"before": _noted(before), "after": _noted(wanted)})
    logger.info("webhook endpoint changed", extra={"endpoint": endpoint_id, "actor": str(actor)})
    return WebhookEndpoint.objects.select_related("client").get(pk=endpoint_id)


def disable_endpoint(*, endpoint: WebhookEndpoint, actor: Actor, reason: str) -> WebhookEndpoint:
    """Send nothing there, and write nothing down for it; what waits goes on waiting for its three days.

    A request that is under way ends as it would have; the event after it is not sent.

    Raises:
        RefusedError: it is disabled already, or no reason was given.
        StaleRowError: somebody else was first.
    """
    need_reason(reason)
    if not endpoint.is_enabled:
        raise RefusedError(why=f"Endpoint {endpoint} is disabled already.", next_step="Nothing is to do.")
    endpoint.move(
        EndpointStatus.DISABLED,
        actor=actor,
        reason=reason.strip(),
        disabled_reason=reason.strip(),
        # Whoever is sending at this moment finds that its lease is gone; and that it failed concerns nobody any more.
        leased_until=None,
        failures=0,
        failing_since=None,
    )
    return endpoint


def enable_endpoint(*, endpoint: WebhookEndpoint, actor: Actor, reason: str) -> WebhookEndpoint:
    """Go on with what waits, and tell of what happens from now on; of what happened meanwhile nothing was written down.

    Raises:
        RefusedError: it is enabled already, or no reason was given; EndpointExistsError if another has its address;
            TooManyEndpointsError if it is for all clients, as MOST_OF_EVERYBODY are already.
        StaleRowError: somebody else was first.
    """
    need_reason(reason)
    if endpoint.is_enabled:
        raise RefusedError(why=f"Endpoint {endpoint} is enabled already.", next_step="Nothing is to do.")
    now = clock.now()
    with _one_per_address(endpoint.url), transaction.atomic():
        if endpoint.client_id is None:
            _need_room()
        endpoint.move(
            EndpointStatus.ENABLED,
            actor=actor,
            reason=reason.strip(),
            disabled_reason="",
            subscribed_at=now,
            **_unburdened(now),
        )
    return endpoint


def rotate_secret(*, endpoint_id: int, actor: Actor, reason: str, overlap: timedelta = OVERLAP) -> str:
    """Give the endpoint a new secret and return it, this once; the one before signs as well until `overlap` is over.

    One that was still in its own overlap signs no longer. Without an overlap the old one ends with the event that may
    be under way: for a secret that somebody else has got hold of.

    Raises:
        RefusedError: no reason was given, or the overlap is longer than LONGEST_OVERLAP.
        WebhookEndpoint.DoesNotExist: there is none.
    """
    need_reason(reason)
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise RefusedError(
            why=f"Two secrets cannot be in force for {overlap}.",
            next_step=f"The longest is {LONGEST_OVERLAP.days} days.",
        )
    seed, key = new_seed()
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).get(pk=endpoint_id)
        now = clock.now()
        until = now + overlap if overlap else None
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
            secret_seed=seed,
            secret_key_id=key,
            secret_made_at=now,
            old_secret_seed=endpoint.secret_seed if overlap else "",
            old_secret_key_id=endpoint.secret_key_id if overlap else "",
            old_secret_until=until,
        )
        endpoint.note(
            actor=actor, reason=f"given a new secret: {reason.strip()}", data={"old_one_signs_until": until or now}
        )
    logger.info("webhook secret rotated", extra={"endpoint": endpoint_id, "actor": str(actor)})
    return secret_of(seed, key)


def send_test(*, endpoint: WebhookEndpoint, actor: Actor) -> WebhookDelivery:
    """Have a test event sent, after whatever waits already, which is tried now.

    Raises:
        RefusedError: the endpoint is disabled.
    """
    if not endpoint.is_enabled:
        raise RefusedError(why=f"Endpoint {endpoint} is disabled.", next_step="Enable it first.")
    with transaction.atomic():
        delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=WebhookEvent.TEST)
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(next_attempt_at=clock.now())
        endpoint.note(actor=actor, reason="a test event was asked for")
    delivery.refresh_from_db()
    return delivery


def look_up_address(url: str) -> None:
    """Ask the resolver what an address stands for, before a transaction in which an endpoint gets it.

    Raises:
        InvalidFieldsError: nothing may be sent there.
    """
    try:
        gateways.look_up_webhook_url(url.strip())
    except UnfitAddressError as refusal:
        raise InvalidFieldsError([_unfit(refusal)]) from None


def check_endpoint(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns to write for these properties of an endpoint, any of CHANGEABLE; no address is looked up.

    Raises:
        InvalidFieldsError: what is wrong with which field.
    """
    errors = [FieldError(name, "unknown_field", "cannot be changed here") for name in given if name not in CHANGEABLE]
    wanted: dict[str, Any] = {}
    if "name" in given:
        wanted["name"] = given["name"].strip()
        if not 1 <= len(wanted["name"]) <= _LONGEST_NAME or not wanted["name"].isprintable():
            errors.append(FieldError("name", "invalid", f"must have 1 to {_LONGEST_NAME} printable characters"))
    if "events" in given:
        asked = set(given["events"])
        wanted["events"] = [event for event in SUBSCRIBABLE if event in asked]
        if not asked or not asked.issubset(SUBSCRIBABLE):
            errors.append(FieldError("events", "invalid", f"must be among {', '.join(SUBSCRIBABLE)}"))
    if "url" in given:
        wanted["url"] = given["url"].strip()
        try:
            gateways.check_webhook_url(wanted["url"])
        except UnfitAddressError as refusal:
            errors.append(_unfit(refusal))
    if errors:
        raise InvalidFieldsError(errors)
    return wanted


def _unfit(refusal: UnfitAddressError) -> FieldError:
    return FieldError("url", "unfit_address", str(refusal))


def _noted(columns: Mapping[str, Any]) -> dict[str, Any]:
    """As the history keeps them, which nobody can rewrite: of an address its host, the rest is often a secret."""
    return {name: host_of(value) if name == "url" else value for name, value in columns.items()}


def _need_room() -> None:
    """One after the other, so that two cannot take the last place."""
    locks.hold(locks.Lock.WEBHOOK_ENDPOINTS)
    enabled = WebhookEndpoint.objects.filter(status=EndpointStatus.ENABLED, client__isnull=True).count()
    if enabled >= MOST_OF_EVERYBODY:
        raise TooManyEndpointsError(
            why=f"{enabled} enabled endpoints are told of all clients' payments, which is the most there can be.",
            next_step="Name the client whose payments it is for, or disable another first.",
        )


@contextmanager
def _one_per_address(url: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if _ONE_PER_ADDRESS not in str(error):
            raise
        raise EndpointExistsError(
            # Of the address its host: it is asked for by people who may not see the rest.
            why=f"An enabled endpoint at {host_of(url)} has the address already.",
            next_step="Change that one, or disable it first.",
        ) from None


def _unburdened(now: datetime) -> dict[str, Any]:
    """The columns of an endpoint that is tried at once, whatever came before."""
    return {
        "next_attempt_at": now,
        "failures": 0,
        "failing_since": None,
        "last_error": "",
        "last_took_ms": 0,
        "given_up_in_a_row": 0,
    }
