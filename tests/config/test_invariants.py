"""Every invariant, broken on purpose by raw SQL, is seen by the one that guards it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, connection
from django.utils import timezone
from pytest_django import Settings

from batches.services import check_threshold
from config import invariants, logs, tasks
from config.invariants import INVARIANTS, Invariant, examine
from config.invariants.kinds import by_sql
from config.lib.audit import admin
from config.lib.errors import TransientError
from config.schedule import SCHEDULE
from hostpay import gateways
from hostpay.models import Breaker, Heartbeat, HostPayment, Receipt, Transaction, Wallet
from hostpay.services import close_breaker
from tests import factories
from tests.factories import ACTOR
from tests.hostpay import rows
from tests.hostpay.chain import through
from tests.lib.faulty_node import FaultyNode
from tests.lib.settled import Settled, settled_batch
from tests.lib.unguarded import unguarded
from tests.lib.world import World

# What the database itself would refuse: dropped for the test, which is what a superuser's slip would do.
_DROP_CHECKS = """
DO $$ DECLARE found record; BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    FOR found IN SELECT conrelid::regclass AS of_table, conname FROM pg_constraint
                  WHERE contype = 'c' AND conrelid::regclass::text ~ '^(hostpay|payouts|batches)_' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.of_table, found.conname);
    END LOOP;
    FOR found IN SELECT tgrelid::regclass AS of_table, tgname FROM pg_trigger
                  WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^(hostpay|payouts|batches)_' LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', found.of_table, found.tgname);
    END LOOP;
    ALTER TABLE hostpay_receipt DROP CONSTRAINT transfer_log_is_credited_once;
    DROP INDEX wallet_has_one_payment_on_the_wire;
    DROP INDEX nonce_slot_has_one_mined_transaction;
    DROP INDEX payment_has_one_current_order;
END $$
"""

_COPY_OF_TRANSACTION = """
INSERT INTO hostpay_transaction (slot_id, status, kind, to_address, value_units, gas_limit, max_fee_per_gas_wei,
       max_priority_fee_per_gas_wei, raw, tx_hash, broadcasts, block_hash, status_changed_at)
SELECT slot_id, {status}, {kind}, {to_address}, {value}, gas_limit, max_fee_per_gas_wei, max_priority_fee_per_gas_wei,
       raw, '0x' || repeat('cd', 32), 0, '', now()
  FROM hostpay_transaction
