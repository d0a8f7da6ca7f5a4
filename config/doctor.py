"""Whether what the settings name is really there: database, broker, chain, contract, wallet, provider."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from celery import current_app
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from kombu.exceptions import OperationalError as BrokerError

from config.lib import clock
from config.lib.errors import SluiceError
from config.lib.money import ETH, USDT, from_units
from config.starting import chain_in_words, contract_in_words
from hostpay import gateways
from hostpay.services import exchange_range, wallet_facts


class ClockError(SluiceError):
    """This machine's clock is not the database's: signed tokens and webhooks have its time, and will be refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


def examine() -> list[Finding]:
    """Look at everything, one after the other; a failure is a finding, and the next thing is still looked at."""
    return [
        _look("settings", _settings),
        _look("database", _database),
        _look("clock", _clock),
        _look("broker", _broker),
        _look("chain", chain_in_words),
        _look("USDT contract", contract_in_words),
        _look("wallet", _wallet),
        _look("provider", _provider),
        _look("signer", _signer),
    ]


def fingerprint(secret: str) -> str:
    """The first eight hex digits of the secret's SHA-256: enough to compare two machines, too little to guess from."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def _look(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=look())
    except (SluiceError, DatabaseError, BrokerError, OSError) as error:
        return Finding(name=name, ok=False, detail=f"{type(error).__name__}: {error}")


def _settings() -> str:
    keys = {
        "ingest": settings.INGEST_SIGNING_SECRETS,
        "tokens": settings.TOKEN_SIGNING_KEYS,
        "webhooks": settings.WEBHOOK_SECRET_KEYS,
        "ChangeNOW": [settings.CHANGENOW_API_KEY],
        "NOWPayments": [settings.NOWPAYMENTS_API_KEY, *settings.NOWPAYMENTS_IPN_SECRETS],
    }
    prints = "; ".join(f"{name} {', '.join(map(fingerprint, secrets))}" for name, secrets in keys.items())
    return f"mode {settings.MODE}; key fingerprints: {prints}"


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        (version,) = cursor.fetchone()
    return f"PostgreSQL {version}"


def _clock() -> str:
    apart = clock.apart()
    if apart > clock.AGREES_WITHIN:
        message = f"this machine's clock and the database's are {apart.total_seconds():.0f} s apart"
        raise ClockError(message)
    return "agrees with the database's"


def _broker() -> str:
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=3)
        return str(broker.as_uri())


def _wallet() -> str:
    facts = wallet_facts()
    return (
        f"{settings.HOST_WALLET_ADDRESS}: {from_units(facts.eth_wei, ETH)} ETH,"
        f" {from_units(facts.usdt_units, USDT)} USDT, nonce {facts.nonce}"
    )


def _provider() -> str:
    limits = exchange_range()
    most = "no maximum" if limits.maximum is None else f"at most {limits.maximum}"
    return f"ETH to USDT: at least {limits.minimum} ETH, {most}"


def _signer() -> str:
    try:
        signer = gateways.signer()
    except gateways.NoKeyError:
        return "no keystore in this process: it cannot sign"
    return f"keystore opens, and is {signer.address}"
