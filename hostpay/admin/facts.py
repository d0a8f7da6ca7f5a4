"""The wallet as the node sees it, for pages: asked seldom and shortly, and never in the way of a page."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.cache import cache

from config.lib.errors import ProviderError
from hostpay import services
from hostpay.services import WalletFacts

_KEY = "hostpay.admin.wallet_facts"
_KEPT_S = 10
# A page waits no longer than this for each of the node's four answers.
_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletView:
    """The node's answer, or why there is none."""

    facts: WalletFacts | None
    why_not: str = ""


def wallet_view() -> WalletView:
    """What the node says of the wallet, at most ten seconds old; a failure is kept as long, so that it costs once."""
    kept = cache.get(_KEY)
    if isinstance(kept, WalletView):
        return kept
    try:
        view = WalletView(facts=services.wallet_facts(timeout_s=_TIMEOUT_S))
    except ProviderError as error:
        view = WalletView(facts=None, why_not=str(error))
    cache.set(_KEY, view, _KEPT_S)
    return view


def known_height() -> int | None:
    """The chain's height if a page has asked for it lately; nothing is asked for its sake."""
    kept = cache.get(_KEY)
    return kept.facts.block_number if isinstance(kept, WalletView) and kept.facts else None
