"""Many payments at once: the same rules as for one, in a handful of statements however many there are.

Each payment is recorded or refused on its own. What is written is one transaction: when this returns, all of it is
committed; when it raises, none of it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set

from django.db import IntegrityError, connection, transaction
from django.db.models import Func, Value

from config.lib import locks
from config.lib.audit import Actor
from config.lib.copying import copy_rows
from config.lib.errors import SluiceError
from config.lib.exact_json import InexactJsonError, loads_exact, texts_in_list
from config.lib.problems import FieldError, InvalidFieldsError
from hostpay.models import Switch
from hostpay.services import refuse_if_paused
from payouts.models import (
    Accumulation,
    AccumulationStatusChange,
    BodyState,
    Client,
    InboundEvent,
    Outcome,
    Verdict,
    VoidOrder,
)
from payouts.services.drafts import PENDING, AmountTooSmallError, Draft, Terms, draft_of, voided
from payouts.services.facts import InvalidJsonError, PaymentFacts, facts_of
from payouts.services.recording import (
    ConflictingDeliveryError,
    ConflictingPaymentError,
    Delivery,
    Recorded,
    UnknownClientError,
)
from payouts.services.refusals import count_refusals
from payouts.services.voiding import void_orders_for
from payouts.services.webhooks.telling import tell_of_recorded

MOST_PAYMENTS = 5000

Ended = Recorded | SluiceError


def take_payments(*, delivery: Delivery, actor: Actor) -> list[Ended]:
    """Process one authentic delivery of `POST /api/v1/payments/bulk/`: each of its payments as `record_payments` says.

    Raises:
        InvalidJsonError: not a JSON list, nor an object with the list `payments`; the delivery is kept.
        InvalidFieldsError: an empty list, or one of more than MOST_PAYMENTS; the delivery is kept.
        ConflictingDeliveryError: its id stood for another request; kept for a person.
        PausedError: an operator paused the intake; nothing is kept, its sender is told to come again.
        Exception: anything unforeseen, after each payment was stored as a failed delivery.
    """
    try:
        items = _items_of(delivery.body)
    except (InvalidJsonError, InvalidFieldsError) as refusal:
        delivery.as_unsettled(Outcome.REFUSED, str(refusal)).save()
        count_refusals(source=delivery.source, codes=[refusal.code])
        raise
    _refuse_if_id_was_another(delivery)
    is_settled = False
    try:
        ended = record_payments(items=items, source=delivery.source, delivery=delivery, actor=actor)
        is_settled = True
        refused = (one.code for one in ended if isinstance(one, SluiceError))
        count_refusals(source=delivery.source, codes=refused)
        return ended
    except SluiceError:
        is_settled = True
        raise
    finally:
        if not is_settled:
            why = "Processing broke off; the log has the reason."
            texts = texts_in_list(delivery.body)
            InboundEvent.objects.bulk_create([_alone(delivery, text, Outcome.FAILED, why) for text in texts])


def _refuse_if_id_was_another(delivery: Delivery) -> None:
    """Go on if the delivery's id is new, or if it is the same delivery again, byte by byte.

    Which payment was meant by an id cannot be compared here as for one payment alone: there are thousands. What stands of
    a list whose processing broke off is its payments, each as it is written there, when they were processed again.

    Raises:
        ConflictingDeliveryError: it stood for another request.
        PausedError: it did, and an operator paused the intake; nothing is kept.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SAME_ID, {"source": delivery.source, "event_id": delivery.event_id})
        stood = cursor.fetchall()
    # The usual one is new, and its body is not hashed.
    if not stood:
        return
    hashes = {body_sha256 for _, body_sha256 in stood}
    if _sha256(delivery.body) in hashes or hashes <= set(map(_sha256, texts_in_list(delivery.body))):
        return
    refuse_if_paused(Switch.INTAKE)
    why = (
        f"The delivery {delivery.event_id} was processed before with another body (event {stood[0][0]}); nothing of this"
        " one was recorded. It can be sent under an id of its own."
    )
    delivery.as_unsettled(Outcome.CONFLICT, why).save()
    count_refusals(source=delivery.source, codes=[ConflictingDeliveryError.code])
    raise ConflictingDeliveryError(why)


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _items_of(body: bytes) -> list[object]:
    try:
        content = loads_exact(body)
    except InexactJsonError as error:
        raise InvalidJsonError(f"The body is refused: {error}.") from None
    if isinstance(content, Mapping):
        unknown = [
            FieldError(name[:64], "unknown_field", "is not known here") for name in content if name != "payments"
        ]
        if unknown:
            raise InvalidFieldsError(unknown)
        content = content.get("payments")
    if not isinstance(content, list):
        raise InvalidJsonError('The body must be a JSON object {"payments": [...]}, or the list alone.')
    if not 1 <= len(content) <= MOST_PAYMENTS:
        raise InvalidFieldsError([FieldError("payments", "invalid", f"must hold 1 to {MOST_PAYMENTS} payments")])
    return content


