"""F74: a whole stack does its work, is attacked and breaks, and no secret is in anything that it says or keeps."""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from django.test import override_settings
from eth_account import Account
from redis import Redis
from redis.exceptions import RedisError

from config.stack.paths import DATABASE_NAME, DATABASE_USER, POSTGRES_PORT, State, read_env_file, write_env_file
from hostpay.tokens import SwapExecuted, mint_swap_executed
from payouts.models import SUBSCRIBABLE
from tests.lib.canaries import Canaries, files_below
from tests.lib.stacks import PATIENCE_S, Stack, running_stack
from tests.payouts.nowpayments.sending import FINISHED, signature
from tests.payouts.sending import signed_headers

pytestmark = pytest.mark.slow


def _two(make: Callable[[], str]) -> str:
    """As during a rotation."""
    return f"{make()},{make()}"


def _whsec() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _word() -> str:
    return secrets.token_hex(25)


# What `runstack` would make at its first start, and what only an environment gives.
GENERATED: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": _word,
    "INGEST_SIGNING_SECRETS": lambda: _two(_whsec),
    "TOKEN_SIGNING_KEYS": lambda: _two(_word),
    "WEBHOOK_SECRET_KEYS": lambda: _two(_word),
    "CHANGENOW_API_KEY": _word,
    "NOWPAYMENTS_IPN_SECRET": lambda: _two(_word),
    "NOWPAYMENTS_API_KEY": _word,
    "OPERATOR_PASSWORD": _word,
}
GIVEN: Mapping[str, Callable[[], str]] = {"METRICS_TOKEN": _word, "SECRET_KEY_FALLBACKS": lambda: _two(_word)}
SESSION = "the operator's session"
# The log-in that people are told on the terminal, and there alone.
TOLD_ON_THE_TERMINAL = ("OPERATOR_PASSWORD",)
# In one process, which is quicker by minutes.
COMMANDS = """
import traceback
from django.conf import settings
from django.core.management import call_command

print(repr(settings), settings)
for command in (
    ("doctor",),
    ("check_invariants", "--json"),
    ("reconcile",),
    ("tick",),
    ("check_threshold", "--explain"),
    ("ingest_payment", "5524759814"),
    ("replay_inbox", "--failed"),
    ("create_batch", "--reason", "tests"),
    ("check", "--deploy"),
):
    try:
        call_command(*command)
    except BaseException:
        traceback.print_exc()
    print("== ended", command)
"""
NOBODY_LISTENS = "http://127.0.0.1:1/told"
PAGES = 80
BROKEN_FOR_S = 6.0


@dataclass(frozen=True)
class Watched:
    """A running stack, and all that must not be heard of it."""

    stack: Stack
    canaries: Canaries
    known: Mapping[str, str]

    def first(self, name: str) -> str:
        """The secret in use of those that the setting holds."""
        return self.known[name].partition(",")[0]

    @property
    def web(self) -> str:
        return read_env_file(self.stack.state.stack_env)["WEB_URL"]

    def manage(self, *arguments: str) -> str:
        """What a command printed, on either stream."""
        done = self.stack.manage(*arguments)
        said = done.stdout + done.stderr
        self.canaries.look_at(said, f"what {arguments[0]} prints")
        return said

    def ask(
        self, client: httpx.Client, method: str, path: str, but: tuple[str, ...] = (), **how: Any
    ) -> httpx.Response:
        answer = client.request(method, path, **how)
        self.canaries.look_at(answer.content, f"the answer to {method} {path}", but=but)
        told = {name: text for name, text in answer.headers.items() if name != "set-cookie"}
        self.canaries.look_at(str(told), f"the headers of the answer to {method} {path}")
        return answer


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    state = State(tmp_path_factory.mktemp("stack"))
    state.make()
    known = {name: make() for name, make in GENERATED.items()}
    write_env_file(state.secrets / "generated.env", known)
    given = {name: make() for name, make in GIVEN.items()}
    canaries = Canaries()
    for name, values in {**known, **given}.items():
        for value in values.split(","):
            canaries.plant(name, value)
    with running_stack(state.root, given) as stack, _every_message(stack, canaries):
        passphrase = (state.secrets / "host-wallet.pass").read_text().strip()
        key = Account.decrypt((state.secrets / "host-wallet.json").read_text(), passphrase)
        canaries.plant("HOST_WALLET_PASSPHRASE", passphrase)
        canaries.plant("the wallet's key", bytes(key))
        yield Watched(stack, canaries, {**known, **given})
    # What the parts say when they end.
    _look_into_files(state, canaries)
    assert canaries.seen() == []


