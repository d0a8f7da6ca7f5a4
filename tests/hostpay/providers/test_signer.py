"""The key: only of the wallet expected, and shown to nobody."""

import copy
import json
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from eth_account import Account

from hostpay.providers.ethereum import UnsignedTransfer
from hostpay.providers.signer import KeystoreSigner, SignerError

KEY = "5e" * 32
ADDRESS = Account.from_key(KEY).address
OTHER = Account.from_key("6e" * 32).address
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    path.write_text(json.dumps(Account.encrypt(bytes.fromhex(KEY), PASSPHRASE, iterations=2)))
    return path


def test_f57_it_opens_the_expected_wallet(keystore: Path) -> None:
    assert KeystoreSigner.open(keystore, PASSPHRASE, ADDRESS).address == ADDRESS
    assert (
        KeystoreSigner.open(path=keystore, passphrase=PASSPHRASE, expected_address=ADDRESS.lower()).address == ADDRESS
    )


def test_a_signature_is_of_the_wallet_and_of_every_field(keystore: Path) -> None:
    signer = KeystoreSigner.open(keystore, PASSPHRASE, ADDRESS)
    transfer = UnsignedTransfer(
        chain_id=1,
        nonce=7,
        to=OTHER,
        value_wei=10**18,
        gas_limit=21_000,
        max_fee_per_gas_wei=2,
        max_priority_fee_per_gas_wei=1,
        data=b"\x01",
    )

    signed = signer.sign(transfer)

    assert Account.recover_transaction(signed.raw) == ADDRESS
    assert signed.tx_hash.startswith("0x")
    assert len(signed.tx_hash) == 66
    assert signed.raw[0] == 2


@pytest.mark.parametrize(
    ("passphrase", "expected", "content", "why"),
    [
        ("wrong", ADDRESS, None, "does not open"),
        (PASSPHRASE, OTHER, None, "is of wallet"),
        (PASSPHRASE, OTHER[:-1], None, "not an Ethereum address"),
        (PASSPHRASE, ADDRESS, "not json", "is not JSON"),
        (PASSPHRASE, ADDRESS, "[]", "does not open"),
        (PASSPHRASE, ADDRESS, '{"version": 9, "crypto": {}}', "does not open"),
        (PASSPHRASE, ADDRESS, " " * 20_000, "too large"),
    ],
)
def test_f57_it_refuses_any_other(
    keystore: Path, passphrase: str, expected: str, content: str | None, why: str
) -> None:
    if content is not None:
        keystore.write_text(content)

    with pytest.raises(SignerError, match=why) as refused:
        KeystoreSigner.open(keystore, passphrase, expected)

    told = "".join(traceback.format_exception(refused.value))
    assert KEY not in told
    assert PASSPHRASE not in told


def test_f57_it_refuses_where_there_is_no_keystore(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="cannot be read"):
        KeystoreSigner.open(tmp_path / "none.json", PASSPHRASE, ADDRESS)


def test_f74_the_key_is_in_nothing_that_can_be_shown_or_copied(keystore: Path) -> None:
    signer = KeystoreSigner.open(keystore, PASSPHRASE, ADDRESS)

    assert repr(signer) == str(signer) == f"<KeystoreSigner of {ADDRESS}>"
    assert not hasattr(signer, "__dict__")
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="key is not written"):
            copying(signer)


def test_a_process_that_only_asks_the_chain_loads_no_signing_code() -> None:
    script = "import sys, hostpay.providers.ethereum, hostpay.providers.changenow, hostpay.providers.signer; "
    script += "assert not any(name.split('.')[0] in {'eth_account', 'django', 'celery'} for name in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
