"""Clients from a file: first what taking a record over would change, then the change itself.

A record says what a client shall be; what it leaves out stays as it is. One that changes nothing is not a mistake, so
a file can be imported again, after an interruption or with more lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final

from django.db import transaction

from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from config.lib.money import AmountError, number_text, parse_money
from config.lib.problems import FieldError, InvalidFieldsError
from config.lib.record_files import Line
from payouts.models import Client, DestinationChange
from payouts.services.clients import (
    CHANGEABLE,
    DESTINATION,
    as_text,
    change_client,
    check_new,
    check_terms,
    create_client,
    errors_of,
    request_destination_change,
)
from payouts.services.destinations import check_destination

FIELD_NAMES: Final = ("external_id", *CHANGEABLE, *DESTINATION)
# Digits before and after the point.
_AMOUNTS: Final = {"payout_threshold_usd": (12, 8), "fee_percent": (2, 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field before and after, as text; empty where there was nothing."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPlan:
    """What one record changes. `client_id` is None for a client to be made.

    `destination` is what it is paid to from the end of the cool-off on, where that differs from now.
    """

    external_id: str
    client_id: int | None
    terms: Mapping[str, Any]
    destination: Mapping[str, str]
    changes: Sequence[Change] = field(default=())

    @property
    def kind(self) -> str:
        """`new`, `changed` or `unchanged`."""
        if self.client_id is None:
            return "new"
        return "changed" if self.changes else "unchanged"


Planned = ClientPlan | SluiceError


def plan_clients(items: Sequence[object]) -> list[Planned]:
    """What each record would change as things are, or why it is refused; nothing is written.

    A record that could not be read comes as the error that says so, and is passed through.
    """
    ids = {str(item["external_id"]) for item in items if isinstance(item, Mapping) and "external_id" in item}
    known = {client.external_id: client for client in Client.objects.filter(external_id__in=_storable(ids))}
    waiting = {
        change.client_id: change for change in DestinationChange.objects.pending().filter(client__in=known.values())
    }
    planned: list[Planned] = []
    for item in items:
        try:
            planned.append(_plan(item, known, waiting))
        except SluiceError as refusal:
            planned.append(refusal)
    return planned


def carry_out(*, plan: ClientPlan, actor: Actor, reason: str) -> None:
    """Make or change the client as planned: all of it or nothing. Its destination waits for the cool-off.

    Raises:
        InvalidFieldsError, RefusedError: it became impossible since it was planned.
    """
    with transaction.atomic():
        if plan.client_id is None:
            create_client(
                external_id=plan.external_id, actor=actor, reason=reason, **{**plan.terms, **plan.destination}
            )
            return
        if plan.terms:
            change_client(client_id=plan.client_id, changes=plan.terms, actor=actor, reason=reason)
        if plan.destination:
            request_destination_change(client_id=plan.client_id, actor=actor, reason=reason, **plan.destination)


def once_each(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, a second one for the same client refused: which of two is right, nobody could say."""
    first: dict[str, int] = {}
    for line in lines:
        external_id = line.item.get("external_id") if isinstance(line.item, Mapping) else None
        if not isinstance(external_id, str) or first.setdefault(external_id, line.number) == line.number:
            yield line
        else:
            yield Line(
                line.number,
                RefusedError(
                    why=f"Line {first[external_id]} is about client {external_id} too.", next_step="Keep one of them."
                ),
            )


def fingerprint(planned: Iterable[Planned]) -> str:
    """Tells one set of changes from another: what somebody confirms is what they saw."""
    digest = hashlib.sha256()
    for each in planned:
        digest.update(repr(str(each) if isinstance(each, SluiceError) else (each.kind, each.changes)).encode())
    return digest.hexdigest()


def _plan(item: object, known: Mapping[str, Client], waiting: Mapping[int, DestinationChange]) -> ClientPlan:
    given = _read(item)
    external_id = given.pop("external_id")
    terms = {name: value for name, value in given.items() if name in CHANGEABLE}
    destination = {name: value for name, value in given.items() if name in DESTINATION}
    client = known.get(external_id)
    if client is None:
        return _plan_new(external_id, terms, destination)
    return _plan_known(client, terms, destination, waiting.get(client.pk))