def record_payments(*, items: Sequence[object], source: str, delivery: Delivery | None, actor: Actor) -> list[Ended]:
    """Record many payments; for each item, in their order, what was recorded or why it was not.

    `items` are decoded JSON objects as `facts_of` reads them. The delivery whose body lists them is stored whole, and
    each item that was not recorded a second time alone, as it is written there, so that it can be replayed; without a
    delivery (an import) nothing but the payments is stored.

    Raises:
        PausedError: an operator paused the intake.
    """
    with transaction.atomic():
        locks.hold_shared(locks.Lock.INTAKE)
        refuse_if_paused(Switch.INTAKE)
        found = [_facts_of(item, source) for item in items]
        named = [one for one in found if isinstance(one, PaymentFacts)]
        recorded = iter(_recorded(named, source, actor) if named else ())
        ended = [next(recorded) if isinstance(one, PaymentFacts) else one for one in found]
        if delivery is not None:
            _keep(delivery, ended)
    return ended


def _facts_of(item: object, source: str) -> PaymentFacts | SluiceError:
    if not isinstance(item, dict):
        return InvalidFieldsError([FieldError("", "invalid", "must be a JSON object")])
    try:
        return facts_of(item, source=source)
    except InvalidFieldsError as refusal:
        return refusal


def _terms_of(external_ids: set[str]) -> dict[str, Terms]:
    """The terms of the clients, which stay as they are until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_CLIENTS, [list(external_ids)])
        return {external_id: Terms._make(terms) for external_id, *terms in cursor.fetchall()}


def _draft_of(facts: PaymentFacts, terms: Mapping[str, Terms]) -> Draft | SluiceError:
    of = terms.get(facts.client_id)
    if of is None:
        return UnknownClientError(facts.client_id)
    try:
        return draft_of(facts, of)
    except AmountTooSmallError as refusal:
        return refusal


def _recorded(named: Sequence[PaymentFacts], source: str, actor: Actor) -> list[Ended]:
    names = {facts.payment_id for facts in named}
    orders = void_orders_for(source=source, payment_ids=names)
    drafts = _Drafts(named, _terms_of({facts.client_id for facts in named}), is_void=orders)
    standing = _insert(drafts, names, source)
    inserted = drafts.inserted
    born = (
        (pk, row, orders[name].reason if name in orders else row.hold_reason)
        for name, (pk, row) in inserted.items()
        if row.status != PENDING
    )
    _record_births(born, actor)
    _fulfil([(order, inserted[name][0]) for name, order in orders.items() if name in inserted])
    tell_of_recorded(accumulation_ids=[pk for pk, _ in inserted.values()])
    ended: list[Ended] = []
    told: set[str] = set()
    for one in drafts:
        if not isinstance(one, Draft):
            ended.append(one)
        elif one.payment_id in inserted:
            # The second of its name finds the first one recorded.
            is_new = one.payment_id not in told
            told.add(one.payment_id)
            ended.append(_answer(one, *inserted[one.payment_id], is_new=is_new))
        else:
            existing = standing[one.payment_id]
            ended.append(_answer(one, existing.pk, existing, is_new=False))
    return ended


class _Drafts:
    """What each of a request's payments would be recorded as, or why it is not, in their order.

    A draft is worked out when it is first asked for, which is while COPY takes the rows before it.

    Attributes:
        inserted: the id and the row that COPY was given last, for each payment id.
    """

    def __init__(self, named: Sequence[PaymentFacts], terms: Mapping[str, Terms], *, is_void: Container[str]) -> None:
        self.inserted: dict[str, tuple[int, Draft]] = {}
        self._named = named
        self._terms = terms
        self._is_void = is_void
        self._found: list[Draft | SluiceError | None] = [None] * len(named)

    def __iter__(self) -> Iterator[Draft | SluiceError]:
        return map(self._at, range(len(self._named)))

    def rows(self, ids: Iterable[int], *, standing: Container[str]) -> Iterator[tuple[object, ...]]:
        """The rows to insert, one for each payment that does not stand yet, noted in `inserted` as they are drawn.

        In the order of their payments' ids: two requests with the same payments wait for each other and not in a
        circle. Of a payment that is named twice it is the first that can be recorded; the others are compared with it.
        """
        self.inserted = {}
        unused = iter(ids)
        names = [facts.payment_id for facts in self._named]
        for position in sorted(range(len(names)), key=names.__getitem__):
            name = names[position]
            found = self._at(position)
            if isinstance(found, Draft) and name not in self.inserted and name not in standing:
                row, pk = voided(found) if name in self._is_void else found, next(unused)
                self.inserted[name] = (pk, row)
                yield pk, *row

    def _at(self, position: int) -> Draft | SluiceError:
        found = self._found[position]
        if found is None:
            found = self._found[position] = _draft_of(self._named[position], self._terms)
        return found


def _answer(draft: Draft, pk: int, stands: Draft | Accumulation, *, is_new: bool) -> Ended:
    if stands.content_sha256 != draft.content_sha256:
        return ConflictingPaymentError(
            f"Payment {draft.payment_id} was recorded as accumulation {pk} with other content, which stands."
        )
    return Recorded(
        accumulation_id=pk,
        payment_id=stands.payment_id,
        status=stands.status,
        gross_usd=stands.gross_usd,
        fee_usd=stands.fee_usd,
        pending_usd_amount=stands.pending_usd_amount,
        hold_reason=stands.hold_reason,
        is_new=is_new,
    )


def _insert(drafts: _Drafts, names: Set[str], source: str) -> dict[str, Accumulation]:
    """Insert those that are not recorded yet, and say what stood before for the others, by payment id."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_IDS, [len(names)])
        ids = [pk for (pk,) in cursor.fetchall()]
    standing: dict[str, Accumulation] = {}
    while True:
        try:
            with transaction.atomic():
                copy_rows(_COPY, drafts.rows(ids, standing=standing))
                return standing
        except IntegrityError:
            # COPY is all or nothing, but half the price of an INSERT that looks for each payment first. What it met is
            # committed, so each round has fewer left; if nothing stands there, another rule was broken.
            met = _standing(names - standing.keys(), source)
            if not met:
                raise
            standing |= met


