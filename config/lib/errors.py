"""Errors: each has a stable code, and a text that says what was asked, of whom, with the ids."""

from __future__ import annotations

from typing import ClassVar


class SluiceError(Exception):
    """Something named went wrong; the message is fit for an operator's eyes."""

    code: ClassVar[str] = "error"


class RefusedError(SluiceError):
    """The rules forbid what somebody asked for. Nothing was changed.

    Attributes:
        why: the rule, with the figures.
        next_step: what the caller can do instead.
    """

    code = "refused"

    def __init__(self, why: str, next_step: str) -> None:
        super().__init__(f"{why} {next_step}")
        self.why = why
        self.next_step = next_step


class ProviderError(SluiceError):
    """An outside service did not do what it was asked."""

    code = "provider_error"


class TransientError(ProviderError):
    """It may work later; nothing happened outside."""

    code = "provider_transient"


class OutcomeUnknownError(TransientError):
    """The call may or may not have had its effect: find out before anything else is done."""

    code = "provider_outcome_unknown"


class RateLimitedError(TransientError):
    """Too many calls; `retry_after_s` is the provider's word, or None."""

    code = "provider_rate_limited"

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(ProviderError):
    """It will not work however often it is asked."""

    code = "provider_permanent"
