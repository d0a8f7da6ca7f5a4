"""Builds the clients of the outside world from the settings, once a process."""

import time
from functools import cache
from typing import Final

from django.conf import settings
from django.db import connection

from config.env import SettingsError, signer_secrets
from config.lib.errors import SluiceError
from hostpay.providers.changenow import CALLS_PER_S, ChangeNow
from hostpay.providers.ethereum import NodePool
from hostpay.providers.signer import KeystoreSigner, Signer

# The provider's name in the database, where its health is kept and its calls are paced.
EXCHANGE: Final = "changenow"


@cache
def exchange() -> ChangeNow:
    """The swap provider."""
    return ChangeNow(
        base_url=settings.CHANGENOW_API_URL,
        api_key=settings.CHANGENOW_API_KEY,
        timeout_s=settings.PROVIDER_TIMEOUT_S,
        has_partner_fields=settings.CHANGENOW_PARTNER_FIELDS,
        take_turn=_take_turn_at_exchange,
    )


# A bucket of a second's calls that refills at their pace, as one statement, so that no two processes get the same turn.
_TURN = """
INSERT INTO hostpay_servicehealth AS health (name, failures, last_error, full_at)
VALUES (%(name)s, 0, '', statement_timestamp() + interval '1 second' / %(per_s)s)
    ON CONFLICT (name) DO UPDATE
   SET full_at = greatest(coalesce(health.full_at, statement_timestamp()), statement_timestamp()) + interval '1 second' / %(per_s)s
RETURNING extract(epoch FROM health.full_at - statement_timestamp()) - 1
"""


def _take_turn_at_exchange() -> None:
    """Return when the next call may be made: the provider counts the calls with a key, whichever process makes them."""
    with connection.cursor() as cursor:
        cursor.execute(_TURN, {"name": EXCHANGE, "per_s": CALLS_PER_S})
        (over_s,) = cursor.fetchone()
    if over_s > 0:
        time.sleep(float(over_s))


@cache
def node(*, timeout_s: int | None = None) -> NodePool:
    """The Ethereum nodes we read from and send through; a page that must not hang asks with a shorter time-out."""
    return NodePool(
        rpc_urls=settings.ETH_RPC_URLS,
        chain_id=settings.ETH_CHAIN_ID,
        timeout_s=timeout_s or settings.PROVIDER_TIMEOUT_S,
    )


class NoKeyError(SluiceError):
    """This process has no usable keystore in its environment: it is not the signer, and cannot sign."""

    code = "no_key"


@cache
def signer() -> Signer:
    """The host wallet's key; the first call decrypts it, which takes a second.

    Raises:
        NoKeyError: this process is not the signer.
        SignerError: it cannot be opened, or is of another wallet than the settings say.
    """
    try:
        secrets = signer_secrets()
    except SettingsError:
        raise NoKeyError("this process has no keystore in its environment, and cannot sign") from None
    return KeystoreSigner.open(
        path=secrets.keystore_path, passphrase=secrets.passphrase, expected_address=settings.HOST_WALLET_ADDRESS
    )
