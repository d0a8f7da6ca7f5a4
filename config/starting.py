"""What a program must find before it starts: the key in the signer alone, and there chain, contract and wallet as set.

The signer refuses to start on the least doubt: whatever supervises it starts it again. Other workers move no money, and
start while a node is away; only what is surely wrong keeps them from it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

from django.conf import settings
from django.db import OperationalError, connection

from config.env import SIGNER_ONLY, SettingsError
from config.lib.errors import PermanentError, ProviderError, SluiceError, TransientError
from config.lib.money import USDT
from config.stack.paths import State
from hostpay import gateways

logger = logging.getLogger(__name__)


class UnfitError(SluiceError):
    """What the settings name is there, and is something else."""

    code = "unfit"


def refuse_key(*, who: str, environment: Mapping[str, str] | None = None) -> None:
    """Go on only without the wallet's key.

    Raises:
        SettingsError: the environment names it.
    """
    given = os.environ if environment is None else environment
    named = [name for name in SIGNER_ONLY if given.get(name)]
    if named:
        raise SettingsError(
            f"{', '.join(named)} is in the environment of {who}, which signs nothing. It belongs to the worker of the"
            " queue `signer` alone; nothing was started."
        )


def check_worker(*, queues: Iterable[str], signer_queue: str) -> None:
    """Go on only if a worker of these queues may start here.

    Raises:
        SettingsError: it has a key that it must not have, or lacks the one it needs; or the chain is not as set.
    """
    taken = set(queues)
    if signer_queue not in taken:
        refuse_key(who=f"a worker of {', '.join(sorted(taken))}")
        _check(is_strict=False)
        return
    if taken != {signer_queue}:
        raise SettingsError(
            f"A worker of the queue {signer_queue} takes no other queue: with the wallet's key in its memory it does"
            f" nothing but sign. Start it with --queues {signer_queue}; nothing was started."
        )
    try:
        gateways.signer()
    except (gateways.NoKeyError, PermanentError) as error:
        raise SettingsError(f"The signer cannot sign: {error}. Nothing was started.") from None
    _check(is_strict=True)


def chain_in_words() -> str:
    """Which chain the nodes are on, and how far.

    Raises:
        UnfitError: one is on another chain, or does not answer, or lags.
    """
    views = gateways.node().look()
    wrong = [f"{view.name}: {view.problem}" for view in views if view.problem]
    if wrong:
        raise UnfitError("; ".join(wrong))
    return "; ".join(f"{view.name} on chain {view.chain_id} at block {view.head}" for view in views)


def contract_in_words() -> str:
    """The token at the address that the settings say is USDT.

    Raises:
        UnfitError: there is none, or it counts in other units.
        ProviderError: no node answered.
    """
    node, address = gateways.node(), settings.USDT_CONTRACT_ADDRESS
    code = node.code(address)
    if not code:
        raise UnfitError(f"there is no contract at {address}")
    decimals = node.token_decimals(address)
    if decimals != USDT.decimals:
        raise UnfitError(f"the token at {address} has {decimals} decimals, and USDT has {USDT.decimals}")
    return f"{len(code)} bytes of code at {address}, {decimals} decimals"


def why_no_database(error: OperationalError) -> str:
    """What to do about a command that could not reach the database; empty if it could, and something else is wrong."""
    if getattr(error.__cause__, "pgcode", None) is not None or connection.connection is not None:
        return ""
    host, state = str(settings.DATABASES["default"]["HOST"]), State(settings.STATE_DIR)
    is_embedded = host == os.fspath(state.sockets)
    if is_embedded and not any(state.sockets.glob(".s.PGSQL.*")):
        return (
            f"No stack runs in {state.root}: start it (`make run`), or name in STATE the folder of the one that runs."
        )
    where = f"the stack in {state.root}" if is_embedded else "DATABASE_URL"
    return f"The database of {where} cannot be reached: {str(error).strip()}"


def _check(*, is_strict: bool) -> None:
    """Chain and contract; with `is_strict` also what cannot be told now is refused."""
    try:
        if is_strict:
            chain_in_words()
        else:
            _refuse_other_chains()
        contract_in_words()
    except TransientError as error:
        if is_strict:
            raise SettingsError(f"The chain cannot be looked at: {error}. Nothing was started.") from None
        logger.warning("started without a look at the chain", extra={"error": str(error)})
    except (UnfitError, ProviderError) as error:
        raise SettingsError(f"The chain is not what the settings say: {error}. Nothing was started.") from None


def _refuse_other_chains() -> None:
    wrong = [
        f"{view.name}: {view.problem}"
        for view in gateways.node().look()
        if view.chain_id not in {None, settings.ETH_CHAIN_ID}
    ]
    if wrong:
        raise UnfitError("; ".join(wrong))