@pytest.fixture(scope="module")
def api_key(watched: Watched) -> str:
    key = watched.stack.manage("create_api_key", "--name", "tests", "--scope", "read", "--scope", "ops").stdout.strip()
    assert key.startswith("sk_")
    watched.canaries.plant("an API key", key)
    return key


def test_f74_no_secret_is_told_or_kept_while_money_moves(watched: Watched, api_key: str) -> None:
    with httpx.Client(base_url=watched.web, trust_env=False, timeout=60) as client:
        _call_the_api(watched, client, api_key)
        _let_the_provider_tell_our_key(watched, times=2, status=503)
        demo = watched.manage("demo", "--payments", "4", "--json", "--timeout", "120")
        assert '"agrees": true' in demo, demo[-2000:]
        _send_payments(watched, client)
        _send_tokens(watched, client)

    assert _seen(watched) == []


def test_f74_no_secret_is_told_or_kept_when_people_look_and_the_database_dies(watched: Watched, api_key: str) -> None:
    with httpx.Client(base_url=watched.web, trust_env=False, timeout=60) as browser:
        _log_in(watched, browser)
        _look_at_pages(watched, browser)
        statuses = _break_the_database(watched, browser, api_key)

    assert max(statuses) >= 500, "nothing broke"
    assert _seen(watched) == []


def test_f74_no_secret_is_told_by_commands_or_kept_by_them(watched: Watched) -> None:
    _let_the_provider_tell_our_key(watched, times=20, status=400)

    said = watched.manage("shell", "--no-imports", "-c", COMMANDS)

    assert said.count("== ended") == COMMANDS.count("    (")
    assert "bad_***" in said, "nobody told what the provider said"
    assert _seen(watched) == []


def _seen(watched: Watched) -> list[str]:
    _look_into_the_database(watched)
    _look_at_command_lines(watched)
    _look_into_files(watched.stack.state, watched.canaries)
    return watched.canaries.seen()


@contextmanager
def _every_message(stack: Stack, canaries: Canaries) -> Iterator[None]:
    """All that any part says to the broker while this lasts, and what lies in it at the end."""
    count = 0
    broker = Redis(unix_socket_path=os.fspath(stack.state.redis_socket), socket_timeout=30)

    def listen() -> None:
        nonlocal count
        with Redis(unix_socket_path=os.fspath(stack.state.redis_socket)).monitor() as heard:  # type: ignore[no-untyped-call]
            while not finished.is_set():
                canaries.look_at(heard.next_command()["command"], "a message to the broker")
                count += 1

    finished = threading.Event()
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    yield
    finished.set()
    # One more, so that the listener sees that it is over.
    broker.ping()
    listener.join(60)
    assert count > 100, "the broker was not listened to"
    for name in broker.scan_iter():
        try:
            canaries.look_at(bytes(broker.dump(name) or b""), f"{name!r} in the broker")
        except RedisError as error:
            raise AssertionError(name) from error