def _plan_new(external_id: str, terms: Mapping[str, Any], destination: Mapping[str, str]) -> ClientPlan:
    if not destination.get("wallet_address"):
        raise InvalidFieldsError([FieldError("wallet_address", "required", "is required for a new client")])
    client = Client(external_id=external_id, **terms, **destination)
    check_new(client)
    changes = [
        Change(field=name, before="", after=as_text(getattr(client, name))) for name in (*CHANGEABLE, *DESTINATION)
    ]
    return ClientPlan(
        external_id=external_id,
        client_id=None,
        terms=terms,
        destination=destination,
        changes=tuple(change for change in changes if change.after),
    )


def _plan_known(
    client: Client, terms: Mapping[str, Any], destination: Mapping[str, str], waiting: DestinationChange | None
) -> ClientPlan:
    now_paid_to = _destination_of(client)
    other_terms = {name: value for name, value in terms.items() if value != getattr(client, name)}
    wanted = {**now_paid_to, **destination}
    if wanted != now_paid_to:
        check_destination(**wanted)
    is_waiting = waiting is not None and _destination_of(waiting) == wanted
    moves = wanted != now_paid_to and not is_waiting
    if moves and waiting is not None:
        raise RefusedError(
            why=f"Client {client.external_id} has a change of its destination waiting already.",
            next_step="Cancel that one first.",
        )
    changes = [
        Change(field=name, before=as_text(getattr(client, name)), after=as_text(value))
        for name, value in other_terms.items()
    ]
    for name, value in other_terms.items():
        setattr(client, name, value)
    check_terms(client)
    if moves:
        changes += [
            Change(field=name, before=now_paid_to[name], after=wanted[name])
            for name in DESTINATION
            if wanted[name] != now_paid_to[name]
        ]
    return ClientPlan(
        external_id=client.external_id,
        client_id=client.pk,
        terms=other_terms,
        destination=wanted if moves else {},
        changes=tuple(changes),
    )


def _read(item: object) -> dict[str, Any]:
    """The fields of a record, amounts as Decimals; `external_id` is there.

    Raises:
        SluiceError: the record could not be read, is no object, or has fields that are none or of another kind.
    """
    if isinstance(item, SluiceError):
        raise item
    if not isinstance(item, Mapping):
        raise InvalidFieldsError([FieldError("", "invalid", "must be an object with the fields of a client")])
    errors = [
        FieldError(str(name)[:64], "unknown_field", "is not known here") for name in item if name not in FIELD_NAMES
    ]
    read: dict[str, Any] = {}
    for name in FIELD_NAMES:
        if name not in item:
            continue
        try:
            read[name] = _value(name, item[name])
        except AmountError as error:
            errors.append(FieldError(name, "invalid", error.rule))
    if "external_id" not in item:
        errors.append(FieldError("external_id", "required", "is required"))
    if errors:
        raise InvalidFieldsError([*errors, *_further_errors(read, {error.field for error in errors})])
    return read


def _further_errors(read: Mapping[str, Any], named: Container[str]) -> Iterator[FieldError]:
    """Rules that the readable fields of a record break which is refused anyway: who mends it is told all at once."""
    for error in errors_of(partial(check_new, Client(**read))):
        # A client that exists may be paid on another network than a new one would.
        is_judged = error.field in read and (error.field not in DESTINATION or "payout_network" in read)
        if is_judged and error.field not in named:
            yield error


def _value(name: str, value: object) -> str | Decimal | None:
    if name in _AMOUNTS:
        # null takes the client's own away.
        integer_digits, decimals = _AMOUNTS[name]
        if value is None:
            return None
        return parse_money(number_text(value), max_integer_digits=integer_digits, max_decimals=decimals, field=name)
    if not isinstance(value, str):
        raise AmountError(name, "must be a string")
    return value


def _destination_of(of: Client | DestinationChange) -> dict[str, str]:
    return {name: getattr(of, name) for name in DESTINATION}


def _storable(ids: Iterable[str]) -> list[str]:
    """Without those that PostgreSQL could not even compare with."""
    return [each for each in ids if each.isascii() and each.isprintable()]
