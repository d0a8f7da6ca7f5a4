"""Signing is possible in one kind of process only, for one wallet only, and only what the rows say."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from config.stack.paths import PROJECT_ROOT
from hostpay import gateways, services, tasks
from hostpay.models import HostPayment, NonceSlot, Transaction, Wallet
from tests.hostpay.chain import ACTOR, look, ordered
from tests.lib.unguarded import unguarded
from tests.lib.world import World

_IN_A_PROCESS_WITHOUT_KEY = """
import sys
import {module}
from hostpay import gateways
assert "eth_account" not in sys.modules, "code that signs is loaded"
try:
    gateways.signer()
except gateways.NoKeyError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["config.wsgi", "config.celery"])
def test_a_process_without_the_key_cannot_sign_and_has_no_code_for_it(tmp_path: Path, module: str) -> None:
    ready = "config.celery.app.finalize(); config.celery.app.loader.import_default_modules()\n"
    code = _IN_A_PROCESS_WITHOUT_KEY.format(module=module).replace(
        "from hostpay", (ready if module == "config.celery" else "") + "from hostpay", 1
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.fspath(tmp_path), "STATE": os.fspath(tmp_path), "MODE": "sandbox"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "this process has no keystore in its environment, and cannot sign\n"


@pytest.mark.django_db(transaction=True)
def test_without_the_key_nothing_is_signed_and_the_payment_stays_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = ordered(world)
    sent_before = world.sent_transactions()
    with monkeypatch.context() as keyless:
        for name in ("HOST_WALLET_KEYSTORE", "HOST_WALLET_PASSPHRASE_FILE"):
            keyless.delenv(name)
        gateways.signer.cache_clear()

        with pytest.raises(gateways.NoKeyError, match="cannot sign"):
            look(payment)

    assert HostPayment.objects.get().status == "ordered"
    assert not NonceSlot.objects.exists()
    assert world.sent_transactions() == sent_before

    # Nothing was lost: the signer signs it when it comes by.
    world.drive_to_final(payment)

    assert Transaction.objects.count() == 1


def test_a_message_to_the_signer_names_a_payment_and_nothing_else() -> None:
    assert list(inspect.signature(tasks.sign_payment.run).parameters) == ["payment_id"]
    assert list(inspect.signature(services.sign).parameters) == ["payment_id", "actor"]


@pytest.mark.django_db(transaction=True)
def test_f57_a_payment_of_another_wallet_is_not_signed_with_our_key(world: World) -> None:
    payment = ordered(world)
    other = Wallet.objects.create(chain_id=payment.wallet.chain_id, address="0x" + "0" * 38 + "A1")
    with unguarded(HostPayment):
        HostPayment.objects.filter(pk=payment.pk).update(wallet=other)

    payment = look(payment)

    assert payment.status == "ordered"
    assert "the key is of " + world.wallet_address in payment.review_reason
    assert not Transaction.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_f57_a_payment_of_the_wallet_before_a_change_of_settings_is_not_signed(
    world: World, settings: Settings
) -> None:
    payment = ordered(world)
    # The key still opens in this process; the settings have moved on.
    gateways.signer()
    settings.HOST_WALLET_ADDRESS = "0x" + "0" * 38 + "A1"

    services.sign(payment_id=payment.pk, actor=ACTOR)

    payment.refresh_from_db()
    assert payment.status == "ordered"
    assert "the settings say 0x" in payment.review_reason
    assert not Transaction.objects.exists()