def _let_the_provider_tell_our_key(watched: Watched, *, times: int, status: int) -> None:
    """It answers with an error that quotes what it was asked with; what a test before this one has left is gone."""
    key = watched.known["CHANGENOW_API_KEY"]
    rule: dict[str, Any] = {"fault": "error", "status": status, "code": f"bad_{key}", "message": f"bad key {key}"}
    rule["match"] = {"path": "*", "times": times}
    url = read_env_file(watched.stack.state.stack_env)["CHANGENOW_API_URL"]
    headers = {"Authorization": f"Bearer {key}"}
    httpx.delete(f"{url}/control/faults", headers=headers, trust_env=False).raise_for_status()
    httpx.post(f"{url}/control/faults", json=rule, headers=headers, trust_env=False).raise_for_status()


def _call_the_api(watched: Watched, client: httpx.Client, key: str) -> None:
    guessed = "sk_01234567_" + secrets.token_urlsafe(32)
    watched.canaries.plant("a key that somebody tried", guessed)
    good, bad = ({"Authorization": f"Bearer {each}"} for each in (key, guessed))
    for name in ("clients", "accumulations", "batches", "hostpay/payments", "threshold-checks", "webhook-deliveries"):
        assert watched.ask(client, "GET", f"/api/v1/{name}/", headers=good).status_code == 200
        assert watched.ask(client, "GET", f"/api/v1/{name}/", headers=bad).status_code == 401
    wanted = {"name": "tests", "url": NOBODY_LISTENS, "events": list(SUBSCRIBABLE)}
    made = client.post("/api/v1/webhook-endpoints/", json=wanted, headers=good)
    assert made.status_code == 201, made.text
    for secret in re.findall(r"whsec_[A-Za-z0-9+/=_-]+", made.text):
        watched.canaries.plant("the secret of a webhook", secret)
    number = made.json()["id"]
    tried = watched.ask(client, "POST", f"/api/v1/webhook-endpoints/{number}/test/", headers=good, json={"reason": "x"})
    assert tried.status_code < 500
    for path in ("/api/v1/webhook-endpoints/", f"/api/v1/webhook-endpoints/{number}/", "/api/schema/", "/readyz"):
        assert watched.ask(client, "GET", path, headers=good).status_code < 500
    metrics = {"Authorization": f"Bearer {watched.known['METRICS_TOKEN']}"}
    assert watched.ask(client, "GET", "/metrics", headers=metrics).status_code == 200


def _send_payments(watched: Watched, client: httpx.Client) -> None:
    body = b'{"payment_id":"f74","client_id":"nobody","user_id":"u","amount_usd":"5"}'
    secret = watched.first("INGEST_SIGNING_SECRETS")
    signed = signed_headers(body, secret=secret)
    # Whoever reads it can send the payment again until its time is up.
    watched.canaries.plant("the signature of a payment", signed["webhook-signature"])
    for sent, headers, status in ((body, signed, 422), (body + b" ", signed, 401), (body, {}, 401)):
        json = {"content-type": "application/json"}
        answer = watched.ask(client, "POST", "/api/v1/payments/", content=sent, headers={**headers, **json})
        assert answer.status_code == status, answer.text
    ipn = signature(FINISHED, watched.first("NOWPAYMENTS_IPN_SECRET"))
    watched.canaries.plant("the signature of a notification", ipn)
    for sent, status in ((FINISHED, 200), (FINISHED + b" ", 401)):
        headers = {"x-nowpayments-sig": ipn, "content-type": "application/json"}
        answer = watched.ask(client, "POST", "/api/v1/webhooks/nowpayments/", content=sent, headers=headers)
        assert answer.status_code in {status, 200}, answer.text


