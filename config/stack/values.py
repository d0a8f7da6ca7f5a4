"""What a stack tells its parts: the secrets it made at its first start, its addresses, and the sandbox's pace."""

import base64
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from config.env import SIGNER_ONLY
from config.stack.paths import State, read_env_file, write_env_file
from config.stack.ports import HOST

OPERATOR_NAME = "admin"

# Where somebody else runs what the stack would else start.
SERVED = ("DATABASE_URL", "DATABASE_URL_FILE", "CELERY_BROKER_URL", "CELERY_BROKER_URL_FILE")

# Fast enough to watch. Whoever sets one of these in the environment keeps their own value.
PACE: Mapping[str, str] = {
    "MICRO_BATCH_THRESHOLD_USD": "20",
    "THRESHOLD_CHECK_EVERY_S": "3",
    "SWEEP_EVERY_S": "1",
    "EXCHANGE_POLL_EVERY_S": "1",
    "CHAIN_POLL_EVERY_S": "1",
    "NOWPAYMENTS_POLL_EVERY_S": "10",
    "ETH_CONFIRMATIONS": "2",
    # A worker that dies keeps its payment for four of these.
    "PROVIDER_TIMEOUT_S": "3",
}

_MAKERS: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "INGEST_SIGNING_SECRETS": lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii"),
    "TOKEN_SIGNING_KEYS": lambda: secrets.token_urlsafe(32),
    "WEBHOOK_SECRET_KEYS": lambda: secrets.token_urlsafe(32),
    "CHANGENOW_API_KEY": lambda: secrets.token_hex(32),
    "NOWPAYMENTS_IPN_SECRET": lambda: secrets.token_hex(24),
    "NOWPAYMENTS_API_KEY": lambda: secrets.token_hex(24),
    "OPERATOR_PASSWORD": lambda: secrets.token_urlsafe(12),
}


@dataclass(frozen=True, kw_only=True)
class Ports:
    web: int
    chain: int
    exchange: int
    nowpayments: int


def generated_secrets(state: State) -> dict[str, str]:
    """The stack's own secrets: made at its first start, the same at every later one."""
    path = state.secrets / "generated.env"
    known = read_env_file(path)
    missing = {name: make() for name, make in _MAKERS.items() if name not in known}
    if missing:
        known |= missing
        write_env_file(path, known)
    return known


def write_stack_files(state: State, ports: Ports, outer: Mapping[str, str]) -> None:
    """Writes `stack.env` and `signer.env` from what the chain's preparation left in `sandbox.json`."""
    prepared = json.loads(state.sandbox_file.read_text(encoding="utf-8"))
    write_env_file(state.stack_env, _stack_values(state, ports, outer, prepared))
    write_env_file(
        state.signer_env,
        {
            "HOST_WALLET_KEYSTORE": str(prepared["keystore_path"]),
            "HOST_WALLET_PASSPHRASE_FILE": str(prepared["passphrase_file"]),
        },
    )


def _stack_values(
    state: State, ports: Ports, outer: Mapping[str, str], prepared: Mapping[str, object]
) -> dict[str, str]:
    own = generated_secrets(state)
    served = {name: outer[name] for name in SERVED if outer.get(name, "").strip()}
    return {
        "WEB_URL": f"http://{HOST}:{ports.web}",
        "CHANGENOW_API_URL": f"http://{HOST}:{ports.exchange}",
        "NOWPAYMENTS_API_URL": f"http://{HOST}:{ports.nowpayments}",
        "ETH_RPC_URLS": f"http://{HOST}:{ports.chain}",
        "ETH_CHAIN_ID": str(prepared["chain_id"]),
        "HOST_WALLET_ADDRESS": str(prepared["host_wallet_address"]),
        "USDT_CONTRACT_ADDRESS": str(prepared["usdt_contract_address"]),
        **{name: value for name, value in own.items() if name != "OPERATOR_PASSWORD"},
        **{name: outer.get(name, "").strip() or value for name, value in PACE.items()},
        **served,
    }


def part_environment(state: State, outer: Mapping[str, str]) -> dict[str, str]:
    """The environment of an ordinary part: the caller's, under what the stack decides, without the wallet's key."""
    return {
        **{name: value for name, value in outer.items() if name not in SIGNER_ONLY},
        **read_env_file(state.stack_env),
        "STATE": str(state.root),
        "MODE": "sandbox",
        # It is in `outer`, below what the stack decides.
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
        # Celery warns about root; in a container there is nobody else, and JSON messages carry no code.
        "PYTHONWARNINGS": "ignore::UserWarning:celery.platforms",
    }


def signer_environment(state: State, outer: Mapping[str, str]) -> dict[str, str]:
    """The signer's: an ordinary part's and the way to the key."""
    return {**part_environment(state, outer), **read_env_file(state.signer_env)}
