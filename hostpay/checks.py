"""System checks: what must hold before a process serves."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from hostpay.callbacks import are_wrong_tokens_counted, contexts_without_handler


@register()
def every_accepted_context_has_a_handler(**_options: Any) -> list[CheckMessage]:
    """A payment whose requester cannot be told its end must not be accepted."""
    return [
        Error(
            f"Host payments with context {context} are accepted, and no handler is registered for it.",
            hint="Register one with hostpay.callbacks.register in the requester's AppConfig.ready().",
            id="hostpay.E001",
        )
        for context in contexts_without_handler()
    ]


@register()
def somebody_counts_wrong_tokens(**_options: Any) -> list[CheckMessage]:
    """Whoever guesses tokens must come to an end."""
    if are_wrong_tokens_counted():
        return []
    hint = "Register a counter with hostpay.callbacks.count_wrong_tokens_by in an AppConfig.ready()."
    return [Error("Nobody counts wrong tokens.", hint=hint, id="hostpay.E002")]