def _fulfil(came: Iterable[tuple[VoidOrder, int]]) -> None:
    """Note at each order which payment it was carried out on."""
    for order, pk in came:
        VoidOrder.objects.filter(pk=order.pk).update(accumulation=pk)


def _record_births(born: Iterable[tuple[int, Draft, str]], actor: Actor) -> None:
    AccumulationStatusChange.objects.bulk_create(
        [
            AccumulationStatusChange(
                subject_id=pk, from_status="", to_status=draft.status, actor=str(actor), reason=reason
            )
            for pk, draft, reason in born
        ]
    )


def _standing(names: Iterable[str], source: str) -> dict[str, Accumulation]:
    """What was recorded before, by payment id."""
    return {row.payment_id: row for row in Accumulation.objects.filter(source=source, payment_id__in=names)}


def _keep(delivery: Delivery, ended: Sequence[Ended]) -> None:
    """The delivery as it came, and each of its payments that was not recorded as if it had come alone."""
    whole = delivery.as_event()
    refused = [(position, end) for position, end in enumerate(ended) if isinstance(end, SluiceError)]
    whole.outcome = Outcome.DIVIDED
    whole.error = f"{len(refused)} of {len(ended)} payments were not recorded." if refused else ""
    # As each was written, digit by digit: what was refused for how it is written is refused again.
    texts = texts_in_list(delivery.body) if refused else []
    alone = [_alone(delivery, texts[position], _outcome_of(end), str(end)) for position, end in refused]
    # As text, which it is: bytes would go to the server in hexadecimal, and take twice as long.
    whole.body = Func(Value(delivery.body.decode()), Value("UTF8"), function="convert_to")
    InboundEvent.objects.bulk_create([whole, *alone])


def _outcome_of(refusal: SluiceError) -> Outcome:
    return Outcome.CONFLICT if isinstance(refusal, ConflictingPaymentError) else Outcome.REFUSED


def _alone(delivery: Delivery, text: bytes, outcome: Outcome, error: str) -> InboundEvent:
    return Delivery(
        source=delivery.source, event_id=delivery.event_id, headers=delivery.headers, body=text
    ).as_unsettled(outcome, error)


_INBOX = InboundEvent._meta.db_table
# An index for each half. What became of the payments of a list, processed again alone, has the list's id too.
_SAME_ID = " UNION ALL ".join(
    f"""
    SELECT id, CASE body_state WHEN '{BodyState.FORGOTTEN}' THEN body_sha256 ELSE encode(sha256(body), 'hex') END
    FROM {_INBOX}
    WHERE source = %(source)s AND event_id = %(event_id)s AND verdict = '{Verdict.VALID}' AND outcome = '{outcome}'
    """  # noqa: S608 (only names and words of ours)
    for outcome in (Outcome.DIVIDED, Outcome.RECORDED)
)

# FOR SHARE: whoever changes a client waits, so that its payments follow either the old terms or the new ones.
_LOCK_CLIENTS = f"""
    SELECT external_id, {", ".join("id" if name == "client_id" else name for name in Terms._fields)}
    FROM {Client._meta.db_table}
    WHERE external_id = ANY(%s)
    ORDER BY id FOR SHARE
"""  # noqa: S608 (only names of ours)

_TABLE = Accumulation._meta.db_table
_NEXT_IDS = f"""
    SELECT nextval(sequence)
    FROM CAST(pg_get_serial_sequence('{_TABLE}', 'id') AS regclass) AS sequence, generate_series(1, %s)
"""  # noqa: S608 (only names of ours)
_NEVER_ABSENT = ", ".join(name for name in Draft._fields if not Accumulation._meta.get_field(name).null)
_COPY = f"""
    COPY {_TABLE} (id, {", ".join(Draft._fields)})
    FROM STDIN WITH (FORMAT csv, FORCE_NOT_NULL ({_NEVER_ABSENT}))
"""