def _send_tokens(watched: Watched, client: httpx.Client) -> None:
    report = SwapExecuted(
        batch_conversion_id="0a5b8a1e-0000-4000-8000-000000000001",
        cn_api_id="order-1",
        tx_hash="0x" + "ab" * 32,
        actual_usdt_received=Decimal("11.9"),
    )
    with override_settings(TOKEN_SIGNING_KEYS=watched.known["TOKEN_SIGNING_KEYS"].split(",")):
        token = mint_swap_executed(report)
    watched.canaries.plant("a token", token)
    for path in ("batches/swap-executed", "hostpay/payment-completed", "hostpay/payments"):
        for sent in (token, token[:-4] + "abcd", token[: len(token) // 2]):
            answer = watched.ask(client, "POST", f"/api/v1/{path}/", json={"token": sent})
            assert 400 <= answer.status_code < 500


def _log_in(watched: Watched, browser: httpx.Client) -> None:
    typed = secrets.token_urlsafe(18)
    watched.canaries.plant("a password that somebody typed", typed)
    for password, status in ((typed, 200), (watched.known["OPERATOR_PASSWORD"], 302)):
        watched.ask(browser, "GET", "/admin/login/")
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = watched.ask(browser, "POST", "/admin/login/", data=form)
        assert answer.status_code == status
    watched.canaries.plant(SESSION, browser.cookies["sessionid"])


def _look_at_pages(watched: Watched, browser: httpx.Client) -> None:
    """From link to link, as far as PAGES go."""
    waiting, known = ["/admin/"], {"/admin/", "/admin/logout/"}
    looked_at = 0
    while waiting and looked_at < PAGES:
        page = watched.ask(browser, "GET", waiting.pop(0))
        assert page.status_code in {200, 302, 403, 405}, page.url
        looked_at += 1
        for link in re.findall(r'href="(/admin/[^"?#]*)"', page.text):
            if link not in known:
                known.add(link)
                waiting.append(link)
    assert looked_at > 30


def _break_the_database(watched: Watched, browser: httpx.Client, key: str) -> set[int]:
    """Its server dies and comes back while everybody asks on."""
    pid = watched.stack.pid_of("postgres")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    statuses = set()
    until = time.monotonic() + BROKEN_FOR_S
    body = b'{"payment_id":"f74","client_id":"nobody","user_id":"u","amount_usd":"5"}'
    while time.monotonic() < until:
        signed = signed_headers(body, secret=watched.first("INGEST_SIGNING_SECRETS"))
        for method, path, how in (
            ("GET", "/admin/", {}),
            ("GET", "/api/v1/clients/", {"headers": {"Authorization": f"Bearer {key}"}}),
            ("GET", "/readyz", {}),
            ("POST", "/api/v1/payments/", {"content": body, "headers": {**signed, "content-type": "application/json"}}),
        ):
            statuses.add(watched.ask(browser, method, path, **how).status_code)
    deadline = time.monotonic() + PATIENCE_S
    while not watched.stack.is_ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return statuses


def _look_into_the_database(watched: Watched) -> None:
    with closing(
        psycopg2.connect(
            host=os.fspath(watched.stack.state.sockets), port=POSTGRES_PORT, user=DATABASE_USER, dbname=DATABASE_NAME
        )
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        tables = [name for (name,) in cursor.fetchall()]
        assert len(tables) > 30
        for table in tables:
            # Sessions are found by what their browsers show.
            but = (SESSION,) if table == "django_session" else ()
            cursor.execute(f'SELECT found::text FROM "{table}" AS found')  # noqa: S608 (a name from the catalogue)
            for (row,) in cursor:
                watched.canaries.look_at(row, f"table {table}", but=but)


def _look_at_command_lines(watched: Watched) -> None:
    """Anybody on the machine can read them."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            watched.canaries.look_at(process.read_bytes(), "a command line")
        except OSError:
            continue


def _look_into_files(state: State, canaries: Canaries) -> None:
    """All that is left on disk: the logs above all."""
    # Where secrets live; the database, which was asked; and the books of those outside who know their keys.
    belong = (state.secrets, state.stack_env, state.signer_env, state.postgres, state.exchange, state.nowpayments)
    count = 0
    for path in files_below(state.root, but=belong):
        but = TOLD_ON_THE_TERMINAL if path.name == "runstack.log" else ()
        canaries.look_at(path.read_bytes(), str(path.relative_to(state.root)), but=but)
        count += 1
    assert count > 10
