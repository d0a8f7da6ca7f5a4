"""The seam upward: who requested a host payment is told its end through this registry.

hostpay knows nobody above it. Each requester registers exactly one handler for its context in its `AppConfig.ready()`.
A handler touches only the database: it runs inside the transaction that stamps the payment as delivered, so its effect
happens exactly once. Whoever counts what callers fail to prove is told of wrong tokens in the same way.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from config.lib.errors import RefusedError
from hostpay.models import Context

# `threshold` waits for payouts to clients: until they are built, a request with it is refused.
ACCEPTED_CONTEXTS = (Context.BATCH, Context.INSTANT)


class NotAdmittedError(RefusedError):
    """The requester does not stand by what somebody outside asks in its name."""

    code = "not_admitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A host payment came to its good end: `received_units` base units of the proceeds arrived."""

    payment_id: UUID
    context: str
    reference: str
    received_units: int
    tx_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A host payment ended without proceeds; no money left the house, or it came back, less what the provider kept."""

    payment_id: UUID
    context: str
    reference: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideRequest:
    """A host payment that somebody outside asks for, by a signed token."""

    context: str
    reference: str
    amount_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What the requester's books say of a purpose that an outsider may ask to be paid."""

    expected_usd: Decimal
    tolerance_bps: int


class Handler(Protocol):
    """What a requester does when it is told, and whether it stands by what others ask in its name.

    All run inside the transaction of what they are about.
    """

    def admit(self, request: OutsideRequest) -> Admission:
        """Stand by the request, or raise RefusedError: a signature alone does not make a purpose."""
        ...

    def on_settled(self, event: Settled) -> None: ...

    def on_failed(self, event: Failed) -> None: ...


class TokenCounter(Protocol):
    def __call__(self, *, address: str) -> bool:
        """Count a wrong token from `address`; true while the address is listened to."""
        ...


class DoNothing:
    """The handler of a context whose requester needs no call-back."""

    def admit(self, request: OutsideRequest) -> Admission:
        """Nothing is admitted: a token names no address outside, and ours would keep what belongs to somebody else.

        Raises:
            NotAdmittedError: always.
        """
        raise NotAdmittedError(
            why=f"A host payment with context {request.context} cannot be asked for by a token: it names no receiver.",
            next_step="Request it inside the project, with the address that is to be paid.",
        )

    def on_settled(self, event: Settled) -> None:
        """Nothing to do: the proceeds went straight to whom they were for."""

    def on_failed(self, event: Failed) -> None:
        """Nothing to do: the payment itself is what operators see."""


_handlers: dict[str, Handler] = {}
_token_counters: list[TokenCounter] = []


def register(context: Context, handler: Handler) -> None:
    """Make `handler` the one of `context`.

    Raises:
        ValueError: the context has a handler already.
    """
    if context in _handlers:
        message = f"context {context} has a handler already: {_handlers[context]!r}"
        raise ValueError(message)
    _handlers[context] = handler


def handler_for(context: str) -> Handler:
    """The handler of `context`.

    Raises:
        LookupError: nobody registered one; `manage.py check` says so before a process serves.
    """
    try:
        return _handlers[context]
    except KeyError:
        message = f"no handler is registered for context {context}"
        raise LookupError(message) from None


def contexts_without_handler() -> tuple[Context, ...]:
    """The accepted contexts that nobody answers."""
    return tuple(context for context in ACCEPTED_CONTEXTS if context not in _handlers)


def count_wrong_tokens_by(counter: TokenCounter) -> None:
    """Make `counter` the one that is told of wrong tokens.

    Raises:
        ValueError: there is one already.
    """
    if _token_counters:
        message = f"wrong tokens are counted already, by {_token_counters[0]!r}"
        raise ValueError(message)
    _token_counters.append(counter)


def count_wrong_token(*, address: str) -> bool:
    """Count a wrong token from `address`; true while the address is listened to.

    Raises:
        LookupError: nobody counts them; `manage.py check` says so before a process serves.
    """
    if not _token_counters:
        message = "nobody counts wrong tokens"
        raise LookupError(message)
    return _token_counters[0](address=address)


def are_wrong_tokens_counted() -> bool:
    return bool(_token_counters)