"""


def _another_transaction(**columns: str) -> str:
    values = {"status": "'broadcast'", "kind": "kind", "to_address": "to_address", "value": "value_units"}
    return _COPY_OF_TRANSACTION.format(**{**values, **columns})


_ENDPOINT = (
    "INSERT INTO payouts_webhookendpoint (name, url, events, status, disabled_reason, subscribed_at, secret_seed,"
    " secret_key_id, old_secret_seed, old_secret_key_id, next_attempt_at, failures, last_error, created_by)"
    " VALUES ('n', 'u', ARRAY['payment.converted'], 'enabled', '', now() - interval '1 hour', 's', 'k', '', '',"
    " now() + interval '{next_attempt}', 0, '', 'a')"
)
_WAITING = (
    "; INSERT INTO payouts_webhookdelivery (endpoint_id, event, accumulation_id, created_at)"
    " SELECT endpoint.id, 'payment.converted', told.id, now() - interval '1 hour'"
    " FROM payouts_webhookendpoint endpoint, payouts_accumulation told"
)
_ALL_BUT_ONE = (
    "; INSERT INTO payouts_webhookdelivery (endpoint_id, event, accumulation_id)"
    " SELECT endpoint.id, 'payment.converted', told.id FROM payouts_webhookendpoint endpoint, payouts_accumulation told"
    " WHERE told.id > (SELECT min(id) FROM payouts_accumulation)"
)

# What is done to the rows, and the promise that is broken by it.
BREAKS = {
    "a member pending in a completed batch": (
        "UPDATE payouts_accumulation SET status = 'pending'",
        "I1 no dollar is in two batches",
    ),
    "a failed batch that kept its members": (
        "UPDATE batches_batchconversion SET status = 'failed'",
        "I1 no dollar is in two batches",
    ),
    "a member more": (
        "UPDATE batches_batchconversion SET member_count = member_count + 1",
        "I2 a batch's totals are its members'",
    ),
    "a member's claim changed by the smallest amount": (
        "UPDATE payouts_accumulation SET pending_usd_amount = pending_usd_amount + 0.00000001"
        " WHERE id = (SELECT min(id) FROM payouts_accumulation)",
        "I2 a batch's totals are its members'",
    ),
    "a share one unit too high": (
        "UPDATE payouts_accumulation SET converted_usdt_amount = converted_usdt_amount + 0.000001"
        " WHERE id = (SELECT min(id) FROM payouts_accumulation)",
        "I3 the shares sum to what was received",
    ),
    "two units moved from one share to another": (
        "UPDATE payouts_accumulation SET converted_usdt_amount = converted_usdt_amount"
        " + CASE id WHEN (SELECT min(id) FROM payouts_accumulation) THEN 0.000002 ELSE -0.000002 END"
        " WHERE id IN (SELECT id FROM payouts_accumulation ORDER BY id LIMIT 2)",
        "I3 every share is within one unit of its fraction",
    ),
    "a gross that is no number": (
        "UPDATE payouts_accumulation SET gross_usd = 'NaN', fee_usd = 'NaN'",
        "I10 gross is fee and net, in dollars and wei",
    ),
    "a fee of another percentage": (
        "UPDATE payouts_accumulation SET fee_percent = 5",
        "I10 gross is fee and net, in dollars and wei",
    ),
    "wei that vanished": (
        "UPDATE payouts_accumulation SET received_wei = received_wei + 1",
        "I10 gross is fee and net, in dollars and wei",
    ),
    "a payment recorded by two deliveries": (
        "INSERT INTO payouts_inboundevent (source, event_id, headers, body, verdict, outcome, error, attempts,"
        " accumulation_id) SELECT 's', n::text, '{}', '', 'valid', 'recorded', '', 1,"
        " (SELECT min(id) FROM payouts_accumulation) FROM generate_series(1, 2) n",
        "I13 a payment is recorded by one delivery",
    ),
    "a check that tells another total": (
        "UPDATE batches_thresholdcheck SET total_usd = total_usd + 1",
        "I18 a check tells its batch's figures",
    ),
    "a second transaction in the chain": (
        _another_transaction(status="'mined'"),
        "I4 a payment is mined once",
    ),
    "more sent than asked for": (
        "UPDATE hostpay_transaction SET value_units = value_units + 1",
        "I4 no more is sent than was asked for",
    ),
    "a payment that asks for more than its batch": (
        "UPDATE hostpay_hostpayment SET amount_units = amount_units + 1",
        "I4 a batch's payment asks for the batch's wei",
    ),
    "a payment settled without a mined transaction": (
        "UPDATE hostpay_transaction SET status = 'dropped'",
        "I4 a payment's status is what its transactions say",
    ),
    "signed bytes of a payment that is ordered": (
        "UPDATE hostpay_hostpayment SET status = 'ordered'",
        "I4 a payment's status is what its transactions say",
    ),
    "a variant to somebody else": (
        _another_transaction(to_address="'0x' || repeat('ee', 20)"),
        "I6 a nonce is one payment, one receiver, one value",
    ),
    "a nonce that would be given again": (
        "UPDATE hostpay_wallet SET next_nonce = 7",
        "I6 a nonce is one payment, one receiver, one value",
    ),
    "an order with another pay-in address": (
        "UPDATE hostpay_exchangeorder SET payin_address = '0x' || repeat('ee', 20)",
        "I7 ether goes to the current order, or nowhere",
    ),
    "an order that is not current any more": (
        "UPDATE hostpay_exchangeorder SET is_current = false",
        "I7 ether goes to the current order, or nowhere",
    ),
    "a refund that would go elsewhere": (
        "UPDATE hostpay_exchangeorder SET refund_address = payin_address",
        "I7 ether goes to the current order, or nowhere",
    ),
    "a cancellation that pays somebody": (
        _another_transaction(kind="'cancel'"),
        "I7 ether goes to the current order, or nowhere",
    ),
    "a payment settled with more than the logs prove": (
        "UPDATE hostpay_receipt SET units = units - 1",
        "I8 only what logs prove is shared out, once",
    ),
    "a log credited twice": (
        "INSERT INTO hostpay_receipt (order_id, chain_id, tx_hash, log_index, block_number, block_hash, from_address,"
        " units) SELECT order_id, chain_id, tx_hash, log_index, block_number, block_hash, from_address, units"
        " FROM hostpay_receipt",
        "I8 only what logs prove is shared out, once",
    ),
    "a batch shared out before its payment was settled": (
        "UPDATE hostpay_hostpayment SET status = 'final', received_units = NULL",
        "I8 only what logs prove is shared out, once",
    ),
    "a failure that was told, and a batch that goes on": (
        "UPDATE batches_batchconversion SET status = 'swapping'",
        "I12 whoever was told has acted on it",
    ),
    "an endpoint that is told nothing": (
        _ENDPOINT.format(next_attempt="0 hours"),
        "I12 every event that an endpoint asks for is written down",
    ),
    "an endpoint told of all but one payment": (
        _ENDPOINT.format(next_attempt="0 hours") + _ALL_BUT_ONE,
        "I12 every event that an endpoint asks for is written down",
    ),
    "an endpoint that nobody sends to": (
        _ENDPOINT.format(next_attempt="-16 minutes") + _WAITING,
        "I12 what is to be told is sent, or seen to fail",
    ),
    "an endpoint that is put off for ever": (
        _ENDPOINT.format(next_attempt="9 hours") + _WAITING,
        "I12 what is to be told is sent, or seen to fail",
    ),
    "an endpoint that nobody made": (
        _ENDPOINT.format(next_attempt="0 hours"),
        "I11 the status of every webhook endpoint is what its events say",
    ),
    "a signature during a pause": (
        "INSERT INTO hostpay_pause (switch, reason, actor, paused_at, resumed_by)"
        " VALUES ('signing', 'r', 'a', now() - interval '1 hour', '')",
        "I15 nothing is signed while paused, stopped or halted",
    ),
    "a signature while the breaker was open": (
        "INSERT INTO hostpay_breaker (cause, detail, opened_by, opened_at, closed_at, closed_by, close_reason)"
        " VALUES ('chain', 'd', 'a', now() - interval '1 hour', now() + interval '1 hour', 'b', 'r')",
        "I15 nothing is signed while paused, stopped or halted",
    ),
    "a signature of a halted wallet": (
        "UPDATE hostpay_wallet SET halted_at = now() - interval '1 hour', halted_reason = 'r'",
        "I15 nothing is signed while paused, stopped or halted",
    ),
    "two payments of a wallet on the wire": (
        "UPDATE hostpay_hostpayment SET status = 'mined'; INSERT INTO hostpay_hostpayment (id, context, reference,"
        " status, wallet_id, asset, amount_units, unpriced_usd, to_asset, tolerance_bps, payout_address,"
        " failure_reason, signer_task, requested_by, attempts, last_error, waiting_reason, unknown_reason,"
        " review_reason, status_changed_at) SELECT gen_random_uuid(), 'instant', 'x', status, wallet_id, asset,"
        " amount_units, unpriced_usd, to_asset, tolerance_bps, payout_address, '', '', requested_by, 0, '', '', '',"
        " 'r', now() FROM hostpay_hostpayment",
        "I15 a wallet has one payment on the wire",
    ),
    "an approval by who proposed it": (
        "INSERT INTO hostpay_approval (id, action, payment_id, payload, payload_sha256, reason, proposed_by, expires_at,"
        " decision, decided_by, decided_at) SELECT gen_random_uuid(), 'cancel_payment', id, '{}', '', 'r', 'admin:a',"
        " now() + interval '1 hour', 'approved', 'admin:a', now() FROM hostpay_hostpayment",
        "I14 what takes two people had two",
    ),
    "a cancellation nobody approved": (
        _another_transaction(kind="'cancel'", value="0"),
        "I14 what takes two people had two",
    ),
    "a payment at which nobody looks": (
        "UPDATE hostpay_hostpayment SET delivered_at = NULL, next_action_at = NULL, review_reason = ''",
        "I16 nothing waits for nobody",
    ),
    "a payment that is put off for ever": (
        "UPDATE hostpay_hostpayment SET delivered_at = NULL, next_action_at = now() + interval '25 hours'",
        "I16 nothing waits for nobody",
    ),
    "a payment overdue since no worker lives": (
        "UPDATE hostpay_hostpayment SET delivered_at = NULL, next_action_at = now() - interval '16 minutes'",
        "I16 nothing waits for nobody",
    ),
    "a payment failed whose ether is nowhere booked": (
        "UPDATE hostpay_hostpayment SET status = 'failed', received_units = NULL",
        "I9 what did not come back is booked as lost",
    ),
    "a refund of less than was sent, without a loss": (
        "UPDATE hostpay_hostpayment SET status = 'refunded', received_units = NULL, refunded_units = 1;"
        " INSERT INTO hostpay_refund (order_id, chain_id, tx_hash, block_number, block_hash, from_address, units, brought_units,"
        " lost_units) SELECT id, 31337, '0xab', 1, '0xbb', '0xcc', 1, 1, 0 FROM hostpay_exchangeorder",
        "I9 what did not come back is booked as lost",
    ),
    "a loss that nobody else has approved": (
        "INSERT INTO hostpay_approval (id, action, payment_id, payload, payload_sha256, reason, proposed_by, expires_at,"
        " decision, decided_by) SELECT gen_random_uuid(), 'write_off', id, '{}', '', 'r', 'admin:a', now(), '', ''"
        " FROM hostpay_hostpayment;"
        " INSERT INTO hostpay_writeoff (order_id, approval_id, lost_units)"
        " SELECT placed.id, approval.id, 1 FROM hostpay_exchangeorder placed, hostpay_approval approval",
        "I14 what takes two people had two",
    ),
    "a status that no event made": (
        "UPDATE hostpay_hostpayment SET status = 'final'",
        "I11 the status of every host payment is what its events say",
    ),
    "an order's event removed from the middle": (
        "DELETE FROM hostpay_exchangeorderstatuschange WHERE to_status = 'open'",
        "I11 the status of every exchange order is what its events say",
    ),
    "a transaction without any event": (
        "DELETE FROM hostpay_transactionstatuschange",
        "I11 the status of every transaction is what its events say",
    ),
    "a batch that jumped over an edge": (
        "DELETE FROM batches_batchstatuschange WHERE to_status = 'swapping';"
        " UPDATE batches_batchstatuschange SET from_status = 'created' WHERE to_status = 'completed'",
        "I11 the status of every batch conversion is what its events say",
    ),
    "an accumulation held without an event": (
        "UPDATE payouts_accumulation SET status = 'held', hold_reason = 'h', batch_conversion_id = NULL",
        "I11 the status of every accumulation is what its events say",
    ),
    "an accumulation whose event says it is voided": (
        "INSERT INTO payouts_accumulationstatuschange (subject_id, from_status, to_status, actor, reason, data)"
        " SELECT min(id), 'pending', 'voided', 'a', 'r', '{}' FROM payouts_accumulation",
        "I11 the status of every accumulation is what its events say",
    ),
    "a row that says another value than its bytes": (
        "UPDATE hostpay_transaction SET value_units = value_units - 1",
        "I5 the stored bytes are what their row says",
    ),
    "bytes with another hash": (
        "UPDATE hostpay_transaction SET raw = raw || '\\x00'::bytea",
        "I5 the stored bytes are what their row says",
    ),
    "bytes of another signer": (
        "UPDATE hostpay_wallet SET address = '0x' || repeat('ee', 20)",
        "I5 the stored bytes are what their row says",
    ),
}


@pytest.fixture
def settled(db: None) -> Settled:
    return settled_batch()


def _breached(*, with_chain: bool = False) -> dict[str, str]:
    found = {}
    for finding in examine(with_chain=with_chain):
        if not finding.holds:
            found[f"{finding.invariant.id} {finding.invariant.promise}"] = str(finding)
    return found


def test_they_all_hold_at_the_good_end(settled: Settled) -> None:
    assert _breached() == {}


@pytest.mark.parametrize("name", BREAKS)
def test_it_sees(settled: Settled, name: str) -> None:
    statement, promise = BREAKS[name]
    with connection.cursor() as cursor:
        cursor.execute(_DROP_CHECKS)
        cursor.execute(statement)

        breached = _breached()

    assert promise in breached, breached


def test_every_invariant_is_broken_by_some_test() -> None:
    broken = {promise for _, promise in BREAKS.values()}

    left = {f"{one.id} {one.promise}" for one in INVARIANTS if not one.asks_chain} - broken

    assert left == {"I17 no secret is in the database's texts"}, "each needs a test that breaks it"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE hostpay_hostpayment SET last_error = 'refused: ' || %s || '!'",
        "UPDATE hostpay_exchangeorder SET latest_answer = jsonb_build_object('echo', %s::text)",
        "INSERT INTO payouts_inboundevent (source, event_id, headers, body, verdict, outcome, error, attempts)"
        " VALUES ('s', '1', '{}', convert_to(%s, 'UTF8'), 'invalid', 'refused', '', 1)",
    ],
)
def test_f74_it_sees_a_secret_in_a_text(settled: Settled, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    monkeypatch.setattr(logs, "_known", ("canary-0123456789",))
    with connection.cursor() as cursor:
        cursor.execute(statement, ["canary-0123456789"])

    breached = _breached()

    assert list(breached) == ["I17 no secret is in the database's texts"]
    assert "canary" not in "".join(breached.values())


def _run(*options: str) -> tuple[int, str]:
    out, status = StringIO(), 0
    try:
        call_command("check_invariants", *options, stdout=out)
    except SystemExit as ended:
        status = int(str(ended.code))
    return status, out.getvalue()


def test_the_command_ends_with_0_and_says_what_holds(settled: Settled) -> None:
    status, said = _run("--no-chain")

    assert status == 0
    assert "ok     I2  a batch's totals are its members'" in said
    assert "BREACH" not in said
    assert "on chain" not in said


def test_the_command_names_the_row_of_a_breach_and_ends_with_1(settled: Settled) -> None:
    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units - 1")

    status, said = _run("--no-chain")

    assert status == 1
    assert f"host payment {settled.payment.pk}: it is settled with 57900001 units" in said


def test_the_command_speaks_json(settled: Settled) -> None:
    status, said = _run("--no-chain", "--json")

    report = json.loads(said)
    assert (status, report["ok"]) == (0, True)
    assert {"id": "I3", "promise": "the shares sum to what was received", "ok": True, "breaches": []} in report[
        "invariants"
    ]


def test_the_command_knows_nothing_when_the_node_is_away(world: World, settings: Settings) -> None:
    """A failed question is not a good answer."""
    settled_batch()
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    gateways.node.cache_clear()

    with pytest.raises(CommandError, match="nothing is known"):
        call_command("check_invariants")


def _pay_once(world: World) -> Transaction:
    factories.policy("20")
    factories.accumulations("58.20")
    check_threshold(actor=ACTOR)
    world.drive(lambda: Transaction.objects.filter(status="final").exists())
    return Transaction.objects.get()


def test_on_the_real_chain_all_hold_and_a_foreign_use_of_the_key_is_seen(world: World) -> None:
    _pay_once(world)
    assert _breached(with_chain=True) == {}

    world.anvil.rpc("anvil_impersonateAccount", world.wallet_address)
    foreign = {"from": world.wallet_address, "to": world.wallet_address, "value": "0x1"}
    world.anvil.send(foreign)
    world.anvil.mine()

    breached = _breached(with_chain=True)
    assert list(breached) == ["I5 every nonce used on chain is ours"]


def test_a_final_transaction_that_the_chain_lost_is_seen(world: World) -> None:
    paid = _pay_once(world)
    head = int(world.anvil.rpc("eth_blockNumber"), 16)

    world.anvil.rpc("anvil_reorg", head - int(paid.block_number or 0) + 1, [])

    breached = _breached(with_chain=True)
    assert (
        f"transaction {paid.tx_hash}: it is final in block {paid.block_number}, and not in the chain"
        in (breached["I4 what is final is in the chain"])
    )


def test_a_node_that_forgot_a_receipt_raises_no_alarm_about_what_is_final(world: World, settings: Settings) -> None:
    _pay_once(world)
    with FaultyNode(world.anvil.rpc_url) as node, through(node.url, settings):
        node.say("eth_getTransactionReceipt", times=100, result=None)

        breached = _breached(with_chain=True)

    assert node.count("eth_getTransactionReceipt") > 0
    assert breached == {}


def test_credited_usdt_that_the_wallet_does_not_have_is_seen(world: World) -> None:
    _pay_once(world)
    world.drive(lambda: Transaction.objects.get().slot.payment.delivered_at is not None)
    assert _breached(with_chain=True) == {}

    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units + 10^15")

    assert "I20 the USDT credited is in the wallet" in _breached(with_chain=True)


def test_usdt_that_its_owner_withdrew_is_told_and_opens_no_breaker(world: World) -> None:
    _pay_once(world)
    world.drive(lambda: Transaction.objects.get().slot.payment.delivered_at is not None)
    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units + 10^15")

    with pytest.raises(tasks.InvariantError, match="I20 the USDT credited is in the wallet"):
        tasks.check_chain_invariants()

    assert not Breaker.objects.exists()


def _beat() -> Heartbeat:
    with suppress(tasks.InvariantError):
        tasks.check_invariants()
    return Heartbeat.objects.get(pk=tasks.HEARTBEAT)


def test_beat_asks_every_five_minutes() -> None:
    asked = {tasks.check_invariants.name, tasks.check_chain_invariants.name}

    assert [entry.every_s for entry in SCHEDULE if entry.task in asked] == [300, 300]


def test_a_node_that_is_away_leaves_the_books_checked(world: World, settings: Settings) -> None:
    settled_batch()
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    gateways.node.cache_clear()

    beat = _beat()
    with pytest.raises(TransientError):
        tasks.check_chain_invariants()

    assert (beat.succeeded_at is not None, beat.failed_at) == (True, None)
    assert Heartbeat.objects.get(pk=tasks.CHAIN_HEARTBEAT).failed_at is not None
    assert not Breaker.objects.exists()


def test_an_invariant_that_cannot_be_asked_hides_no_breach_of_a_later_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_batch()
    with unguarded(Wallet):
        Wallet.objects.update(chain_id=1)
    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units - 1")
    failing = Invariant(id="I0", promise="answered", look=by_sql("SELECT 'row', (1 / 0)::text"))
    monkeypatch.setattr(invariants, "INVARIANTS", (failing, *INVARIANTS))

    beat = _beat()

    assert "InvariantError: I8" in beat.last_error
    assert Breaker.objects.get().detail.startswith("I8 only what logs prove is shared out, once")


def test_an_invariant_that_cannot_be_asked_makes_the_heartbeat_a_failed_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pay_once(world)
    failing = Invariant(id="I0", promise="answered", look=by_sql("SELECT 'row', (1 / 0)::text"))
    monkeypatch.setattr(invariants, "INVARIANTS", (failing, *INVARIANTS))

    with pytest.raises(DataError, match="division by zero"):
        tasks.check_invariants()

    beat = Heartbeat.objects.get(pk=tasks.HEARTBEAT)
    assert (beat.succeeded_at, "division by zero" in beat.last_error) == (None, True)
    assert not Breaker.objects.exists()


def test_a_breach_opens_the_breaker_once_and_the_heartbeat_tells(world: World) -> None:
    settled = settled_batch()
    # A wallet of another chain, so that the chain has nothing to say of it.
    with unguarded(Wallet):
        Wallet.objects.update(chain_id=1)
    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units - 1")

    beats = [_beat(), _beat()]

    (breaker,) = Breaker.objects.all()
    assert (breaker.cause, breaker.opened_by, breaker.closed_at) == ("invariant", "beat:check the invariants", None)
    assert breaker.detail.startswith(f"I8 only what logs prove is shared out, once: host payment {settled.payment.pk}:")
    assert [bool(beat.failed_at and "InvariantError: I8" in beat.last_error) for beat in beats] == [True, True]


def test_a_breach_that_a_person_looked_into_does_not_open_the_breaker_again(world: World) -> None:
    settled_batch()
    with unguarded(Wallet):
        Wallet.objects.update(chain_id=1)
    with connection.cursor() as cursor, unguarded(Receipt):
        cursor.execute("UPDATE hostpay_receipt SET units = units - 1")
    _beat()
    close_breaker(breaker=Breaker.objects.get(), actor=admin("alice"), reason="their rounding, ticket 7")

    beat = _beat()

    assert Breaker.objects.get().closed_at is not None
    assert beat.failed_at is not None
    assert "InvariantError: I8" in beat.last_error


def test_a_breach_whose_figures_changed_since_a_person_looked_opens_the_breaker_again(world: World) -> None:
    settled_batch()
    with unguarded(Wallet):
        Wallet.objects.update(chain_id=1)
    with connection.cursor() as cursor:
        with unguarded(Receipt):
            cursor.execute("UPDATE hostpay_receipt SET units = units - 1")
        _beat()
        close_breaker(breaker=Breaker.objects.get(), actor=admin("alice"), reason="their rounding, ticket 7")
        with unguarded(Receipt):
            cursor.execute("UPDATE hostpay_receipt SET units = units - 1")

    _beat()

    again = Breaker.objects.get(closed_at__isnull=True)
    assert "the logs of its current order prove 57899999" in again.detail
    assert Breaker.objects.count() == 2


def test_a_dead_worker_is_told_and_opens_no_breaker(world: World) -> None:
    """What is late is not wrong: once the workers are back, money may go on without a person."""
    settled = settled_batch()
    with unguarded(HostPayment):
        HostPayment.objects.update(delivered_at=None, next_action_at=timezone.now() - timedelta(hours=1))

    beat = _beat()

    assert f"I16 nothing waits for nobody: host payment {settled.payment.pk}" in beat.last_error
    assert not Breaker.objects.exists()


def test_an_unsigned_payment_that_waits_for_a_person_raises_no_alarm(db: None) -> None:
    payment = rows.payment(
        status="ordered",
        next_action_at=timezone.now() - timedelta(hours=1),
        review_reason="exchange is exchanging by us; nothing was signed",
        review_since=timezone.now(),
    )

    assert "I16 nothing waits for nobody" not in _breached()

    HostPayment.objects.filter(pk=payment.pk).update(review_reason="", review_since=None)
    assert "I16 nothing waits for nobody" in _breached()


def test_when_all_holds_the_heartbeat_is_good_and_no_breaker_opens(world: World) -> None:
    _pay_once(world)

    beat = _beat()

    assert beat.succeeded_at is not None
    assert beat.failed_at is None
    assert not Breaker.objects.exists()
