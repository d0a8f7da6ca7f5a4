"""Builds the clients of the outside world from the settings, once a process."""

from functools import cache

from django.conf import settings

from config.env import SettingsError, signer_secrets
from config.lib.errors import SluiceError
from hostpay.providers.changenow import ChangeNow
from hostpay.providers.ethereum import NodePool
from hostpay.providers.signer import KeystoreSigner, Signer


@cache
def exchange() -> ChangeNow:
    """The swap provider."""
    return ChangeNow(
        base_url=settings.CHANGENOW_API_URL,
        api_key=settings.CHANGENOW_API_KEY,
        timeout_s=settings.PROVIDER_TIMEOUT_S,
        has_partner_fields=settings.CHANGENOW_PARTNER_FIELDS,
    )


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
